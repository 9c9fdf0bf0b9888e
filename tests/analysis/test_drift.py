"""Drift of rounds: a change is drift only beyond its own noise, and noise never hides a change from the grade."""

import math
import random

import numpy as np
import pytest
from scipy import stats as scipy_stats

from compress.analysis import costs, figures, grades
from compress.analysis.drift import LIMIT, Series, change, together, trends
from compress.records import trace
from tests.helpers import ROOT

H200 = ROOT / "results/reference/gpu/minilm-sst2-b32-l64/traces/20261126T003451-b2b733"


@pytest.mark.parametrize("seed", range(5))
def test_the_slope_is_tested_like_scipys_regression(seed: int) -> None:
    draw = random.Random(seed)
    logs = [0.03 * i * (seed % 3) + draw.gauss(0, 0.04) for i in range(9)]
    found = change([math.exp(v) for v in logs])
    assert found is not None
    assert found.size == pytest.approx(math.exp(np.median(logs[-3:]) - np.median(logs[:3])) - 1)
    assert found.beyond_noise == (scipy_stats.linregress(range(9), logs).pvalue < 0.05)


def test_from_15_rounds_on_stalls_do_not_hide_a_trend() -> None:
    draw = random.Random(1)
    logs = [0.004 * i + draw.gauss(0, 0.02) for i in range(40)]
    stalled = [v + (1.2 if i % 7 == 3 else 0.0) for i, v in enumerate(logs)]
    assert scipy_stats.linregress(range(40), stalled).pvalue > 0.05
    found = change([math.exp(v) for v in stalled])
    assert found is not None and found.beyond_noise and found.large


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.1, 0.5])
def test_no_noise_widens_the_limit(noise: float) -> None:
    """A change over 5 % is drift or limits the grade to C, whatever the noise."""
    steps = [noise, -noise, noise, -noise, noise, -noise]
    costs_s = [math.exp(0.03 * i + step) for i, step in enumerate(steps)]
    own = Series("ours", costs_s, None)
    found = list(trends(own, None, None))
    seen = change(costs_s)
    assert seen is not None and abs(seen.size) > LIMIT
    assert len(found) == 1
    limits = grades.imprecisions(own, found)
    assert found[0].change.beyond_noise or any(grade == "C" for grade, _ in limits)


def test_a_change_of_up_to_5_percent_is_nothing_however_sure() -> None:
    own = Series("ours", [1.0, 1.01, 1.02, 1.03, 1.04, 1.05], None)
    assert list(trends(own, None, None)) == []
    assert change([1.0, 1.1, 1.2]) is None  # three rounds have no trend


def test_the_common_factor_is_tested_even_if_no_runner_shows_it() -> None:
    draw = random.Random(4)
    everyone = [Series(str(i), [math.exp(-0.02 * r + draw.gauss(0, 0.06)) for r in range(6)], None) for i in range(30)]
    common = together(everyone)
    assert common is not None
    assert common.seconds[0] == pytest.approx(math.prod(s.seconds[0] for s in everyone) ** (1 / 30))
    found = [t for t in trends(everyone[0], everyone[1], common) if t.of == "all"]
    assert [t.change.beyond_noise for t in found] == [True]
    assert found[0].sentence.startswith("the latency of all models together drifted by -")


def test_a_drift_that_all_runners_share_is_none_of_their_ratio() -> None:
    ramp = [math.exp(0.05 * i) for i in range(6)]
    ours, theirs = Series("ours", [2 * v for v in ramp], None), Series("theirs", ramp, None)
    assert {t.of for t in trends(ours, theirs, together([ours, theirs]))} == {"own", "all"}
    other = Series("theirs", [1.0] * 6, None)
    assert {t.of for t in trends(ours, other, together([ours, other]))} == {"own", "all", "ratio"}


def test_the_published_h200_session_drifted() -> None:
    """All seven runners became 6 to 25 % faster from the first to the last third, 12 % together."""
    session = trace.read(H200)
    raw = costs.from_trace(session)
    seconds = {r.name: [w.duration_ns / len(w.batch_ns) for w in r.points[0].windows] for r in session.runners}
    logs = np.log(list(seconds.values()))  # [runners, rounds]
    third = logs[:, 4:].mean(axis=1) - logs[:, :2].mean(axis=1)
    assert [round(100 * math.expm1(v)) for v in sorted(third)] == [-25, -13, -12, -10, -10, -8, -6]
    assert math.expm1(third.mean()) == pytest.approx(-0.1232, abs=1e-4)
    assert scipy_stats.linregress(range(6), logs.mean(axis=0)).pvalue == pytest.approx(0.033, abs=0.001)
    for name in seconds:
        point = figures.points(raw, name)[0]
        assert point.grade == "D"
        assert "the latency of all models together drifted by -12.3 % from the first to the last third of rounds" in (
            point.unreliable
        )


def test_rounds_that_vary_by_more_than_5_percent_are_no_grade_b() -> None:
    for half, precise in ((0.04, True), (0.06, False)):
        values = [1 + half, 1 - half, 1 + half, 1 - half, 1 + half, 1 - half]
        cv = half * math.sqrt(6 / 5)
        assert grades.variation(values) == pytest.approx(cv)
        own = Series("ours", values, [2 * v for v in values])
        limits = grades.imprecisions(own, list(trends(own, None, None)))
        assert [grade for grade, _ in limits] == ([] if precise else ["C", "C"])


def test_a_runner_with_fewer_rounds_joins_no_common_factor() -> None:
    ours, other = Series("ours", [1.0] * 6, None), Series("short", [1.0, 2.0, 3.0, 4.0], None)
    assert list(trends(ours, other, together([ours, other]))) == []
