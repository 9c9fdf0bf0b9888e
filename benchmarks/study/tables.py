"""Rows on joint statements about the recipes of a table: adjusted intervals, and the cheapest within a limit."""

from collections.abc import Iterator

import numpy as np

from benchmarks.study import SEED, Bound
from benchmarks.study.front import NOISE, ROUNDS, table
from compress.analysis import odds
from compress.analysis.pareto import group
from compress.records import serial, stats
from tests.factory import result

RECIPES = 14
LIMIT = 0.03


def rows(tables: int) -> Iterator[Bound]:
    """Yield simultaneous coverage, wrong words, and the recipes named as within a limit."""
    for rounds in (ROUNDS, 10):
        covered = simultaneous_coverage(tables, rounds)
        yield Bound(f"all intervals of 14 recipes contain their true ratios, {rounds} rounds", covered, 0.95)
    yield Bound("any of 14 recipes as costly as the reference is called different", words_wrong(tables), 0, 0.05)
    yield Bound("a recipe is named as surely within 3 points, all 14 lose 3.01 points", named_within(tables), 0, 0.05)
    yield Bound("the same where 1 of the 14 loses nothing, which is right", named_within(tables, harmless=1))


def simultaneous_coverage(tables: int, rounds: int = ROUNDS) -> float:
    """Return the share of tables of 14 recipes in which all adjusted intervals contain their true ratios."""
    generator = np.random.default_rng([SEED, 102, rounds])
    covered = 0
    for _ in range(tables):
        truth = np.exp(generator.uniform(-1, 0.1, RECIPES))
        intervals = [adjusted.cost for adjusted in _table(generator, truth, rounds)]
        covered += all(e.low <= ratio <= e.high for e, ratio in zip(intervals, truth, strict=True))
    return covered / tables


def words_wrong(tables: int, rounds: int = ROUNDS) -> float:
    """Return the share of tables of 14 equal recipes of which any differs by Holm's method."""
    generator = np.random.default_rng([SEED, 104])
    equal = np.ones(RECIPES)
    return sum(any(each.differs for each in _table(generator, equal, rounds)) for _ in range(tables)) / tables


def _table(generator: np.random.Generator, truth: np.ndarray, rounds: int) -> list[odds.Adjusted]:
    """Return the adjusted cost ratios of one session's recipes, widened by the correlation of its rounds."""
    baseline = NOISE * generator.standard_normal(rounds)
    logs = np.log(truth)[:, None] + NOISE * generator.standard_normal((RECIPES, rounds))
    correlation = serial.pooled(np.vstack([baseline, logs]))
    assert correlation is not None
    reference = np.exp(baseline).tolist()
    return odds.jointly([stats.paired_ratio(np.exp(own).tolist(), reference, correlation.upper) for own in logs])


def named_within(tables: int, harmless: int = 0) -> float:
    """Return the share of tables that name a recipe as surely within the limit.

    All 14 recipes are truly just over it, except `harmless` ones, which lose nothing.
    """
    generator = np.random.default_rng([SEED, 103, harmless])
    losses = [0.0] * harmless + [LIMIT + 0.0001] * (RECIPES - harmless)
    named = 0
    for _ in range(tables):
        made = []
        for row in table(generator, [0.5] * RECIPES, losses)[1:]:
            e = row.candidate.quality
            made.append(result(row.candidate.name, cost=0.5, delta=e.value, half=(e.high - e.low) / 2))
        named += odds.cheapest_within(group(made)[0], LIMIT, "points").confident is not None
    return named / tables
