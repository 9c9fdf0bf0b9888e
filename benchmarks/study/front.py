"""Rows on dominance and the front: error rates in simulated tables.

Rows are simulated as a session leaves them: costs of the same rounds with noise of each runner's own, answers to the
same examples. Everything after that is the code that reads results.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.study import SEED, Bound
from compress.analysis.candidates import Candidate
from compress.analysis.dominance import dominance, front
from compress.analysis.loss import MARGIN
from compress.analysis.pairs import Row, cost_differences, quality_differences
from compress.records import proportions, serial, stats
from compress.records.stats import Estimate

ROUNDS, EXAMPLES = 6, 872
NOISE = 0.02  # standard deviation of a runner's log cost from round to round
FLIPPED = 0.03  # share of the examples that a recipe answers otherwise in either direction, without a loss


def rows(tables: int) -> Iterator[Bound]:
    """Yield wrong evictions, the power to find a gap, and ties that are broken."""
    for recipes, most in ((1, 0.05), (13, 1.0)):
        each = "a recipe" if recipes == 1 else f"{recipes} recipes"
        what = f"the dense row is evicted by {each} at half the cost, truly worse by the margin"
        yield Bound(what, wrong_evictions(recipes, tables), 0, most)
    for rounds, recipes in ((6, 2), (6, 7), (10, 2), (10, 7)):
        what = f"a row 5 % more costly leaves the front, same answers, {rounds} rounds, {recipes} recipes"
        yield Bound(what, gaps_found(tables, rounds, recipes), 0.9)
    yield Bound("one of two equal rows leaves the front", ties_broken(tables), 0, 0.065)


def answers(generator: np.random.Generator, dense: np.ndarray, loss: float, flipped: float = FLIPPED) -> np.ndarray:
    """Return the answers, 0 or 1, of a recipe that truly loses `loss` against the dense model's. [examples]"""
    right = dense > 0
    lost, gained = flipped + loss, flipped
    chance = np.where(right, lost / 0.9, gained / 0.1)  # the dense model answers 90 % correctly
    flips = generator.random(len(dense)) < chance
    made: np.ndarray = (right ^ flips).astype(np.float32)
    return made


def table(
    generator: np.random.Generator,
    costs: Sequence[float],
    losses: Sequence[float],
    flipped: float = FLIPPED,
    rounds: int = ROUNDS,
) -> list[Row]:
    """Return the dense model, and recipes of these true cost ratios and losses, of one simulated session."""
    dense = (generator.random(EXAMPLES) < 0.9).astype(np.float32)
    baseline = NOISE * generator.standard_normal(rounds)
    same, none = Estimate(1, 1, 1, 0), Estimate(0, 0, 0, 0)
    rows = [Row(Candidate("dense", same, none, True), True, "s", right=dense)]
    for index, (cost, loss) in enumerate(zip(costs, losses, strict=True)):
        logs = np.log(cost) + NOISE * generator.standard_normal(rounds) - baseline
        right = answers(generator, dense, loss, flipped)
        low, high = proportions.tango((right > dense).sum(), (right < dense).sum(), EXAMPLES)
        quality = Estimate(float((right - dense).mean()), float(low), float(high), EXAMPLES)
        ratio = stats.paired_ratio(np.exp(logs).tolist(), [1.0] * rounds)
        number = tuple(range(rounds))
        candidate = Candidate(str(index), ratio, quality)
        rows.append(Row(candidate, session="s", rounds=number, logs=logs, sessions=(0,) * rounds, right=right))
    return rows


def widened(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with intervals widened by the correlation of the session's rounds, as a session does it."""
    logs = [row.logs for row in rows if row.logs is not None]
    correlation = serial.pooled(np.array([np.zeros_like(logs[0]), *logs]))
    upper = 0.0 if correlation is None else correlation.upper
    return [row if row.logs is None else _widened(row, row.logs, upper) for row in rows]


def _widened(row: Row, logs: np.ndarray, correlation: float) -> Row:
    cost = stats.paired_ratio(np.exp(logs).tolist(), [1.0] * len(logs), correlation)
    return replace(row, candidate=replace(row.candidate, cost=cost), correlation=correlation)


def on_front(rows: Sequence[Row], margin: float = MARGIN) -> np.ndarray:
    """Return which rows are on the front."""
    seen = widened(rows)
    return front(dominance(cost_differences(seen), quality_differences(seen), margin))


def wrong_evictions(recipes: int, tables: int) -> float:
    """Return the share of tables in which recipes at half the cost, truly worse by the margin, evict the dense row."""
    generator = np.random.default_rng([SEED, recipes])
    evicted = sum(
        not on_front(table(generator, [0.5] * recipes, [MARGIN] * recipes, flipped=0.01))[0] for _ in range(tables)
    )
    return evicted / tables


def gaps_found(tables: int, rounds: int = ROUNDS, recipes: int = 2) -> float:
    """Return the share of tables in which a row that costs 5 % more, with the same answers, leaves the front."""
    generator = np.random.default_rng([SEED, 100, rounds, recipes])
    found = 0
    for _ in range(tables):
        others = [0.6 + 0.1 * number for number in range(recipes - 2)]
        dense, cheap, costly, *more = table(generator, [0.50, 0.525, *others], [0.0] * recipes, rounds=rounds)
        found += not on_front([dense, cheap, replace(costly, right=cheap.right), *more])[2]
    return found / tables


def ties_broken(tables: int) -> float:
    """Return the share of tables in which one of two rows of equal cost, with the same answers, leaves the front."""
    generator = np.random.default_rng([SEED, 101])
    broken = 0
    for _ in range(tables):
        dense, one, two = table(generator, [0.5, 0.5], [0.0, 0.0])
        broken += not on_front([dense, one, replace(two, right=one.right)])[1:].all()
    return broken / tables
