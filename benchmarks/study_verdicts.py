"""Study rows on what verdicts rest on: percentiles, drift, agreement of two sources, and energy net of idle.

Each function returns bounds for `make study`; `python -m benchmarks.study_verdicts` prints them.
"""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from benchmarks.study import Bound
from compress.analysis.agreement import agreement
from compress.analysis.drift import Series, change, together, trends
from compress.analysis.net import net_j
from compress.records import stats
from compress.records.quantiles import quantile_estimate

SEED = 20260501
SESSIONS = 2000


def percentiles(sessions: int = SESSIONS) -> Iterator[Bound]:
    """Yield the coverage of percentile intervals: batches with a long tail, at the least numbers and at more."""
    generator = np.random.default_rng(SEED)
    for fraction, counts in ((0.5, (6, 50)), (0.9, (36, 200)), (0.99, (368, 2000))):
        true = -math.log(1 - fraction)  # of an exponential distribution
        for n in counts:
            draws = generator.exponential(size=(sessions, n))
            found = [quantile_estimate(np.array_split(row, 6), fraction) for row in draws]
            covered = sum(e is not None and e.low <= true <= e.high for e in found) / sessions
            yield Bound(f"p{100 * fraction:g} of {n} batches: intervals with the true value", covered, 0.94, 1)


def uneven_rounds(sessions: int = SESSIONS) -> Iterator[Bound]:
    """Yield the coverage of percentile intervals where rounds differ: 10 of 200 batches, 3 % noise within each."""
    for fraction, cv, least in ((0.5, 0.05, 0.94), (0.9, 0.02, 0.92), (0.9, 0.05, 0.92)):
        generator = np.random.default_rng(SEED)
        true = NormalDist(0, math.hypot(cv, 0.03)).inv_cdf(fraction)
        covered = 0
        for _ in range(sessions):
            draws = cv * generator.standard_normal((10, 1)) + 0.03 * generator.standard_normal((10, 200))
            found = quantile_estimate(draws.tolist(), fraction)
            covered += found is not None and found.low <= true <= found.high
        what = f"p{100 * fraction:g} of rounds that differ by {100 * cv:g} %: intervals with the true value"
        yield Bound(what, covered / sessions, least, 1)


def steady_sessions(sessions: int = SESSIONS) -> Iterator[Bound]:
    """Yield the share of rows of steady metered sessions whose latency is called drifting (7 runners)."""
    for rounds, cv, most in ((6, 0.01, 0.01), (6, 0.02, 0.04), (6, 0.03, 0.1), (10, 0.03, 0.1), (6, 0.05, 0.15)):
        generator = np.random.default_rng(SEED)
        drifting = sum(_drifts(generator, rounds, cv, 0.0) for _ in range(sessions)) / sessions
        yield Bound(f"steady rows called drifting, cv {100 * cv:g} %, {rounds} rounds", drifting, 0, most)


def drifting_sessions(sessions: int = SESSIONS) -> Iterator[Bound]:
    """Yield the share of rows called drifting where all runners change by 12 % from first to last third."""
    for cv in (0.02, 0.04):
        generator = np.random.default_rng(SEED)
        found = sum(_drifts(generator, 6, cv, 0.12) for _ in range(sessions)) / sessions
        yield Bound(f"rows called drifting, all runners change by 12 %, cv {100 * cv:g} %, 6 rounds", found, 0.9, 1)


def _drifts(generator: np.random.Generator, rounds: int, cv: float, drift: float) -> bool:
    """Return whether one row of a simulated session, or its reference, has a change beyond noise."""
    third = max(rounds // 3, 2)
    ramp = drift / (rounds - third) * (np.arange(rounds) - (rounds - 1) / 2)
    everyone = [Series(str(i), np.exp(ramp + cv * generator.standard_normal(rounds)).tolist(), None) for i in range(7)]
    found = [trend for own in everyone[:2] for trend in trends(own, everyone[1], together(everyone))]
    return any(trend.change.beyond_noise for trend in found)


def unmetered_rows(sessions: int = SESSIONS) -> Iterator[Bound]:
    """Yield how often the ratio of a row is called drifting over many short rounds, one window in six stalled."""
    for rounds, drift, low, high in ((15, 0.0, 0.0, 0.07), (40, 0.0, 0.0, 0.04), (40, 0.15, 0.9, 1.0)):
        generator = np.random.default_rng(SEED)
        found = 0
        ramp = drift / (rounds - rounds // 3) * (np.arange(rounds) - (rounds - 1) / 2)
        for _ in range(sessions):
            ours, theirs = (0.03 * generator.standard_normal(rounds) + _stalls(generator, rounds) for _ in range(2))
            seen = change(np.exp(ramp + ours - theirs).tolist())
            found += seen is not None and seen.large and seen.beyond_noise
        what = "steady" if drift == 0 else f"drifting by {100 * drift:g} %"
        yield Bound(f"{what} ratios called drifting, {rounds} short rounds with stalls", found / sessions, low, high)


def _stalls(generator: np.random.Generator, rounds: int) -> np.ndarray:
    """Return the log factor of every window: one in six takes 30 to 300 % longer."""
    return np.where(generator.random(rounds) < 1 / 6, np.log(generator.uniform(1.3, 4.0, rounds)), 0.0)


def sources(sessions: int = SESSIONS) -> Iterator[Bound]:
    """Yield how often two sources are called agreeing: each window of 6 x 5 s off by noise, and by turns."""
    generator = np.random.default_rng(SEED)
    for noise, low, high in ((0.006, 0.99, 1.0), (0.04, 0.0, 0.05)):
        agreed = sum(agreement(np.exp(noise * generator.standard_normal(6)).tolist(), [1.0] * 6) is None
                     for _ in range(sessions))  # fmt: skip
        yield Bound(f"sources called agreeing, windows {100 * noise:g} % apart", agreed / sessions, low, high)


def net_ratios(sessions: int = SESSIONS) -> Iterator[Bound]:
    """Yield the coverage of net ratios: 6 rounds, seconds and watts vary independently by 3 % and 1 %."""
    generator = np.random.default_rng(SEED)
    idle_w, covered = 120.0, 0
    truth = (300 - idle_w) * 0.5 / (400 - idle_w)
    for _ in range(sessions):
        shared = 0.02 * generator.standard_normal(6)
        nets = []
        for watts, seconds in ((300.0, 0.5), (400.0, 1.0)):
            took = seconds * np.exp(shared + 0.03 * generator.standard_normal(6))
            drawn = watts * np.exp(0.01 * generator.standard_normal(6))
            nets.append(net_j(Series("", took.tolist(), (drawn * took).tolist()), idle_w))
        ratio = stats.paired_ratio(*nets)
        covered += ratio.low <= truth <= ratio.high
    yield Bound("net ratios of energy: intervals with the true value, 6 rounds", covered / sessions, 0.935, 0.98)


ROWS = (percentiles, uneven_rounds, steady_sessions, drifting_sessions, unmetered_rows, sources, net_ratios)


if __name__ == "__main__":
    print("\n".join(bound.row() for rows in ROWS for bound in rows()))
