"""Error rates of what a table states of several rows, in simulated tables: dominance, the front, adjusted intervals.

Rows are simulated as a session leaves them: costs of the same rounds with noise of each runner's own, answers to the
same examples. Everything after that is the code that reads results.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.study import Bound
from compress.analysis import odds
from compress.analysis.candidates import Candidate
from compress.analysis.dominance import dominance, front
from compress.analysis.loss import MARGIN
from compress.analysis.pairs import Row, cost_differences, quality_differences
from compress.analysis.pareto import group
from compress.records import stats
from compress.records.stats import Estimate
from tests.factory import result

SEED = 20260512
TABLES = 2000
ROUNDS, EXAMPLES = 6, 872
NOISE = 0.02  # standard deviation of a runner's log cost from round to round
FLIPPED = 0.03  # share of the examples that a recipe answers otherwise in either direction, without a loss
RECIPES = 14


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
        low, high = stats.agresti_min((right > dense).sum(), (right < dense).sum(), EXAMPLES)
        quality = Estimate(float((right - dense).mean()), float(low), float(high), EXAMPLES)
        ratio = stats.paired_ratio(np.exp(logs).tolist(), [1.0] * rounds)
        candidate, numbers = Candidate(str(index), ratio, quality), (0,) * rounds
        rows.append(Row(candidate, False, "s", tuple(range(rounds)), logs, numbers, right=right))
    return rows


def on_front(rows: Sequence[Row], margin: float = MARGIN) -> np.ndarray:
    """Return which rows are on the front."""
    return front(dominance(cost_differences(rows), quality_differences(rows), margin))


def wrong_evictions(recipes: int, tables: int = TABLES) -> float:
    """Return the share of tables in which recipes at half the cost, truly worse by the margin, evict the dense row."""
    generator = np.random.default_rng([SEED, recipes])
    evicted = sum(
        not on_front(table(generator, [0.5] * recipes, [MARGIN] * recipes, flipped=0.01))[0] for _ in range(tables)
    )
    return evicted / tables


def gaps_found(tables: int = TABLES, rounds: int = ROUNDS) -> float:
    """Return the share of tables in which a row that costs 5 % more, with the same answers, leaves the front."""
    generator = np.random.default_rng([SEED, 100, rounds])
    found = 0
    for _ in range(tables):
        _, cheap, costly = table(generator, [0.50, 0.525], [0.0, 0.0], rounds=rounds)
        costly = replace(costly, right=cheap.right)
        found += not on_front([cheap, costly])[1]
    return found / tables


def ties_broken(tables: int = TABLES) -> float:
    """Return the share of tables in which one of two rows of equal cost, with the same answers, leaves the front."""
    generator = np.random.default_rng([SEED, 101])
    broken = 0
    for _ in range(tables):
        _, one, two = table(generator, [0.5, 0.5], [0.0, 0.0])
        broken += not on_front([one, replace(two, right=one.right)]).all()
    return broken / tables


def simultaneous_coverage(tables: int = TABLES, rounds: int = ROUNDS) -> float:
    """Return the share of tables of 14 recipes in which all adjusted intervals hold their true ratios."""
    generator = np.random.default_rng([SEED, 102, rounds])
    covered = 0
    for _ in range(tables):
        baseline = NOISE * generator.standard_normal(rounds)
        truth = np.exp(generator.uniform(-1, 0.1, RECIPES))
        noise = NOISE * generator.standard_normal((RECIPES, rounds))
        costs = [
            stats.paired_ratio((ratio * np.exp(own)).tolist(), np.exp(baseline).tolist())
            for ratio, own in zip(truth, noise, strict=True)
        ]
        intervals = [adjusted.cost for adjusted in odds.jointly(costs)]
        covered += all(e.low <= ratio <= e.high for e, ratio in zip(intervals, truth, strict=True))
    return covered / tables


def named_over_the_limit(tables: int = TABLES // 5) -> float:
    """Return the share of tables of 14 recipes, each truly just over the limit, that name one as surely within it."""
    generator = np.random.default_rng([SEED, 103])
    limit, named = 0.01, 0
    for _ in range(tables):
        rows = table(generator, [0.5] * RECIPES, [limit + 0.0001] * RECIPES)[1:]
        made = []
        for row in rows:
            e = row.candidate.quality
            made.append(result(row.candidate.name, cost=0.5, delta=e.value, half=(e.high - e.low) / 2))
        named += odds.cheapest_within(group(made)[0], limit, "points").confident is not None
    return named / tables


def bounds() -> Iterator[Bound]:
    """Yield the rows of the study."""
    yield Bound("a recipe worse by the margin, at half the cost, evicts the dense row", wrong_evictions(1), 0, 0.05)
    for rounds, least in ((6, 0.7), (10, 0.9)):
        what = f"a row 5 % more costly (noise 2 %, {rounds} rounds, same answers) leaves the front"
        yield Bound(what, gaps_found(rounds=rounds), least, 1)
    yield Bound("one of two equal rows leaves the front", ties_broken(), 0, 0.065)
    yield Bound("all adjusted intervals of 14 recipes hold their ratios", simultaneous_coverage(), 0.95, 1)
    yield Bound("14 recipes just over a limit: one is named as within it", named_over_the_limit(), 0, 0.05)


if __name__ == "__main__":
    for bound in bounds():
        print(bound.row())
