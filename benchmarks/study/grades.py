"""Rows on what grades rest on: the test for drift, and the agreement of two sources of energy."""

from collections.abc import Iterator

import numpy as np

from benchmarks.study import SEED, Bound
from compress.analysis.agreement import agreement
from compress.analysis.drift import Series, change, together, trends


def steady_sessions(sessions: int) -> Iterator[Bound]:
    """Yield the share of rows of steady metered sessions whose latency is called drifting (7 runners)."""
    for rounds, cv, most in ((6, 0.01, 0.01), (6, 0.02, 0.04), (6, 0.03, 0.1), (10, 0.03, 0.1), (6, 0.05, 0.15)):
        generator = np.random.default_rng(SEED)
        drifting = sum(_drifts(generator, rounds, cv, 0.0) for _ in range(sessions)) / sessions
        yield Bound(f"steady rows called drifting, cv {100 * cv:g} %, {rounds} rounds", drifting, 0, most)


def drifting_sessions(sessions: int) -> Iterator[Bound]:
    """Yield the share of rows called drifting where all runners change by 12 % from first to last third."""
    for cv in (0.02, 0.04):
        generator = np.random.default_rng(SEED)
        found = sum(_drifts(generator, 6, cv, 0.12) for _ in range(sessions)) / sessions
        yield Bound(f"rows called drifting, all runners slow down by 12 %, cv {100 * cv:g} %, 6 rounds", found, 0.9)


def _drifts(generator: np.random.Generator, rounds: int, cv: float, drift: float) -> bool:
    """Return whether one row of a simulated session, or its reference, has a change beyond noise."""
    third = max(rounds // 3, 2)
    ramp = drift / (rounds - third) * (np.arange(rounds) - (rounds - 1) / 2)
    everyone = [Series(str(i), np.exp(ramp + cv * generator.standard_normal(rounds)).tolist(), None) for i in range(7)]
    found = [trend for own in everyone[:2] for trend in trends(own, everyone[1], together(everyone))]
    return any(trend.change.beyond_noise for trend in found)


def unmetered_rows(sessions: int) -> Iterator[Bound]:
    """Yield how often the ratio of a row is called drifting over many short rounds, one window in six stalled."""
    for rounds, drift, low, high in ((15, 0.0, 0.0, 0.07), (40, 0.0, 0.0, 0.04), (40, 0.15, 0.9, 1.0)):
        generator = np.random.default_rng(SEED)
        found = 0
        ramp = drift / (rounds - rounds // 3) * (np.arange(rounds) - (rounds - 1) / 2)
        for _ in range(sessions):
            ours, theirs = (0.03 * generator.standard_normal(rounds) + _stalls(generator, rounds) for _ in range(2))
            seen = change(np.exp(ramp + ours - theirs).tolist())
            found += seen is not None and seen.large and seen.beyond_noise
        what = "steady ratios" if drift == 0 else f"ratios that drift by {100 * drift:g} %"
        yield Bound(
            f"{what} called drifting, {rounds} short rounds, one window in six stalled", found / sessions, low, high
        )


def _stalls(generator: np.random.Generator, rounds: int) -> np.ndarray:
    """Return the log factor of every window: one in six takes 30 to 300 % longer."""
    return np.where(generator.random(rounds) < 1 / 6, np.log(generator.uniform(1.3, 4.0, rounds)), 0.0)


def sources(sessions: int) -> Iterator[Bound]:
    """Yield how often two sources are called agreeing: each window of 6 x 5 s off by noise, and by turns."""
    generator = np.random.default_rng(SEED)
    for noise, low, high in ((0.006, 0.99, 1.0), (0.04, 0.0, 0.05)):
        agreed = sum(agreement(np.exp(noise * generator.standard_normal(6)).tolist(), [1.0] * 6) is None
                     for _ in range(sessions))  # fmt: skip
        yield Bound(
            f"two sources of energy called agreeing, windows {100 * noise:g} % apart", agreed / sessions, low, high
        )
