"""Several boards as one meter, and boards that must not be read often."""

import pytest

from compress.analysis.joules import window_energy
from compress.energy import block, nvml, several
from compress.energy.find import find_meter
from compress.energy.meters import Absent, Gpu
from compress.energy.sampler import Sampler
from compress.energy.spending import begin
from tests.energy.test_energy import Clock, install
from tests.simulated import window_of
from tests.simulator import Board, Simulator
from tests.virtual_time import VirtualTime


def test_joules_of_several_gpus_are_summed_though_their_counters_move_at_other_moments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = VirtualTime.install(monkeypatch)
    boards = [
        Board("GPU-a", watts=120.0, period_s=0.1, phase_s=0.013),
        Board("GPU-b", watts=280.0, period_s=0.07, phase_s=0.05),
    ]
    install(monkeypatch, Simulator(boards, clock.monotonic))
    meter = find_meter("cuda", [Gpu("a"), Gpu("b")])
    assert isinstance(meter, several.Several)
    assert meter.boundary.startswith("2 GPUs")
    assert begin(meter).uuid == meter.uuid == "GPU-a,GPU-b"
    assert meter.harmed_by_reading  # doctor has not looked at them
    meter.harmed_by_reading = False
    sampler, start, end = window_of(clock, meter, 1.0)
    assert meter.step_s is not None
    found = window_energy(sampler.samples, start, end, meter.step_s)
    assert found.joules == pytest.approx(400 * (end - start) / 1e9, rel=0.01)
    assert found.integrated_j == pytest.approx(found.joules, rel=0.02)
    assert meter.state()["power_mw"] == 400_000


def test_a_block_on_several_gpus_has_the_sum_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualTime.install(monkeypatch)
    install(monkeypatch, Simulator([Board("GPU-a", watts=120.0), Board("GPU-b", watts=280.0)], clock.monotonic))
    with block.metered(find_meter("cuda", [Gpu("a"), Gpu("b")])) as spent:
        clock.sleep(0.6)
    assert spent.reason is None
    assert spent.energy_j == pytest.approx(400 * spent.seconds, rel=0.05)
    assert spent.low_j <= spent.energy_j <= spent.high_j
    assert spent.idle_w == pytest.approx(400, rel=0.02)


def test_one_lost_board_of_several_makes_the_sum_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Simulator([Board("GPU-a"), Board("GPU-m", mig=True)], Clock()))
    found = find_meter("cuda", [Gpu("a"), Gpu("m")])
    assert isinstance(found, Absent)
    assert "MIG" in found.reason
    clock = VirtualTime.install(monkeypatch)
    lost = clock.monotonic() + 2.8
    install(monkeypatch, Simulator([Board("GPU-a"), Board("GPU-b", lost_at=lost)], clock.monotonic))
    meter = find_meter("cuda", [Gpu("a"), Gpu("b")])
    with Sampler(meter) as sampler:
        while sampler.error is None and clock.monotonic() < lost + 2:
            clock.sleep(0.05)
    assert "fallen off the bus" in str(sampler.error)


def test_where_reading_does_harm_nothing_is_read_closely_near_an_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualTime.install(monkeypatch)
    install(monkeypatch, Simulator([Board("GPU-a")], clock.monotonic))
    counts = {}
    for harmed in (False, True):
        meter = nvml.find(Gpu("a"))
        assert isinstance(meter, nvml.NvmlCounter)
        meter.harmed_by_reading = harmed
        with Sampler(meter) as sampler:
            for _ in range(4):
                sampler.near_edge()
                clock.sleep(sampler.edge_s)
        counts[harmed] = len(sampler.samples)
        lasted = 4 * sampler.edge_s
    assert counts[True] <= 1 + lasted / 0.1 + 4  # 10 Hz, and the waking at every edge
    assert counts[False] > 2 * counts[True]
