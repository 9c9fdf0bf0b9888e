"""Rows on results of several sessions: coverage of ratios whose sessions have an effect of their own.

A session adds a normal effect to the log cost ratio of every recipe, beside the noise of its rounds.
"""

import math
from collections.abc import Iterator

import numpy as np

from benchmarks.study import SEED, Bound
from compress.records.joined import joined_ratio, widened_between
from compress.records.stats import SESSION_SPREAD, Estimate, paired_ratio

ROUNDS = 6
CV = 0.02
TRUE = 0.5


def rows(sessions: int) -> Iterator[Bound]:
    """Yield coverage over three sessions, and that of one session with the assumed spread."""
    generator = np.random.default_rng(SEED)
    for spread in (0.0, 0.01, 0.02, 0.03):
        what = f"coverage of the ratio over 3 sessions that differ by {100 * spread:g} %"
        yield Bound(what, coverage(generator, sessions, spread), 0.935)
    alone = [measured(generator, TRUE, 0.02) for _ in range(sessions)]
    what = "coverage of 1 session's ratio, sessions differ by 2 %, without an assumed spread"
    yield Bound(what, _share(alone))
    what = f"the same with the assumed spread of {100 * SESSION_SPREAD:g} %"
    yield Bound(what, _share([widened_between(ratio, SESSION_SPREAD) for ratio in alone]), 0.935)


def coverage(generator: np.random.Generator, results: int, spread: float, k: int = 3) -> float:
    """Return the share of results of `k` sessions whose interval contains the true ratio."""
    return _share([joined_ratio([measured(generator, TRUE, spread) for _ in range(k)]) for _ in range(results)])


def measured(
    generator: np.random.Generator, cost: float, spread: float, cv: float = CV, rounds: int = ROUNDS
) -> Estimate:
    """Return the ratio that one session measures, for this true cost ratio."""
    logs = math.log(cost) + spread * generator.standard_normal() + cv * generator.standard_normal(rounds)
    return paired_ratio(np.exp(logs).tolist(), [1.0] * rounds)


def _share(found: list[Estimate]) -> float:
    return sum(ratio.low <= TRUE <= ratio.high for ratio in found) / len(found)
