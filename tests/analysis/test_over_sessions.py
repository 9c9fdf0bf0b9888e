"""One operating point from several sessions, on simulated boards."""

from dataclasses import replace
from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from scipy.stats import t

from compress.analysis import costs, figures, recount
from compress.analysis.over_sessions import merged_reasons
from compress.analysis.verify import recomputed
from compress.base.config import InputError
from compress.records import trace
from compress.records.further import completed, lost_session
from compress.records.joined import joined_ratio
from compress.records.natural import Texts
from compress.records.session import RunnerPoint, Session, Shape
from compress.report.charts import Source
from compress.report.charts.power import sampled
from compress.report.page.samples import Trace, power
from tests import factory
from tests.simulated import Load, session, with_points


def sessions(patch: Any, *watts: float, noise: float = 0.004) -> list[Session]:
    """Sessions of a reference of 300 W and a model of so many watts each."""
    return [
        session(patch, {"fp32 eager": Load(300.0, 0.02, noise), "ours": Load(each, 0.01, noise)}, seed=number)
        for number, each in enumerate(watts)
    ]


def test_figures_of_several_sessions_are_joined_over_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    every = sessions(monkeypatch, 200.0, 204.0, 196.0)
    (point,) = figures.points(costs.from_trace(every[0], every[1:]), "ours")
    alone = [figures.points(costs.from_trace(each), "ours")[0] for each in every]
    energies = [each.energy_j for each in alone]
    assert all(energies) and point.energy_j == joined_ratio([e for e in energies if e is not None])
    assert point.latency_s.n == point.energy_j.n == point.sessions == 3
    ratios = [each.ratios[0].energy for each in alone]
    (ratio,) = point.ratios
    assert ratio.energy == joined_ratio([r for r in ratios if r is not None])
    assert ratio.session_spread_energy == pytest.approx(0.02, abs=0.01)
    assert len(point.rounds) == point.latency_percentiles_s.n // (
        len(every[0].runners[1].points[0].windows[0].batch_ns)
    )
    assert [r.index for r in point.rounds] == list(range(18))
    nets = []
    for each in alone:  # 1 example a batch, 0.01 s at 80 W idle; the mean of 6 rounds
        rounds = [(r.energy_j or 0) / r.batches for r in each.rounds]
        nets.append(sum(rounds) / 6 - 0.8)
    assert point.energy_idle_j == pytest.approx(0.8)
    assert point.energy_net_j is not None and point.energy_net_j.n == 3
    assert point.energy_net_j.value == pytest.approx(sum(nets) / 3)
    half = t.ppf(0.975, 2) * stdev(nets) / 3**0.5
    assert point.energy_net_j.high - point.energy_net_j.value == pytest.approx(half)


def test_rounds_of_sessions_stay_apart_where_the_first_rounds_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sessions(monkeypatch, 200.0, 204.0)
    first, second = (
        with_points(
            each,
            lambda _, point, start=start: replace(
                point, windows=tuple(replace(w, index=w.index + start) for w in point.windows)
            ),
        )
        for each, start in ((first, 5), (second, 1))
    )
    for order in ((first, second), (second, first)):
        raw = costs.from_trace(order[0], [order[1]])
        (point,) = figures.points(raw, "ours")
        numbers = [r.index for r in point.rounds]
        assert numbers == sorted(set(numbers)) and len(numbers) == 12
        ((again,),) = recount.points(order, ["ours"])
        assert [row["index"] for row in again["rounds"]] == numbers


def test_a_runner_that_fails_in_a_later_session_has_the_figures_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    every = sessions(monkeypatch, 200.0, 204.0, 196.0)
    lost = replace(every[1], runners=every[1].runners[:1])  # it lists the reference only
    raw = costs.from_trace(every[0], [lost, every[2]])
    (point,) = figures.points(raw, "ours")
    (reference,) = figures.points(raw, "fp32 eager")
    assert (point.sessions, reference.sessions, point.latency_s.n) == (2, 3, 2)
    assert [r.session for r in point.rounds] == [0] * 6 + [2] * 6
    assert {r.index for r in point.rounds} == {*range(6), *range(12, 18)}
    assert figures.failures(raw, "ours") == [
        "failed in session 2 of 3, so figures are of the other sessions: the session did not measure it"
    ]
    whole = costs.from_trace(every[0], [lost_session(every[0], "killed")])
    assert figures.points(whole, "ours")[0] == figures.points(costs.from_trace(every[0]), "ours")[0]
    assert figures.failures(whole, "fp32 eager")[0].endswith("killed")


def test_the_worst_grade_counts_and_a_reason_names_its_session_unless_all_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = sessions(monkeypatch, 200.0, 200.0)
    busy = with_points(every[1], lambda _, point: replace(point, foreign_cores=1.0))
    raw = costs.from_trace(every[0], [busy])
    (point,) = figures.points(raw, "ours")
    reason = "session 2: other processes kept 1.0 cores busy during the measurement"
    assert point.grade == "D" and reason in point.grade_reasons and reason in figures.disturbances(raw, "ours")
    assert merged_reasons({0: ["a", "b"], 1: ["b"]}) == ("session 1: a", "b")
    assert merged_reasons({}) == ()


def test_each_session_states_its_own_precision_by_its_own_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    load = {"fp32 eager": Load(300.0, 0.02), "ours": Load(200.0, 0.01)}
    one, two = (
        with_points(
            session(monkeypatch, load, rounds=15, window_s=1.0, seed=seed),
            lambda _, point: replace(point, precision=0.03, rounds_s=30.0),
        )
        for seed in range(2)
    )

    def scattered(point: RunnerPoint) -> RunnerPoint:
        factors = [1.0, 1.3, 0.8] * 5
        windows = tuple(
            replace(w, ended_ns=w.started_ns + round(w.duration_ns * factor))
            for w, factor in zip(point.windows, factors, strict=True)
        )
        return replace(point, windows=windows)

    noisy = with_points(two, lambda runner, point: scattered(point) if runner.name == "ours" else point)
    assert figures.imprecise(costs.from_trace(one, [two]), "ours") == ()  # 2 sessions of 15 rounds are enough
    (note,) = figures.imprecise(costs.from_trace(one, [noisy]), "ours")
    assert note.startswith("session 2: its latency ratio to fp32 eager is known to +-")
    assert "after 15 rounds" in note


def test_a_further_session_of_other_points_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = sessions(monkeypatch, 200.0, 200.0)
    other = with_points(two, lambda _, point: replace(point, point=Shape(8, 64)))
    with pytest.raises(InputError, match="other operating points"):
        completed(other, one)


def test_a_natural_point_that_a_session_lacks_may_have_another_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = sessions(monkeypatch, 200.0, 200.0)
    clipped = with_points(
        one, lambda _, point: replace(point, point=Shape(3, None, natural="sorted"), texts=Texts(1, 9.0))
    )
    lost = with_points(two, lambda *_: RunnerPoint(Shape(8, None, natural="sorted"), lacking="it failed"))
    assert completed(lost, clipped) == lost and completed(clipped, lost) == clipped
    others = [
        with_points(lost, lambda *_: RunnerPoint(Shape(8, None, natural="as_they_come"), lacking="it failed")),
        with_points(clipped, lambda _, point: replace(point, point=Shape(4, None, natural="sorted"))),
        with_points(lost, lambda *_: RunnerPoint(Shape(8, 64), lacking="it failed")),
        replace(clipped, runners=tuple(replace(r, points=r.points * 2) for r in clipped.runners)),
    ]
    for other in others:
        with pytest.raises(InputError, match="other operating points"):
            completed(other, clipped)


def test_precision_needs_no_outcomes_of_a_further_session(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (
        with_points(each, lambda _, point: replace(point, point=Shape(1, None, natural="sorted"), texts=Texts(1, 9.0)))
        for each in sessions(monkeypatch, 200.0, 200.0)
    )
    rounds_only = replace(two, runners=tuple(replace(r, outcomes={}) for r in two.runners))
    assert figures.imprecise(costs.from_trace(one, [rounds_only]), "ours") == ()


def test_one_session_as_two_traces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = sessions(monkeypatch, 200.0)
    made = factory.result("ours", references=(), trace="w/traces/s", further_traces=("w/traces/s-2",))
    with pytest.raises(InputError, match="the traces of ours hold the same session twice"):
        recomputed(made, one, one)
    lost = lost_session(one, "killed")
    with pytest.raises(InputError, match="the same session twice"):
        recomputed(replace(made, further_traces=("w/traces/s",)), one, lost)
    (point,) = recomputed(made, one, lost).points
    assert point.sessions == 1


def test_power_is_drawn_over_all_sessions_with_a_gap_between_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    one, two = sessions(monkeypatch, 200.0, 200.0)
    later_ns = 10**12
    shifted = with_points(
        replace(two, samples=tuple(replace(s, time_ns=s.time_ns + later_ns) for s in two.samples)),
        lambda _, point: replace(
            point,
            windows=tuple(
                replace(w, started_ns=w.started_ns + later_ns, ended_ns=w.ended_ns + later_ns) for w in point.windows
            ),
        ),
    )
    places = [tmp_path / "results" / "w" / "traces" / name for name in ("s", "s-2")]
    for place, each in zip(places, (one, shifted), strict=True):
        trace.write(place, each)
    result = factory.result("ours", trace="w/traces/s", further_traces=("w/traces/s-2",))
    whole = sampled(Source(tmp_path / "results" / "w" / "ours.json", result))
    assert len(whole.samples) == len(one.samples) + len(two.samples)
    assert len(whole.windows) == 2 * len(one.windows)
    drawn = power(Trace(places))
    (board,) = drawn["boards"]
    assert board["t"].count(None) == board["w"].count(None) == 1
    assert len(drawn["windows"]["ours"]) == 12
