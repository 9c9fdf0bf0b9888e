"""The doctor on simulated boards: what it finds is what the board does, and what it advises can be acted on."""

import itertools
import math
import os
import random
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.study import square_waves
from compress.energy import block, nvml, profile
from compress.energy.doctor import load
from compress.energy.doctor.board import examine, without_a_meter
from compress.energy.doctor.period import median_step
from compress.energy.doctor.report import Report
from compress.energy.meters import Gpu
from compress.energy.sampler import idle_w
from tests.helpers import ROOT
from tests.simulated import slow_reads
from tests.simulator import Board, Simulator
from tests.virtual_time import Switch, VirtualTime


def examine_board(monkeypatch: pytest.MonkeyPatch, **board: Any) -> Report:
    clock = VirtualTime.install(monkeypatch)
    switch = Switch(clock)
    made = Board("GPU-a", watts=switch, period_s=0.02, **board)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([made], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    return examine(meter, switch.load, "a", "580.00", scale=0.08)


def line(report: Report, start: str) -> str:
    return next(line for line in report.lines if line[2:].startswith(start))


def test_a_good_board_is_found_good(monkeypatch: pytest.MonkeyPatch) -> None:
    report = examine_board(monkeypatch)
    assert report.profile is not None
    assert report.profile.step_s == pytest.approx(0.02, abs=0.003)  # looked at every 2 ms
    assert report.profile.agreement == pytest.approx(0, abs=0.02)
    assert report.profile.reading_harm == pytest.approx(0, abs=0.02)
    assert report.profile.repeatability == pytest.approx(0, abs=0.02)
    for start in ("meter", "one reading takes", "counter moves every", "power at idle", "power at load", "linearity"):
        assert line(report, start)


def test_a_throttled_shared_board_without_instant_power_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    report = examine_board(monkeypatch, instant=False, events=lambda _: 0x40, processes=lambda _: (1, 2, 3))
    assert "hardware thermal slowdown" in line(report, "throttled")
    assert "3 use the board" in line(report, "processes")
    advice = " ".join(report.advice)
    for words in ("update the driver", "until the board is cool", "end the other processes"):
        assert words in advice


def test_a_board_that_sees_a_quarter_of_each_period_is_found_and_an_honest_one_is_not_flagged() -> None:
    assert square_waves.flagged(0.25) >= 11
    assert square_waves.flagged(None) == 0


def test_the_median_step_is_finer_than_the_readings_and_counts_an_overlooked_movement() -> None:
    draw = random.Random(0)
    true = [0.0991 * number + draw.uniform(-0.001, 0.001) for number in range(60) if number != 20]
    read = [math.ceil((moment + 0.0007) / 0.002) * 0.002 for moment in true]
    assert median_step(read) == pytest.approx(0.0991, rel=1e-3)
    assert statistics.median(b - a for a, b in itertools.pairwise(read)) != pytest.approx(0.0991, rel=5e-3)


def test_a_load_keeps_its_period_though_every_burst_ends_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now, begun = [100.0], list[float]()

    def burn(seconds: float) -> None:
        begun.append(now[0])
        now[0] += seconds + 0.003

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(load, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    load.part_time(burn)(1.0, 0.5, 0.1)
    assert begun == pytest.approx([100 + 0.1 * number for number in range(10)])
    assert now[0] == pytest.approx(101.0)


def test_a_counter_that_stands_still_is_named_and_leaves_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualTime.install(monkeypatch)
    switch = Switch(clock)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([Board("GPU-a", watts=switch, period_s=1e6)], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    report = examine(meter, switch.load, "a", "580.00", scale=0.02)
    assert report.profile is None
    assert "does not move" in report.advice[0]


def test_sessions_take_over_the_profile_of_the_same_board_and_driver_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([Board("GPU-a"), Board("GPU-b")], time.monotonic))
    profile.save(profile.Profile("a", "simulated", "Test GPU", "2026-05-05", 0.033, 0.01, 0.0, 0.004, 1e-5, 0.2))
    profile.save(profile.Profile("b", "another driver", "Test GPU", "2026-05-05", 0.033, 0.01, 0.0, 0.004, 1e-5))
    one, two = nvml.find(Gpu("a")), nvml.find(Gpu("b"))
    assert isinstance(one, nvml.NvmlCounter)
    assert isinstance(two, nvml.NvmlCounter)
    assert (one.step_s, one.examined, one.misread) == (0.033, "2026-05-05", 0.2)
    assert (two.step_s, two.examined) == (nvml.STEP_S, None)


def test_a_board_that_was_not_examined_is_taken_to_be_like_another_one_of_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([Board("GPU-a")], time.monotonic))
    monkeypatch.setitem(profile.KNOWN, "Test GPU", profile.Known("page", 0.033, 0.001, 0.2))
    one = nvml.find(Gpu("a"))
    assert isinstance(one, nvml.NvmlCounter)
    assert (one.step_s, one.misread, one.examined, one.like_another, one.harmed_by_reading) == (
        0.033,
        0.2,
        None,
        True,
        False,
    )
    profile.save(profile.Profile("a", "simulated", "Test GPU", "2026-05-05", 0.05, 0.01, 0.1, 0.004, 1e-5, 0.1))
    examined = nvml.find(Gpu("a"))
    assert isinstance(examined, nvml.NvmlCounter)
    assert (examined.step_s, examined.examined, examined.like_another) == (0.05, "2026-05-05", False)
    assert examined.harmed_by_reading


def test_known_boards_name_a_page_that_lists_them() -> None:
    for name, known in profile.KNOWN.items():
        assert name in (ROOT / "results" / "reference" / "gpu" / known.page).read_text()


def test_without_a_meter_it_says_what_is_missing_and_what_would_give_one() -> None:
    told = "\n".join(without_a_meter("no RAPL counters here", "the driver is not loaded"))
    assert "no RAPL counters here" in told
    assert "sudo chmod" in told
    assert "Volta" in told
    assert "grade E" in told


@pytest.mark.parametrize("late_s", [0.0, 0.01, 0.05])
def test_a_block_is_bounded_by_the_counters_movements(monkeypatch: pytest.MonkeyPatch, late_s: float) -> None:
    draw = random.Random(0)
    clock = VirtualTime.install(monkeypatch, late=lambda: draw.random() * 2 * late_s)
    board = Board("GPU-a", watts=100.0, period_s=0.05)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    with block.metered(nvml.find(Gpu("a"))) as spent:
        clock.sleep(0.4)
    assert spent.energy_j is not None
    assert spent.low_j is not None
    assert spent.high_j is not None
    assert spent.low_j <= 100 * spent.seconds <= spent.high_j
    assert spent.energy_j == pytest.approx(100 * spent.seconds, rel=0.01 + 3 * late_s)
    assert "nvml: GPU board Test GPU" in str(spent)


def test_a_blocks_bounds_are_as_tight_where_reading_the_counter_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualTime.install(monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([Board("GPU-a", watts=300.0)], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    meter.harmed_by_reading = False
    slow_reads(monkeypatch, clock, meter)
    with block.metered(meter) as spent:
        clock.sleep(20.0)
    assert spent.grade == "B", spent
    assert spent.low_j is not None and spent.high_j is not None
    assert spent.high_j - spent.low_j <= 300 * 0.35  # a movement at each edge, and how closely they are seen


def test_a_process_on_the_board_before_the_block_counts_as_foreign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = VirtualTime.install(monkeypatch)
    begun: list[bool] = []
    board = Board("GPU-a", watts=100.0, processes=lambda _: (4242, os.getpid()) if begun else (4242,))
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    monkeypatch.setattr(block, "holds_gpu", lambda: bool(begun))
    with block.metered(nvml.find(Gpu("a"))) as spent:
        begun.append(True)
        clock.sleep(6.0)
    assert spent.grade == "D"
    assert "1 other process on the device" in str(spent)


def test_a_process_with_a_context_but_no_memory_is_not_foreign_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = VirtualTime.install(monkeypatch)
    board = Board("GPU-a", watts=100.0, processes=lambda _: (4242,))  # our number outside of the container
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    monkeypatch.setattr(block, "holds_gpu", lambda: True)
    with block.metered(nvml.find(Gpu("a"))) as spent:
        clock.sleep(12.0)
    assert spent.grade == "B", spent


@pytest.mark.parametrize(
    ("changes", "seconds", "grade", "why"),
    [
        ({}, 12.0, "B", ""),
        ({}, 1.0, "C", "grade B needs 5 s"),
        ({"instant": False}, 12.0, "C", "one source only"),
        ({"events": lambda _: 0x40}, 12.0, "D", "hardware thermal slowdown"),
        ({"processes": lambda _: (1, 2)}, 12.0, "D", "2 other processes on the device"),
    ],
    ids=["good", "short", "one source", "throttled", "shared"],
)
def test_a_blocks_energy_has_a_grade(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], seconds: float, grade: str, why: str
) -> None:
    clock = VirtualTime.install(monkeypatch)
    board = Board("GPU-a", watts=100.0, period_s=0.05, **changes)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    with block.metered(nvml.find(Gpu("a"))) as spent:
        clock.sleep(seconds)
    assert spent.grade == grade, spent
    assert why in str(spent)
    assert f"grade {grade}" in str(spent)


def test_a_block_on_a_lost_board_has_seconds_and_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "IDLE_S", 0.1)
    clock = VirtualTime.install(monkeypatch)
    board = Board("GPU-a", lost_at=clock.monotonic() + 0.6)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    with block.metered(nvml.find(Gpu("a"))) as spent:
        clock.sleep(0.5)
    assert spent.energy_j is None
    assert "fallen off the bus" in str(spent)
    assert spent.seconds >= 0.5


def test_idle_power_of_a_lost_board_is_unknown_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualTime.install(monkeypatch)
    board = Board("GPU-a", lost_at=clock.monotonic() + 0.1)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    assert idle_w(meter, 0.2) is None


def test_modelled_energy_of_a_block_is_a_range_and_says_so() -> None:
    from compress import energy

    with energy.meter() as spent:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
    if spent.source == "modelled":
        assert spent.energy_j is not None
        assert spent.low_j is not None
        assert spent.high_j is not None
        assert spent.high_j / spent.energy_j == pytest.approx(2.5)
        assert str(spent).count("~") == 1
        assert "modelled from CPU time" in str(spent)


def test_a_gpu_that_torch_cannot_use_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.base.config import InputError
    from compress.energy.doctor import checkup

    boards = [Board("GPU-a"), Board("GPU-b", pci="00000000:AF:00.0")]
    simulator = Simulator(boards, lambda: 0.0)
    monkeypatch.setitem(sys.modules, "pynvml", simulator)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError) as refused:
        checkup.checkup("cuda", quick=True)
    told = "\n".join(refused.value.problems)
    assert "NVML 1: Test GPU, GPU-b, PCI 00000000:AF:00.0" in told
    assert "install a CUDA build of torch" in told
    simulator.faults["init"] = simulator.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    with pytest.raises(InputError, match="reboot after a driver update"):
        checkup.checkup("cuda", quick=True)
