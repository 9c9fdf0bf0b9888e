"""Ratios of a published session: robust, widened by the correlation of its rounds, flagged if that is large."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from compress.analysis import costs, figures
from compress.analysis.costs import Raw
from compress.analysis.ratios import cost_ratio
from compress.records import trace
from compress.records.session import RunnerPoint, Window
from tests.helpers import ROOT

FOLDER = ROOT / "results/reference/test-split/minilm-sst2/traces/20261126T042937-515d0e"
OURS, AGAINST, ROUNDS = "bert_int8", "fp32 eager", 8


@pytest.fixture(scope="module")
def raw() -> Raw:
    return costs.from_trace(trace.read(FOLDER))


def logs(raw: Raw) -> dict[str, np.ndarray]:
    """Return runner -> log seconds per batch of every round."""
    return {
        runner.name: np.log([w.duration_ns / len(w.batch_ns) / 1e9 for w in runner.points[0].windows])
        for runner in raw.session.runners
    }


def test_a_published_ratio_follows_from_its_rounds_in_plain_arithmetic(raw: Raw) -> None:
    ratio = figures.points(raw, OURS)[0].ratio(AGAINST)
    assert ratio is not None and ratio.correlation is not None
    series = logs(raw)
    found = []
    for one, other in combinations(series.values(), 2):
        d = one - other
        scale = 1.4826 * np.median(abs(d - np.median(d)))
        d = np.clip(d, np.median(d) - 3 * scale, np.median(d) + 3 * scale)
        d = d - d.mean()
        found.append(sum(d[1:] * d[:-1]) / sum(d * d))
    correlation = (ROUNDS * np.mean(found) + 1) / (ROUNDS - 4)
    upper = min(max(0, correlation * (1 + 2 / math.sqrt(ROUNDS * (len(series) - 1)))), 0.8)
    assert ratio.correlation.value == pytest.approx(correlation)
    assert ratio.correlation.upper == pytest.approx(upper)
    assert ratio.correlation.series == len(series) - 1
    kept = sorted(series[OURS] - series[AGAINST])[1:-1]
    winsorized = [kept[0], *kept, kept[-1]]
    error = math.sqrt(np.var(winsorized, ddof=1) * (ROUNDS - 1) / (6 * 5))
    matrix = np.array([[upper ** abs(i - j) for j in range(ROUNDS)] for i in range(ROUNDS)])
    lost = np.trace((np.eye(ROUNDS) - 1 / ROUNDS) @ matrix) / (ROUNDS - 1)
    half = stats.t.ppf(0.975, 5) * error * math.sqrt(ROUNDS * matrix.mean() / lost)
    assert math.log(ratio.latency.value) == pytest.approx(np.mean(kept))
    assert math.log(ratio.latency.high / ratio.latency.low) / 2 == pytest.approx(half)
    assert cost_ratio(raw, OURS, AGAINST) == ratio.latency  # no meter: the cost is latency


def test_throughput_is_the_reciprocal_of_latency(raw: Raw) -> None:
    point = figures.points(raw, OURS)[0]
    size = point.batch_size
    expected = [size / edge for edge in (point.latency_s.value, point.latency_s.high, point.latency_s.low)]
    assert [point.throughput_per_s.value, point.throughput_per_s.low, point.throughput_per_s.high] == expected


def test_absolute_figures_are_widened_by_drift_that_runners_share(raw: Raw) -> None:
    def slower(index: int, window: Window) -> Window:
        return replace(window, ended_ns=window.started_ns + round(window.duration_ns * 1.02**index))

    shared = changed(raw, lambda point: tuple(slower(i, w) for i, w in enumerate(point.windows)))
    before, after = (figures.points(one, OURS)[0] for one in (raw, shared))
    ratios = [point.ratio(AGAINST) for point in (before, after)]
    assert ratios[0] is not None and ratios[1] is not None
    assert ratios[1].latency.low == pytest.approx(ratios[0].latency.low, rel=1e-6)
    assert math.log(after.latency_s.high / after.latency_s.low) > 3 * math.log(
        before.latency_s.high / before.latency_s.low
    )


def test_strong_correlation_is_flagged_and_a_quiet_session_is_not(raw: Raw) -> None:
    assert not any("correlated" in reason for reason in figures.points(raw, OURS)[0].grade_reasons)
    rising = dict(zip((runner.name for runner in raw.session.runners), np.linspace(-0.2, 0.2, 7), strict=True))
    runners = []
    for runner in raw.session.runners:
        first = runner.points[0]
        windows = tuple(
            replace(w, ended_ns=w.started_ns + round(w.duration_ns * math.exp(i * rising[runner.name])))
            for i, w in enumerate(first.windows)
        )
        runners.append(replace(runner, points=(replace(first, windows=windows), *runner.points[1:])))
    wandering = replace(raw, session=replace(raw.session, runners=tuple(runners)))
    reasons = figures.points(wandering, OURS)[0].grade_reasons
    assert "rounds are correlated (0.9 from one to the next in latency): intervals may be too narrow" in reasons


def changed(raw: Raw, windows: Callable[[RunnerPoint], tuple[Window, ...]]) -> Raw:
    """Return the samples with other windows of every runner at the headline point."""
    runners = tuple(
        replace(r, points=(replace(r.points[0], windows=windows(r.points[0])), *r.points[1:]))
        for r in raw.session.runners
    )
    return replace(raw, session=replace(raw.session, runners=runners))
