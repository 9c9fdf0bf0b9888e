"""Meters: figures with a source, and a reason wherever there is no figure."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.analysis.price import recorded, transform
from compress.base.device import CPU
from compress.energy import nvml, rapl
from compress.energy.doctor import rapl as doctor_rapl
from compress.energy.find import find_meter
from compress.energy.meters import Absent, Gpu, Meter, MeterError
from compress.energy.modelled import CpuTime, watts_per_core
from compress.energy.spending import begin, end, read, settle, spending
from compress.measure.foreign import foreign_processes
from compress.records.machine import describe
from compress.records.result import StepCost
from tests.simulator import Board, Simulator
from tests.virtual_time import VirtualTime


def install(monkeypatch: pytest.MonkeyPatch, simulator: Simulator) -> None:
    """Makes `import pynvml` give the simulator."""
    monkeypatch.setitem(sys.modules, "pynvml", simulator)


class Clock:
    """A clock that moves when told; `sleep` wakes `late_s` too late."""

    def __init__(self) -> None:
        self.now, self.late_s = 1000.0, 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late_s


def test_nvml_counts_the_joules_of_the_board_with_this_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    install(monkeypatch, Simulator([Board("GPU-a", watts=50), Board("GPU-b", watts=200)], clock))
    meter = find_meter("cuda", [Gpu("b", name="Test GPU")])
    assert isinstance(meter, nvml.NvmlCounter)
    before = meter.read_uj()
    clock.now += 10
    assert meter.read_uj() - before == pytest.approx(2000e6, rel=0.01)


FAULTS = [
    ("init", 12, "not installed"),
    ("init", 9, "not loaded"),
    ("init", 18, "reboot after a driver update"),
    ("handle", 6, "does not know"),
    ("energy", 4, "no permission"),
    ("energy", 13, "too old"),
    ("energy", 15, "fallen off the bus"),
    ("energy", 16, "needs a reset"),
    ("energy", 999, "NVML error 999"),
]


@pytest.mark.parametrize(("call", "code", "words"), FAULTS, ids=[f"{c}-{n}" for c, n, _ in FAULTS])
def test_every_nvml_fault_is_a_reason_and_never_a_zero(
    monkeypatch: pytest.MonkeyPatch, call: str, code: int, words: str
) -> None:
    install(monkeypatch, Simulator([Board("GPU-a")], Clock(), {call: code}))
    found = find_meter("cuda", [Gpu("a", name="Test GPU")])
    assert isinstance(found, Absent)
    assert words in found.reason


def test_a_board_of_another_name_or_under_mig_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Simulator([Board("GPU-a"), Board("GPU-m", mig=True)], Clock()))
    other = find_meter("cuda", [Gpu("a", name="Other GPU")])
    assert isinstance(other, Absent)
    assert "not the same device" in other.reason
    for uuid in ("m", "MIG-1234"):
        found = find_meter("cuda", [Gpu(uuid, name="Test GPU")])
        assert isinstance(found, Absent)
        assert "whole GPU" in found.reason


@pytest.mark.parametrize("instant", [True, False])
def test_a_board_without_a_counter_has_its_power_integrated_and_says_so(
    monkeypatch: pytest.MonkeyPatch, instant: bool
) -> None:
    clock = VirtualTime.install(monkeypatch)
    board = Board("GPU-a", watts=150.0, period_s=0.02, counter=False, instant=instant)
    simulator = Simulator([board], clock.monotonic)
    install(monkeypatch, simulator)
    meter = find_meter("cuda", [Gpu("a", name="Test GPU")])
    assert isinstance(meter, nvml.Integrated)
    assert "power integrated" in meter.boundary
    before, start = meter.read_uj(), clock.monotonic()
    clock.sleep(0.5)
    spent, seconds = (meter.read_uj() - before) / 1e6, clock.monotonic() - start
    assert spent == pytest.approx(150 * seconds, abs=150 * 2.5 * nvml.INTEGRATION_S)
    simulator.faults["power"] = simulator.NVML_ERROR_GPU_IS_LOST  # its thread ends
    clock.sleep(1)
    with pytest.raises(MeterError, match="fallen off the bus"):
        meter.read_uj()


@pytest.mark.parametrize(("memory", "same"), [(78 * 2**30, True), (40 * 2**30, False)])
def test_a_board_of_another_memory_is_not_cudas_device(
    monkeypatch: pytest.MonkeyPatch, memory: int, same: bool
) -> None:
    install(monkeypatch, Simulator([Board("GPU-a")], Clock()))
    assert isinstance(nvml.find(Gpu("a", None, "Test GPU", memory)), Absent) != same


@pytest.mark.parametrize(
    ("model", "watts"),
    [("AMD EPYC 7763 64-Core Processor", 280 / 64), ("Unknown", 7.0), ("Intel(R) Xeon(R) Platinum 8470N", 7.0)],
)
def test_modelled_watts_come_from_the_table_or_are_generic_and_say_which(model: str, watts: float) -> None:
    found, basis = watts_per_core(model)
    assert found == watts
    assert ("line-up" in basis) == ("EPYC" in model)
    assert ("generic" in basis) == ("EPYC" not in model)


def test_foreign_processes_are_counted_also_where_ids_are_the_hosts() -> None:
    def count(before: Any, during: Any, parent_on_device: bool = False) -> int | None:
        return foreign_processes(before, during, own=10, parent=9, parent_on_device=parent_on_device)

    assert count((), (10,)) == 0
    assert count((9,), (9, 10, 77), True) == 1
    assert count((77,), (9, 10)) == 1  # it has gone since
    assert count((501,), (501, 502), True) == 0  # host's ids: the parent, then ourselves
    assert count((501,), (501, 502)) == 1  # the parent holds no device: it is somebody else
    assert count((501, 600), (501, 502, 600, 700), True) == 2
    assert count(None, (1,)) is None
    assert count((), ()) is None  # a container that is shown nothing, not even itself


def test_a_counter_that_stops_answering_raises_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Simulator([Board("GPU-a")], Clock())
    install(monkeypatch, fake)
    meter = find_meter("cuda", [Gpu("a", name="Test GPU")])
    assert not isinstance(meter, Absent)
    fake.faults["energy"] = fake.NVML_ERROR_GPU_IS_LOST
    with pytest.raises(MeterError, match="reboot"):
        meter.read_uj()


def powercap(root: Path, domains: dict[str, tuple[str, int, int]]) -> None:
    for zone, (name, energy, maximum) in domains.items():
        folder = root / zone
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "energy_uj").write_text(str(energy))
        (folder / "max_energy_range_uj").write_text(str(maximum))


def test_rapl_sums_packages_and_memory_but_no_nested_domain_and_survives_a_wrap(tmp_path: Path) -> None:
    powercap(
        tmp_path,
        {
            "intel-rapl:0": ("package-0", 900, 1000),
            "intel-rapl:0:0": ("core", 500, 1000),
            "intel-rapl:0:1": ("dram", 100, 1000),
            "intel-rapl:1": ("package-1", 0, 1000),
            "intel-rapl:2": ("psys", 5, 1000),
            "intel-rapl-mmio:0": ("package-0", 900, 1000),
        },
    )
    meter = rapl.find(tmp_path)
    assert isinstance(meter, rapl.Rapl)
    assert meter.uuid == describe(CPU).id  # all packages are of one machine
    assert meter.read_uj() == 0
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("50")  # wrapped: 150 further
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("999")  # inside the package: not added again
    (tmp_path / "intel-rapl:0:1" / "energy_uj").write_text("130")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("20")
    (tmp_path / "intel-rapl-mmio:0" / "energy_uj").write_text("50")  # the same package by another way
    assert meter.read_uj() == 150 + 30 + 20


def test_rapl_absent_or_unreadable_is_said_with_the_command_that_grants_it(tmp_path: Path) -> None:
    nothing = rapl.find(tmp_path)
    assert isinstance(nothing, Absent)
    powercap(tmp_path, {"intel-rapl:0": ("package-0", 1, 1000)})
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()  # not readable, also not by root
    refused = rapl.find(tmp_path)
    assert isinstance(refused, Absent)
    assert "sudo chmod" in refused.reason


def test_modelled_energy_is_cpu_seconds_times_watts_and_says_it_is_not_measured() -> None:
    meter = CpuTime(why="none here")
    assert not meter.measured
    joules, cpu = meter.read_uj() / 1e6, time.process_time()
    while time.process_time() < cpu + 0.05:
        pass
    spent = time.process_time() - cpu
    assert meter.read_uj() / 1e6 - joules == pytest.approx(spent * meter.watts_per_core, rel=0.2)


def test_a_meter_that_fails_during_a_step_leaves_none_and_the_reason() -> None:
    class Failing(Meter):
        source = "nvml"
        boundary = "test"
        reads = 0

        def read_uj(self) -> int:
            self.reads += 1
            if self.reads > 1:
                raise MeterError("the GPU has fallen off the bus; reboot")
            return 5_000_000

    with spending(Failing(), None) as spent:
        pass
    assert spent.energy_j is None
    assert "reboot" in str(spent.reason)


class Counts(Meter):
    """A meter of given readings, one after another."""

    source = "nvml"
    boundary = "test"

    def __init__(self, readings: list[int], step_s: float | None):
        self._readings, self.step_s = readings, step_s

    def read_uj(self) -> int:
        return self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]


@pytest.mark.parametrize(
    ("readings", "step_s", "reason"),
    [
        ([700, 130], None, "fell back"),
        ([700, 700], None, "stood still"),
        ([700, 900], 0.1, "under 20 movements of the counter"),
    ],
)
def test_the_cost_of_work_is_never_silently_zero_or_less(
    readings: list[int], step_s: float | None, reason: str
) -> None:
    with spending(Counts(readings, step_s), None) as spent:
        pass
    assert spent.energy_j is None
    assert reason in str(spent.reason)
    assert spent.seconds > 0


class Stepping(Meter):
    """A board of so many watts whose counter shows, in steps, what has been used."""

    source = "nvml"
    boundary = "test"
    step_s = 0.05

    def __init__(self, watts: float, clock: Clock):
        self._watts, self._clock = watts, clock

    def used_j(self) -> float:
        return self._watts * self._clock.now

    def read_uj(self) -> int:
        return round(1e6 * self._watts * self.step_s * (self._clock.now // self.step_s))


@pytest.mark.parametrize("late_s", [0.0, 0.2])
def test_work_too_short_to_be_metered_is_bounded_by_the_counters_next_movement(
    late_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every phase of the counter, and where a busy machine wakes the waiting thread late."""
    clock = Clock()
    monkeypatch.setattr("compress.energy.spending.time", SimpleNamespace(monotonic=clock, sleep=clock.sleep))
    board = Stepping(200.0, clock)
    for phase in range(50):
        clock.now, clock.late_s = 1000.0 + phase * board.step_s / 50, 0.0
        with spending(board, None) as spent:  # type: ignore[arg-type]
            before = board.used_j()
            clock.sleep(0.03)
            used = board.used_j() - before
            clock.late_s = late_s
        after = board.used_j() - before
        assert spent.energy_j is None
        assert spent.at_most_j is not None
        assert used - 1e-3 <= spent.at_most_j <= after + 200 * board.step_s
        made = transform(json.loads(json.dumps(recorded(spent, []))))
        assert (made.energy_j, made.energy_at_most_j) == (None, spent.at_most_j)


def test_work_that_is_long_enough_waits_for_no_movement() -> None:
    board = Stepping(200.0, Clock())
    long = replace(begin(board), end_uj=board.read_uj(), seconds=20 * board.step_s)  # type: ignore[arg-type]
    assert settle(long, board) is long  # type: ignore[arg-type]
    still = Counts([700], 0.02)
    assert settle(end(begin(still), still, 0.1), still).at_most_j is None
    assert settle(begin(Absent("none")), Absent("none")).at_most_j is None


def test_a_counter_that_fell_back_while_work_ran_is_noticed_though_it_has_risen_above_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("compress.energy.spending.PERIOD_S", 0.02)
    with spending(Counts([1000, 2000, 500, 9000], None), None) as spent:
        time.sleep(0.2)
    assert spent.energy_j is None
    assert "fell back" in str(spent.reason)


def test_a_rapl_counter_that_began_anew_is_no_wrap_of_thousands_of_joules(tmp_path: Path) -> None:
    powercap(tmp_path, {"intel-rapl:0": ("package-0", 200_000_000_000, 262_143_328_850)})
    meter = rapl.find(tmp_path)
    assert isinstance(meter, rapl.Rapl)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("1000")
    with pytest.raises(MeterError, match="fell back"):
        meter.read_uj()


def counter_file(monkeypatch: pytest.MonkeyPatch, read: Callable[[Callable[[], str]], str]) -> None:
    """Gives every counter of RAPL the text that `read` makes of a plain reading of its file."""
    plain = Path.read_text

    def read_text(path: Path, *given: Any, **named: Any) -> str:
        text = partial(plain, path, *given, **named)
        return read(text) if path.name == "energy_uj" else text()

    monkeypatch.setattr(Path, "read_text", read_text)


@pytest.mark.parametrize("stuck", [False, True])
def test_the_doctor_examines_rapl_counters(tmp_path: Path, stuck: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    powercap(tmp_path, {"intel-rapl:0": ("package-0", 0, 10**12)})
    meter = rapl.find(tmp_path)
    assert isinstance(meter, rapl.Rapl)
    clock, drawn = [0.0], [0.0]

    def passed(seconds: float, watts: float = 20.0) -> None:
        clock[0] += seconds
        drawn[0] += 0.0 if stuck else 1e6 * watts * seconds

    def reading(_: Callable[[], str]) -> str:
        passed(0.0002)
        return str(int(drawn[0] // 1000 * 1000))

    counter_file(monkeypatch, reading)
    times = SimpleNamespace(monotonic=lambda: clock[0], perf_counter=lambda: clock[0], sleep=passed)
    monkeypatch.setattr(doctor_rapl, "time", times)
    report = doctor_rapl.examine_rapl(meter, lambda seconds, duty, _: passed(seconds, 20 + 100 * duty))
    text = "\n".join(report.lines)
    if stuck:
        assert "do not move" in " ".join(report.advice)
        return
    assert "power at idle: 20.0 W" in text
    assert "power at load: 120.0 W" in text
    assert "cv 0.00 %" in text
    assert "25 %: 45.0 W, 50 %: 70.0 W" in text
    assert not report.advice


def test_rapl_may_be_read_by_several_threads_at_once(tmp_path: Path) -> None:
    powercap(tmp_path, {"intel-rapl:0": ("package-0", 0, 10**9)})
    meter = rapl.find(tmp_path)
    assert isinstance(meter, rapl.Rapl)
    now, counter = 0, tmp_path / "intel-rapl:0" / "energy_uj"
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            meter.read_uj()

    def lingering(text: Callable[[], str]) -> str:  # between reading the file and using its value
        value = text()
        time.sleep(0.0005)
        return value

    with pytest.MonkeyPatch.context() as patch:
        counter_file(patch, lingering)
        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for now in range(1, 200):
            counter.with_suffix(".new").write_text(str(now))
            counter.with_suffix(".new").replace(counter)
            time.sleep(0.0005)
        stop.set()
        for thread in threads:
            thread.join()
        assert meter.read_uj() == now


KILLED = """
import sys, time
from pathlib import Path
from compress.energy.modelled import CpuTime, watts_per_core
from compress.energy.spending import spending
with spending(CpuTime("test"), Path(sys.argv[1])):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        pass
"""


def test_seconds_and_joules_before_a_kill_are_kept_for_the_next_attempt(tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (not path.exists() or json.loads(path.read_text())[0]["seconds"] < 1):
        time.sleep(0.1)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = read(path)
    assert before is not None
    assert before.seconds >= 1
    assert before.energy_j is not None
    assert before.energy_j > 0
    with spending(CpuTime("test"), path) as spent:
        time.sleep(0.05)
    assert len(spent.attempts) == 2
    assert spent.seconds > before.seconds
    assert spent.energy_j is not None
    assert spent.energy_j > before.energy_j


def test_a_full_disk_ends_neither_the_metering_nor_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("compress.energy.spending.write_atomic", full)
    monkeypatch.setattr("compress.energy.spending.PERIOD_S", 0.02)
    with pytest.raises(KeyboardInterrupt), spending(CpuTime("test"), tmp_path / "spent.json") as spent:
        while spent.seconds == 0:  # until a beat has met the full disk
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert spent.seconds > 0
    assert spent.energy_j is not None


def test_joules_of_attempts_under_different_meters_are_not_summed(tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    with spending(CpuTime("test"), path):
        sum(range(10**6))
    with spending(Counts([1_000_000, 3_000_000], None), path) as spent:
        pass
    assert spent.energy_j is None
    assert "metered by modelled (" in str(spent.reason)
    assert "and nvml (test)" in str(spent.reason)
    assert len(spent.attempts) == 2


def test_the_cost_of_compressing_is_recomputed_from_stored_readings() -> None:
    counter = Counts([1_000_000, 1_000_000, 1_500_000, 4_500_000, 7_000_000], None)
    with spending(counter, None) as spent:
        span = end(begin(counter), counter, 2.0)
    made = transform(json.loads(json.dumps(recorded(spent, [("prune", 6, None, span)]))))
    assert made.energy_j == 6.0
    assert made.seconds == spent.seconds
    assert (made.interruptions, made.energy_source) == (0, "nvml")
    assert made.steps == (StepCost("prune", 2.0, 3.0, 6),)


def test_a_board_is_found_by_its_pci_address_where_torch_tells_no_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    boards = [Board("GPU-a", watts=50, pci="00000000:3B:00.0"), Board("GPU-b", watts=200, pci="00000000:AF:00.0")]
    clock = Clock()
    install(monkeypatch, Simulator(boards, clock))
    meter = find_meter("cuda", [Gpu(None, "00000000:AF:00.0")])
    assert isinstance(meter, nvml.NvmlCounter)
    assert meter.uuid == "GPU-b"
    assert isinstance(nvml.find(Gpu(None, None)), Absent)
