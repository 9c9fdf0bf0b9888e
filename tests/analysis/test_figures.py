"""From a board's counter to joules, ratios and grades: against the simulator's truth, and with every fault injected."""

import math
import random
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.analysis import costs, figures
from compress.analysis.costs import Raw
from compress.analysis.joules import idle_watts, integrated_power, movements, window_energy
from compress.analysis.verdict import cost_axis
from compress.analysis.verify import verify
from compress.energy import nvml, sampler
from compress.energy.meters import Gpu
from compress.energy.sampler import idle, steady_idle
from compress.harness.assemble import without_straw_man
from compress.measure import latency, warmup
from compress.measure.warmup import settled
from compress.records import trace
from compress.records.result import Point
from compress.records.sample import Sample
from compress.records.session import Runner, RunnerPoint, Session
from tests.helpers import ROOT
from tests.simulated import Load, session, slow_reads, window_of, with_points
from tests.simulator import Board, Simulator
from tests.virtual_time import VirtualTime

PAIR = {"fp32 eager": Load(300.0, 0.020), "ours": Load(200.0, 0.010)}
TRUE_J = {"fp32 eager": 6.0, "ours": 2.0}


def point(answer: Session, name: str = "ours") -> Point:
    return figures.points(costs.from_trace(answer), name)[0]


@pytest.mark.parametrize("period", [0.02, 0.1])
@pytest.mark.parametrize("averaged", [None, 0.025])
def test_joules_and_their_ratio_are_the_boards(monkeypatch: Any, period: float, averaged: float | None) -> None:
    averaged = averaged if averaged is None or averaged < period else None
    measured = session(monkeypatch, PAIR, period_s=period, averaged_s=averaged, gain=1.04)
    for name in PAIR:
        found = point(measured, name)
        assert found.energy_j is not None
        assert found.energy_j.value == pytest.approx(1.04 * TRUE_J[name], rel=0.005)
        assert found.energy_gain == 0.05
        assert found.grade == "B", found.grade_reasons
    ratio = point(measured).ratio("fp32 eager")
    assert ratio is not None
    assert ratio.energy is not None
    assert ratio.energy.value == pytest.approx(1 / 3, rel=0.005)  # the gain cancels


@pytest.mark.parametrize("phase", [i / 10 for i in range(10)])
def test_a_window_of_200_movements_is_right_at_any_phase(monkeypatch: Any, phase: float) -> None:
    measured = session(monkeypatch, {"fp32 eager": Load(250.0, 0.05)}, rounds=2, window_s=20, phase_s=phase * 0.1)
    for window, seen in zip(measured.windows, point(measured, "fp32 eager").rounds, strict=True):
        true = 250.0 * window.duration_s
        assert seen.energy_j == pytest.approx(true, rel=0.005)
        assert seen.integrated_j == pytest.approx(true, rel=0.005)


def test_energy_does_not_depend_on_who_ran_before(monkeypatch: Any) -> None:
    loads = {"fp32 eager": Load(300.0, 0.02), "hot": Load(650.0, 0.02), "cold": Load(110.0, 0.02)}
    measured = session(monkeypatch, loads, rounds=8, lag_s=0.1, averaged_s=0.025)
    orders = {tuple(window.order for window in runner.points[0].windows) for runner in measured.runners}
    assert len(orders) == 3  # each has come after each other
    for name, load in loads.items():
        for seen in point(measured, name).rounds:
            assert seen.energy_j == pytest.approx(load.watts * seen.duration_s, rel=0.005)


def test_idle_power_is_taken_once_clocks_have_come_down(monkeypatch: Any) -> None:
    clock = VirtualTime.install(monkeypatch)
    start = clock.monotonic()
    board = Board("GPU-a", watts=lambda now: 80 + 120 * math.exp(-(now - start) / 2))
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    assert idle_watts(steady_idle(meter, 2.0), meter.step_s) == pytest.approx(80, rel=0.03)
    clock.sleep(1)
    late = clock.monotonic()
    assert idle_watts(steady_idle(meter, 2.0), meter.step_s) == pytest.approx(80, rel=0.01)
    assert clock.monotonic() - late < 7  # two looks


def test_idle_power_is_looked_at_again_where_the_sampler_came_too_late(monkeypatch: Any) -> None:
    clock = VirtualTime.install(monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([Board("GPU-a", watts=80.0)], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    looks: list[int] = []

    def late_at_first(*given: Any) -> Any:
        looks.append(1)
        raw = idle(*given)
        assert raw is not None
        return replace(raw, samples=()) if len(looks) in (1, 3) else raw

    monkeypatch.setattr(sampler, "idle", late_at_first)
    assert idle_watts(steady_idle(meter, 2.0), meter.step_s) == pytest.approx(80, rel=0.01)
    assert len(looks) == 4  # the second and the fourth agree


def test_idle_gross_and_net_are_all_there(monkeypatch: Any) -> None:
    found = point(session(monkeypatch, PAIR))
    assert found.energy_j is not None and found.energy_net_j is not None
    assert found.energy_idle_j == pytest.approx(80 * 0.010)
    assert found.energy_net_j.value == pytest.approx(found.energy_j.value - 0.8)
    assert found.energy_net_j.high - found.energy_net_j.low == pytest.approx(found.energy_j.high - found.energy_j.low)


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "no instant power": ({"instant": False}, "C", "one source only"),
    "a foreign process": ({"foreign": 1}, "D", "1 other process on the device"),
    "a thermal slowdown": ({"events": lambda now: 0x40 if now > 1010 else 0}, "D", "hardware thermal slowdown"),
    "the power cap": ({"events": lambda _: 0x4}, "C", "power cap"),
    "clocks that fall": ({"sm_mhz": lambda now: 1500 if now < 1030 else 1200}, "D", "clock went from 1200 to 1500"),
    "short windows": ({"window_s": 2.0}, "C", "rounds of 2 s; grade B takes 6 of 5 s"),
    "few rounds": ({"rounds": 5}, "C", "5 rounds of 5 s; grade B takes 6 of 5 s"),
    "a container that shows no processes": ({"foreign": None}, "C", "other processes on the device cannot be told"),
    "temperatures not told": ({"faults": {"temperature": 3}}, "C", "does not tell temperatures"),
    "clocks not told": ({"faults": {"clock": 3}}, "C", "does not tell clocks"),
    "throttling not told": ({"faults": {"events": 3}}, "C", "does not tell whether the device throttled"),
    "a reset counter": ({"reset_at": 1020.0}, "", "fell back"),
    "a lost board": ({"lost_at": 1020.0}, "", "fallen off the bus"),
    "permission lost": ({"faults": {"energy": 4}}, "", "no permission"),
    "a counter that stands still": ({"period_s": 1e6}, "", "did not move"),
    "MIG": ({"mig": True}, "", "MIG is enabled"),
    "a virtual GPU": ({"virtual": True}, "", "vGPU"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_a_reason_or_a_lower_grade_and_never_a_zero(monkeypatch: Any, fault: str) -> None:
    changes, grade, words = FAULTS[fault]
    measured = session(monkeypatch, PAIR, **changes)
    found = point(measured)
    if grade:
        assert found.energy_j is not None
        assert found.energy_j.value > 0
        assert found.grade == grade
        assert any(words in reason for reason in found.grade_reasons), found.grade_reasons
    else:
        both = {name: point(measured, name) for name in PAIR}  # what happens between two windows harms neither
        without = [each for each in both.values() if each.energy_j is None]
        assert without
        assert all(words in str(each.energy_reason) and each.grade is None for each in without)
        assert all(round.energy_j is None or round.energy_j > 0 for each in without for round in each.rounds)
        for name, each in both.items():
            assert each.energy_j is None or each.energy_j.value == pytest.approx(TRUE_J[name], rel=0.005)
    assert found.latency_s.value == pytest.approx(0.010)


def test_a_ratio_is_no_better_than_the_reference_in_it(monkeypatch: Any) -> None:
    measured = session(monkeypatch, PAIR)
    theirs = measured.runners[0].points[0].windows
    slowed = tuple(
        replace(s, events=0x40) if any(w.started_ns <= s.time_ns <= w.ended_ns for w in theirs) else s
        for s in measured.samples
    )
    found = point(replace(measured, samples=slowed))
    (ratio,) = found.ratios
    assert found.grade == "B"
    assert ratio.grade == "D"
    assert any("fp32 eager: the device throttled" in reason for reason in ratio.grade_reasons)
    assert cost_axis(ratio, found.energy_source)[0] == "latency"


def test_power_that_was_integrated_is_not_checked_by_itself(monkeypatch: Any) -> None:
    measured = session(monkeypatch, PAIR)
    found = point(replace(measured, meter=replace(measured.meter, integrated=True)))
    assert (found.grade, found.grade_reasons) == ("C", ("integrated power only, without a counter to check it",))


def test_two_sources_that_disagree_lower_the_grade(monkeypatch: Any) -> None:
    measured = session(monkeypatch, PAIR)
    for factor, grade in ((1.01, "B"), (1.03, "C"), (1.08, "D")):
        shifted = tuple(replace(s, power_mw=round(factor * (s.power_mw or 0))) for s in measured.samples)
        assert point(replace(measured, samples=shifted)).grade == grade


def test_a_drifting_reference_is_named(monkeypatch: Any) -> None:
    def slower(runner: Runner, about: RunnerPoint) -> RunnerPoint:
        fewer = (replace(w, batch_ns=w.batch_ns[: len(w.batch_ns) - 4 * w.index]) for w in about.windows)
        return replace(about, windows=tuple(fewer)) if runner.name == "fp32 eager" else about

    found = point(with_points(session(monkeypatch, PAIR, rounds=9), slower))
    assert found.grade == "D"
    assert any("drifted by +" in reason for reason in found.grade_reasons)


def test_a_reference_whose_energy_drifts_is_named_though_its_latency_does_not(monkeypatch: Any) -> None:
    found = point(session(monkeypatch, {"fp32 eager": Load(300.0, 0.02, growth=0.03), "ours": Load(150.0, 0.01)}))
    assert found.grade == "D"
    assert any("its ratio of energy to fp32 eager drifted by -" in reason for reason in found.grade_reasons)
    assert found.unreliable == ()  # its latency is as good as ever


def test_the_trace_on_disk_gives_the_same_figures(monkeypatch: Any, tmp_path: Path) -> None:
    measured = session(monkeypatch, PAIR)
    trace.write(tmp_path, measured)
    again = trace.read(tmp_path)
    assert again == measured
    for name in PAIR:
        assert figures.points(costs.from_trace(again), name) == figures.points(costs.from_trace(measured), name)
        assert figures.accuracy(costs.from_trace(again), name) == figures.accuracy(costs.from_trace(measured), name)


def test_a_warm_up_that_was_cut_short_lowers_the_grade(monkeypatch: Any) -> None:
    cut = with_points(session(monkeypatch, PAIR), lambda _, about: replace(about, settled=False))
    found = point(cut)
    assert found.grade == "C"
    assert any("had not settled" in reason for reason in found.grade_reasons)


@pytest.mark.parametrize(("harmed", "batch_s"), [(True, 0.0137), (False, 0.0099)], ids=["read seldom", "read often"])
def test_blocks_of_constant_power_differ_by_less_than_settling_asks_for(
    harmed: bool, batch_s: float, monkeypatch: Any
) -> None:
    clock = VirtualTime.install(monkeypatch)
    for module in (latency, warmup):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic, monotonic_ns=clock.monotonic_ns))
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([Board("GPU-a", watts=300.0)], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    meter.harmed_by_reading = harmed
    blocks: list[tuple[int, float]] = []

    def after_twelve(so_far: list[tuple[int, float]]) -> bool:
        blocks[:] = so_far
        return len(so_far) == 12

    monkeypatch.setattr(warmup, "settled", after_twelve)
    assert warmup.settle([lambda: clock.sleep(batch_s)], [{}], lambda: None, meter, cap_s=200)
    assert [watts for _, watts in blocks] == [pytest.approx(300, rel=0.004)] * 12


def test_settled_is_a_minute_without_trend_and_two_like_blocks() -> None:
    flat = [(60, 300.0), (61, 300.0)] * 6
    assert settled(flat)
    assert not settled(flat[:11])  # less than a minute
    assert not settled([*flat[:-1], (61, 310.0)])  # power still moves
    assert not settled([(50 + i, 300.0) for i in range(12)])  # it is getting warmer
    assert settled([(50 + i, 300.0) for i in range(12)] + flat)


class Chip:
    """A board that warms and cools with what its models draw; a batch takes 7 ms."""

    def __init__(self, clock: VirtualTime, settles_s: float) -> None:
        self._clock, self._settles_s = clock, settles_s
        self.watts, self.degrees = 80.0, 38.0

    def model(self, watts: float) -> Any:
        def batch() -> None:
            self.watts = watts
            self._clock.sleep(0.007)
            self.degrees += (30 + watts / 10 - self.degrees) * (1 - math.exp(-0.007 / self._settles_s))

        return batch


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("examined", [True, False], ids=["examined", "not examined"])
def test_a_board_settles_however_many_models_of_whatever_power_take_turns(
    monkeypatch: Any, count: int, examined: bool
) -> None:
    clock = VirtualTime.install(monkeypatch)
    for module in (latency, warmup):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic, monotonic_ns=clock.monotonic_ns))
    chip = Chip(clock, settles_s=20.0)
    board = Board("GPU-a", watts=lambda _: chip.watts, temperature_c=lambda _: round(chip.degrees))
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    meter.harmed_by_reading = not examined
    models = [chip.model(400.0 - 50 * i) for i in range(count)]
    start = clock.monotonic()
    assert warmup.settle(models, [{}], lambda: None, meter, 180) is True
    assert clock.monotonic() - start > 60  # a minute without a trend, after it has warmed up
    cold = Chip(clock, settles_s=300.0)
    board.watts, board.temperature_c = lambda _: cold.watts, lambda _: round(cold.degrees)
    assert warmup.settle([cold.model(700.0)], [{}], lambda: None, meter, 100) is False


def test_energy_between_movements_by_hand() -> None:
    times = [0, 1, 99, 100, 150, 199, 201, 300, 301]  # ms; moves after 99, 199 and 300
    counts = [0, 0, 0, 10, 10, 10, 20, 20, 30]
    samples = [Sample(t * 10**6, counter_uj=c * 10**6) for t, c in zip(times, counts, strict=True)]
    found = window_energy(samples, 110 * 10**6, 290 * 10**6, 0.1)
    assert [m.time_ns / 1e6 for m in movements(samples)] == [99.5, 200.0, 300.5]
    assert found.joules == pytest.approx((30 - 10) * (290 - 110) / (300.5 - 99.5))
    assert found.edge_error == pytest.approx((1 + 1) / 2 / 201)
    assert window_energy(samples, 50 * 10**6, 290 * 10**6, 0.1).joules is None  # no movement before the window


def test_integrated_power_is_the_trapezoid_rule_by_hand() -> None:
    samples = [Sample(t * 10**9, counter_uj=0, power_mw=p) for t, p in ((1, 1000), (2, 3000), (4, 3000))]
    more = [Sample(t * 10**9, power_mw=3000) for t in range(5, 20)]
    assert integrated_power([*samples, *more], 0, 20 * 10**9) == pytest.approx(1 + 2 + 6 + 3 * 16)
    assert integrated_power(samples, 2 * 10**9 + 1, 5 * 10**9) is None
    assert integrated_power(samples, 0, 5 * 10**9) is None  # two of five seconds without a reading


def test_the_samplers_thread_finds_the_movements_of_the_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualTime.install(monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([Board("GPU-a", watts=123.0)], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    sampler, start, end = window_of(clock, meter, 0.6)
    found = window_energy(sampler.samples, start, end, nvml.STEP_S)
    assert sampler.error is None
    assert found.joules is not None
    assert found.joules * 1e9 / (end - start) == pytest.approx(123.0, rel=0.005)
    inside = [s for s in sampler.samples if start <= s.time_ns <= end]
    assert len(inside) <= math.ceil(0.6 / 0.1) + 2  # no closer than 10 Hz inside the window


@pytest.mark.parametrize("seed", range(8))
def test_where_the_samplers_thread_wakes_late_the_edge_error_covers_what_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw = random.Random(seed)
    clock = VirtualTime.install(monkeypatch, late=lambda: draw.expovariate(1 / 0.03))
    board = Board("GPU-a", watts=123.0, phase_s=draw.random() * 0.1)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
    sampler, start, end = window_of(clock, nvml.find(Gpu("a")), 1.0)
    found = window_energy(sampler.samples, start, end, nvml.STEP_S)
    if found.joules is None:
        assert found.reason
    else:
        assert found.edge_error > 0.002
        assert abs(found.joules * 1e9 / (end - start) / 123.0 - 1) <= found.edge_error * 1.1  # of first order


@pytest.mark.parametrize("harmed", [False, True])
def test_a_counter_that_is_costly_to_read_is_read_near_edges_only(
    monkeypatch: pytest.MonkeyPatch, harmed: bool
) -> None:
    clock = VirtualTime.install(monkeypatch)
    monkeypatch.setitem(sys.modules, "pynvml", Simulator([Board("GPU-a", watts=123.0)], clock.monotonic))
    meter = nvml.find(Gpu("a"))
    assert isinstance(meter, nvml.NvmlCounter)
    meter.harmed_by_reading = harmed
    spent = slow_reads(monkeypatch, clock, meter)
    watcher, start, end = window_of(clock, meter, 5.0)
    found = window_energy(watcher.samples, start, end, nvml.STEP_S)
    assert found.joules is not None and found.integrated_j is not None
    assert found.joules == pytest.approx(123.0 * 5, rel=1e-9 + found.edge_error)
    assert found.edge_error <= (0.03 if harmed else 0.003)
    inside = [s for s in watcher.samples if start <= s.time_ns <= end]
    assert len(inside) >= 48 and all(s.power_mw == 123_000 for s in inside)  # power is looked at as ever
    assert sum(s.counter_uj is not None for s in inside) <= 5
    assert spent[0] <= 0.0034 * (5 + 2 * (6 if harmed else 14))  # and each edge until the counter was seen to move


SHIPPED = sorted(p for p in (ROOT / "results" / "reference").rglob("*.json") if "traces" not in p.parts)


@pytest.mark.parametrize("file", SHIPPED, ids=[f"{p.parent.parent.name}-{p.stem}" for p in SHIPPED])
def test_every_figure_of_the_shipped_results_follows_from_their_samples(file: Path) -> None:
    assert verify(file).differences == ()


@pytest.mark.parametrize(
    ("half", "against"),
    [(Load(200.0, 0.01), "bf16 eager"), (Load(330.0, 0.01), "fp32 eager"), (Load(200.0, 0.016), "fp32 eager")],
    ids=["cheaper", "more watts", "slower"],
)
def test_half_precision_that_costs_more_than_fp32_is_no_reference(
    monkeypatch: pytest.MonkeyPatch, half: Load, against: str
) -> None:
    measured = session(monkeypatch, {"fp32 eager": Load(300.0, 0.01), "bf16 eager": half, "mine": Load(150.0, 0.01)})
    names = ("fp32 eager", "bf16 eager")
    judged, remark = without_straw_man(Raw(measured, names, "bf16 eager", "accuracy", 0))
    assert judged.against == against
    assert (remark is None) == (against == "bf16 eager")
    assert figures.points(judged, "mine")[0].ratio(against) is not None
