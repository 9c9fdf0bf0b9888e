"""Joint statements on the recipes of a table: adjusted intervals, odds of the front, cheapest within a loss.

Results store unadjusted intervals; the family of comparisons of a table is adjusted by Holm's method. Odds resample
rounds, jointly for all recipes of a session and independently across sessions. They resample examples jointly for all
rows, which share them. If a result does not record its correct examples (perplexity, f1), differences are drawn from
the normal distribution of their interval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

import numpy as np

from compress.analysis import loss
from compress.analysis.pareto import Candidate, Table, candidates, ranked
from compress.analysis.seeds import jointly
from compress.analysis.verdict import cost_axis
from compress.base.config import InputError
from compress.records import stats
from compress.records.result import Point, Result, Unit, Word
from compress.records.stats import Estimate

RESAMPLES = 400
SEED = 0
MOST = 120  # rows of a table: more are a search, not a family of comparisons, and dominance is quadratic in rows


SETTLED = frozenset({"BROKEN", "NO VERDICT", "NO MEASURABLE DIFFERENCE"})
"""Words that a wider interval of the cost cannot change."""
T = TypeVar("T")


def _cached(make: Callable[[Table], dict[str, T]]) -> Callable[[Table], dict[str, T]]:
    """Cache the function's result on the table: tables are immutable, and each is rendered several times."""
    key = f"_{make.__name__}"

    @wraps(make)
    def answer(table: Table) -> dict[str, T]:
        cache: dict[str, dict[str, T]] = vars(table)
        if key not in cache:
            cache[key] = make(table)
        return cache[key]

    return answer


@_cached
def adjusted(table: Table) -> dict[str, Estimate]:
    """Return the cost ratio of each recipe's verdict, with its interval after Holm's adjustment for the whole table.

    Empty for a table of one row, which needs no adjustment, or of more than `MOST` rows.
    """
    if not 1 < len(table.results) <= MOST:
        return {}
    costs = {r.name: cost for r in table.results if (cost := _judged_by(r, table.reference)) is not None}
    levels = stats.holm([stats.ratio_p(cost) for cost in costs.values()])
    return {
        name: stats.at_confidence(cost, 1 - level) for (name, cost), level in zip(costs.items(), levels, strict=True)
    }


def _judged_by(result: Result, reference: str | None) -> Estimate | None:
    """Return the cost ratio of a result's verdict: energy if its grade allows, even in a table of latencies."""
    point = result.headline
    ratio = point.ratio(reference) if point is not None and reference is not None else None
    return None if point is None or ratio is None else cost_axis(ratio, point.energy_source)[1]


def word_among(word: Word, cost: Estimate | None) -> Word:
    """Return a verdict's word for the adjusted interval: a difference no longer significant is dropped."""
    if cost is None or word in SETTLED:
        return word
    return "NO MEASURABLE DIFFERENCE" if cost.low <= 1 <= cost.high else word


@_cached
def front_odds(table: Table) -> dict[str, float]:
    """Return the share of resamples in which nothing dominates a row, by name.

    Rows with unknown spread of cost or metric (one round, one example) are left out. Empty for more than `MOST` rows,
    or without a recipe among them.
    """
    field = [c for c in ranked(table) if c.cost.bounded]
    owners: dict[str, Result] = {r.name: r for r in table.results}
    if len(field) > MOST or all(c.reference for c in field):
        return {}
    generator = np.random.default_rng(SEED)
    draws: dict[str, np.ndarray] = {}
    costs: list[np.ndarray] = []
    for candidate in field:
        owner = owners.get(candidate.name, table.newest)
        logs = None if candidate.name == table.reference else _log_ratios(table, owner, candidate.name)
        if logs is None:
            centre = math.log(candidate.cost.value)
            costs.append(np.full(RESAMPLES, centre))
        else:
            chosen = draws.get(owner.session)
            if chosen is None or chosen.max() >= len(logs):
                chosen = draws[owner.session] = generator.integers(0, len(logs), (RESAMPLES, len(logs)))
            costs.append(np.asarray(logs)[chosen].mean(axis=1))
    cost = np.array(costs)  # [rows, resamples]
    quality = _same_examples(table, field, generator)
    if quality is None:
        quality = np.array([_drawn(candidate.quality, generator) for candidate in field])
    dominated = np.zeros(cost.shape, dtype=bool)
    for i in range(len(field)):
        no_worse = (cost <= cost[i]) & (quality >= quality[i])
        better = (cost < cost[i]) | (quality > quality[i])
        dominated[i] = (no_worse & better).any(axis=0)
    return {c.name: float(1 - dominated[i].mean()) for i, c in enumerate(field)}


def _same_examples(table: Table, field: Sequence[Candidate], generator: np.random.Generator) -> np.ndarray | None:
    """Return accuracy of every row minus the reference's over resampled examples and seeds; None if unknown.

    [rows, resamples]
    """
    rows = {row.name: row.accuracy for row in table.rows}
    accuracies = [rows[name] for name in (*(c.name for c in field), table.reference) if name in rows]
    bits = [(a.right, a.estimate.n) for a in accuracies if a is not None and a.right is not None]
    if len(bits) <= len(field) or len({n for _, n in bits}) != 1:
        return None
    n = bits[0][1]
    right = np.array([loss.unpacked(text, n) for text, _ in bits], dtype=np.float64)  # [rows + 1, examples]
    means = np.empty((len(bits), RESAMPLES))
    for i in range(RESAMPLES):
        means[:, i] = right @ np.bincount(generator.integers(0, n, n), minlength=n) / n
    for i, candidate in enumerate(field):
        own = rows[candidate.name]
        for spread in loss.spreads(own) if own is not None else ():
            means[i] += spread.draws(generator, RESAMPLES)
    return means[:-1] - means[-1]


def _drawn(quality: Estimate, generator: np.random.Generator) -> np.ndarray:
    """Draw from the normal distribution of an estimate's interval. [resamples]"""
    spread = (quality.high - quality.low) / (2 * 1.959963984540054)
    return quality.value + spread * generator.standard_normal(RESAMPLES)


def _log_ratios(table: Table, owner: Result, name: str) -> list[float] | None:
    """Return the log cost ratio to the reference per round, of a recipe or a reference of its session."""
    references = {reference.name: reference for reference in owner.references}
    row = owner if owner.name == name else references.get(name)
    reference = references.get(table.reference or "")
    if row is None or reference is None or row.headline is None or reference.headline is None:
        return None
    costs, reference_costs = (_per_batch(point, table.axis) for point in (row.headline, reference.headline))
    if costs is None or reference_costs is None or len(costs) != len(reference_costs):
        return None
    return [math.log(a / b) for a, b in zip(costs, reference_costs, strict=True)]


def _per_batch(point: Point, axis: str) -> list[float] | None:
    """Return the cost per batch of every round, or None if unknown."""
    if axis == "latency":
        return [r.duration_s / r.batches for r in point.rounds]
    joules = [r.energy_j for r in point.rounds]
    if any(j is None or j <= 0 for j in joules):
        return None
    return [(j or 0.0) / r.batches for j, r in zip(joules, point.rounds, strict=True)]


@dataclass(frozen=True)
class Within:
    """The cheapest recipe within a loss: by the estimates, and among those surely within it."""

    estimated: Candidate | None
    confident: Candidate | None
    """Of the recipes whose loss is within the limit with 95 % confidence, jointly for all rows: the cheapest one.

    The loss is certain, not that no other recipe is cheaper.
    """
    rows: int
    """Number of recipes that were looked at, for which intervals are adjusted (Bonferroni)."""


def cheapest_within(table: Table, most: float, unit: Unit) -> Within:
    """Return the cheapest recipes of a table that lose at most `most`. Raises InputError if the unit does not fit."""
    misfits = {loss.misfit(r.accuracy, unit, "--within") for r in table.results if r.accuracy} - {None}
    if misfits:
        raise InputError(sorted(f"--within: {misfit}" for misfit in misfits))
    field = [c for c in candidates(table.results, (), table.axis, table.reference) if c.name not in table.held]
    by_cost = sorted(field, key=lambda c: (c.cost.value, c.name))
    spreads = {r.name: loss.spreads(r.accuracy) for r in table.results if r.accuracy}
    return Within(
        next((c for c in by_cost if c.quality.value >= -most), None),
        next((c for c in by_cost if jointly(c.quality, spreads[c.name], len(field)).low >= -most), None),
        len(field),
    )


def answers(table: Table, most: float, unit: Unit, text: str) -> list[str]:
    """Return two sentences: the cheapest recipe by the estimates, and the cheapest of those surely within the loss.

    `most` and `unit` are the limit, and `text` is how the user wrote it.
    """
    within = cheapest_within(table, most, unit)
    accuracy = next((r.accuracy for r in table.results if r.accuracy), None)
    n = 0 if accuracy is None else accuracy.estimate.n
    where = f"{table.newest.workload.get('name', 'workload')}, within {text} of {table.reference}"
    where += "" if accuracy is None else f" ({loss.meaning((most, unit), accuracy)})"
    more = "" if within.confident == within.estimated else f"; more than {n:,} test examples could admit cheaper ones"
    joint = f"with 95 % confidence (jointly for {within.rows} recipes)"
    return [
        f"{where}: the cheapest recipe by the estimates is {_described(within.estimated, table)}",
        f"{where}: the cheapest recipe whose loss is within it {joint} is {_described(within.confident, table)}{more}",
    ]


def _described(candidate: Candidate | None, table: Table) -> str:
    """Return name and cost of a candidate, and whether it saves anything."""
    if candidate is None:
        return "none"
    cost = candidate.cost
    sentence = f"{candidate.name}, at {cost.value:.3g} times the {table.axis} ({cost.low:.3g} to {cost.high:.3g})"
    if cost.low > 1:
        return f"{sentence}, which costs more than {table.reference}"
    return sentence if cost.high < 1 else f"{sentence}: no saving was measured"
