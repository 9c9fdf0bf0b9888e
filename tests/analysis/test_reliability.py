"""What spoils energy and touches latency leaves no verdict on latency either: the word is NOT RELIABLE."""

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from compress.analysis import costs, figures
from compress.analysis.agreement import agreement
from compress.analysis.disturbances import TOUCHES, recognised
from compress.analysis.gate import Limits, check
from compress.analysis.judging import UNJUDGED, judged, unreliable
from compress.analysis.odds import SETTLED, adjusted, cheapest_within
from compress.analysis.pareto import group
from compress.analysis.verdict import verdict
from compress.records.result import Point, Reference, Result
from compress.records.session import Runner, RunnerPoint, Session
from compress.records.window import Disturbance
from compress.report.describe import describe
from compress.report.notes import footnotes
from compress.report.page.headline import headline
from compress.report.sheet import records
from compress.report.table import rows
from tests import factory
from tests.simulated import Load, session, with_points

PAIR = {"fp32 eager": Load(300.0, 0.020), "ours": Load(200.0, 0.010)}
Change = Callable[[Session], Session]


def of_ours(change: Callable[[RunnerPoint], RunnerPoint]) -> Change:
    def changed(measured: Session) -> Session:
        return with_points(measured, lambda runner, point: change(point) if runner.name == "ours" else point)

    return changed


def slower_by_round(step: float, *names: str) -> Change:
    """Each round of these runners takes `step` longer than the one before."""

    def slower(runner: Runner, point: RunnerPoint) -> RunnerPoint:
        if runner.name not in names:
            return point
        kept = (round(len(w.batch_ns) / (1 + step * w.index)) for w in point.windows)
        windows = (replace(w, batch_ns=w.batch_ns[:n]) for w, n in zip(point.windows, kept, strict=True))
        return replace(point, windows=tuple(windows))

    return lambda measured: with_points(measured, slower)


def loaded(share: float, windows: int) -> Change:
    """Others take this share of four cores in the first windows of ours."""

    def busy(point: RunnerPoint) -> RunnerPoint:
        taken = Disturbance(foreign_ns=0, stolen_ns=0)
        made = (
            replace(
                w, disturbance=replace(taken, foreign_ns=round(share * 4 * w.duration_ns)) if i < windows else taken
            )
            for i, w in enumerate(point.windows)
        )
        return replace(point, windows=tuple(made))

    return lambda measured: replace(of_ours(busy)(measured), cores=4)


CASES: dict[str, tuple[dict[str, Any], Change | None, bool, bool]] = {
    # session, change, NOT RELIABLE with a meter, and without
    "quiet": ({}, None, False, False),
    "warm-up": ({}, of_ours(lambda p: replace(p, steady=False)), True, True),
    "own ramp": ({}, of_ours(lambda p: replace(p, steady=False, ramp="own")), True, True),
    "common ramp": ({}, of_ours(lambda p: replace(p, steady=False, ramp="all")), True, False),
    "foreign cores": ({}, of_ours(lambda p: replace(p, foreign_cores=0.4)), True, False),
    "stolen cores": ({}, of_ours(lambda p: replace(p, stolen_cores=0.4)), True, False),
    "a load in most windows": ({}, loaded(0.3, 4), True, True),
    "a load in half of the windows": ({}, loaded(0.3, 3), False, False),
    "a small load": ({}, loaded(0.2, 6), False, False),
    "quota": ({}, of_ours(lambda p: replace(p, throttled_periods=9, throttled_s=0.5)), True, False),
    "foreign processes": ({"foreign": 1}, None, True, True),
    "throttling": ({"events": lambda now: 0x40 if now > 1010 else 0}, None, True, True),
    "clocks": ({"sm_mhz": lambda now: 1500 if now < 1030 else 1200}, None, True, True),
    "common drift": ({}, slower_by_round(0.02, *PAIR), True, False),
    "drift of the ratio": ({}, slower_by_round(0.02, "ours"), True, True),
}


def measured(monkeypatch: Any, case: str) -> Session:
    fields, change, *_ = CASES[case]
    found = session(monkeypatch, PAIR, **fields)
    return found if change is None else change(found)


@pytest.mark.parametrize("case", CASES)
def test_with_a_meter_what_touches_latency_makes_it_unreliable(monkeypatch: Any, case: str) -> None:
    point = figures.points(costs.from_trace(measured(monkeypatch, case)), "ours")[0]
    assert bool(point.unreliable) == CASES[case][2]
    assert point.grade == ("D" if CASES[case][2] else "B")
    assert set(point.unreliable) <= set(point.grade_reasons)


@pytest.mark.parametrize("case", CASES)
def test_without_a_meter_only_what_many_short_rounds_cannot_cure_does(monkeypatch: Any, case: str) -> None:
    found = measured(monkeypatch, case)
    without = replace(found, meter=replace(found.meter, measured=False, source="modelled"))
    point = figures.points(costs.from_trace(without), "ours")[0]
    assert bool(point.unreliable) == CASES[case][3]
    assert point.grade == "E"
    assert len(point.grade_reasons) == 1 + len(figures.disturbances(costs.from_trace(without), "ours"))


def test_sources_that_disagree_touch_the_energy_only(monkeypatch: Any) -> None:
    found = session(monkeypatch, PAIR)
    shifted = tuple(replace(s, power_mw=round(1.08 * (s.power_mw or 0))) for s in found.samples)
    point = figures.points(costs.from_trace(replace(found, samples=shifted)), "ours")[0]
    assert (point.grade, point.unreliable) == ("D", ())
    judgement = verdict(factory.accuracy(), factory.accuracy(), point.ratios[0], energy_source="nvml")
    assert judgement.word == "SAVES" and "of the latency" in judgement.sentence


def test_windows_at_plus_and_minus_30_percent_by_turns_are_grade_d() -> None:
    turns = [1.3, 0.7] * 3
    assert math.fsum(turns) == pytest.approx(6)  # the sums agree
    assert agreement(turns, [1.0] * 6) == ("D", "the counter and integrated instant power are 30.0 % apart")
    assert agreement([1.01, 0.99] * 3, [1.0] * 6) is None
    limit = agreement([1.06, *[1.0] * 5], [1.0] * 6)  # 6 % / sqrt(6) = 2.4 %
    assert limit is not None and limit[0] == "C"


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("averaged", [None, 0.025], ids=["whole periods", "a quarter of each period"])
def test_good_boards_of_6_windows_of_5_s_keep_grade_b(monkeypatch: Any, seed: int, averaged: float | None) -> None:
    loads = {name: replace(load, noise=0.01) for name, load in PAIR.items()}
    found = session(monkeypatch, loads, seed=seed, averaged_s=averaged, gain=1 + 0.05 * random.Random(seed).random())
    for name in PAIR:
        point = figures.points(costs.from_trace(found), name)[0]
        assert (point.grade, point.grade_reasons) == ("B", ())


def test_alternating_errors_of_a_boards_power_are_found(monkeypatch: Any) -> None:
    found = session(monkeypatch, PAIR)
    windows = found.runners[1].points[0].windows
    factors = {w.started_ns: 1.3 if w.index % 2 else 0.7 for w in windows}

    def factor(time_ns: int) -> float:
        return next((factors[w.started_ns] for w in windows if w.started_ns <= time_ns <= w.ended_ns), 1.0)

    samples = tuple(replace(s, power_mw=round(factor(s.time_ns) * (s.power_mw or 0))) for s in found.samples)
    assert figures.points(costs.from_trace(replace(found, samples=samples)), "ours")[0].grade == "D"


def disturbed(
    name: str = "bert_int8", reason: str = "the device throttled: hardware slowdown", **fields: Any
) -> Result:
    good = factory.result(name, energy_source="nvml", **fields)
    return judged(replace(good, points=tuple(replace(p, unreliable=(reason,)) for p in good.points)))


def test_the_sentence_gives_the_reason_and_keeps_the_accuracy() -> None:
    found = disturbed(delta=-0.02)
    assert found.verdict is not None and found.verdict.word == "NOT RELIABLE"
    assert found.verdict.sentence == (
        "NOT RELIABLE: the device throttled: hardware slowdown; AND LOSES 2.0 points of accuracy (1.0 to 3.0), "
        "against fp32 eager"
    )
    two = verdict(factory.accuracy(), factory.accuracy(), factory.ratio(), unreliable=("a", "b", "c"))
    assert two.sentence.startswith("NOT RELIABLE: a, and 2 more reasons; at no measurable loss of accuracy")


def test_broken_comes_first_and_no_verdict_second() -> None:
    reasons = ("the device throttled",)
    bad, guess = factory.accuracy(0.55, -0.34), factory.accuracy(0.50, chance=0.51)
    assert verdict(bad, factory.accuracy(), factory.ratio(), unreliable=reasons).word == "BROKEN"
    assert verdict(factory.accuracy(), guess, factory.ratio(), unreliable=reasons).word == "NO VERDICT"
    nothing = replace(factory.ratio(), latency=replace(factory.near(1.0), value=math.inf))
    assert verdict(factory.accuracy(), factory.accuracy(), nothing, unreliable=reasons).word == "NO VERDICT"


def test_a_disturbed_reference_spoils_every_ratio_to_it() -> None:
    common, alone = "the latency of all models together drifted", "its latency drifted"
    reference = factory.reference(energy_source="nvml")
    points = tuple(replace(p, unreliable=(common, alone)) for p in reference.points)
    ours = replace(factory.result(energy_source="nvml").points[0], unreliable=(common,))
    assert unreliable(ours, "fp32 eager", points) == (common, f"fp32 eager: {alone}")
    found = factory.result("a", energy_source="nvml", references=(replace(reference, points=points),))
    assert found.verdict is not None and found.verdict.word == "NOT RELIABLE"


def test_such_rows_are_kept_off_the_front_and_every_reader_names_them() -> None:
    spoiled, good = disturbed("spoiled", cost=0.1), factory.result("good", 0.6, energy_source="nvml")
    (table,) = group([spoiled, good])
    assert table.unreliable == ("spoiled",) and "spoiled" in table.held
    assert "good" in table.front and "spoiled" not in table.front
    assert "NOT RELIABLE" in UNJUDGED and "NOT RELIABLE" in SETTLED
    assert spoiled.breakeven is not None and spoiled.breakeven.reason == "the measurement was disturbed"
    assert rows(table)[0].cells["verdict"] == ("NOT RELIABLE",)
    assert any("Kept off the front, because their measurement was disturbed" in note for note in footnotes(table))
    assert headline(table)[1] == "good"
    assert adjusted(table)["spoiled"].cost.value == 0.1
    within = cheapest_within(table, 0.5, "points")
    assert within.estimated is not None and within.estimated.name == "good"
    (line,) = [line for line in records([table]) if line["name"] == "spoiled"]
    assert line["unreliable"] == "the device throttled: hardware slowdown"
    assert any(line == "  NOT RELIABLE: the device throttled: hardware slowdown" for line in describe(spoiled))
    assert "1 not reliably measured" in headline(group([spoiled])[0])[0]


def test_an_unreliable_reference_is_kept_off_the_front_too() -> None:
    other = factory.reference(factory.BF16, False, 0.3, energy_source="nvml")
    spoiled = replace(other, points=tuple(replace(p, unreliable=("x",)) for p in other.points))
    references: tuple[Reference, ...] = (factory.reference(energy_source="nvml"), spoiled)
    (table,) = group([factory.result("good", 0.6, energy_source="nvml", references=references)])
    assert table.unreliable == (factory.BF16,) and factory.BF16 not in table.front


def test_a_gate_cannot_decide_costs_that_are_not_reliable_but_the_loss() -> None:
    good = factory.result(energy_source="nvml")
    limits = Limits(latency=0.5, energy=0.5, loss=(0.5, "points"))
    for now, then, when in ((disturbed(), good, "now"), (good, disturbed(), "in the baseline")):
        states = {found.what: found for found in check([now], [then], limits)}
        assert [states[axis].state for axis in ("energy", "latency")] == ["UNKNOWN", "UNKNOWN"]
        assert states["latency"].detail.startswith(f"{when}: NOT RELIABLE: the device throttled")
        assert states["accuracy"].state == "passed"


def test_every_sentence_of_a_session_is_recognised_again_in_older_files(monkeypatch: Any) -> None:
    for case in CASES:
        point: Point = figures.points(costs.from_trace(measured(monkeypatch, case)), "ours")[0]
        if case in TOUCHES and TOUCHES[case].words:
            found = [recognised(reason) for reason in point.grade_reasons]
            assert [each.kind for each in found if each is not None] == [case]
    assert recognised("the board ran at its power cap") is None
