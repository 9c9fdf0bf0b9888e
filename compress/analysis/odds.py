"""Joint statements on the recipes of a table: adjusted intervals, odds of the front, cheapest within a loss.

Results store unadjusted intervals. For a table of several recipes, intervals are simultaneous (Bonferroni), and words
follow Holm's method (1979), which keeps the same error rate and finds more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

import numpy as np

from compress.analysis import loss, seeds
from compress.analysis.dominance import Differences, dominance, front
from compress.analysis.judging import UNJUDGED, judged_among
from compress.analysis.pairs import across, cost_differences, paired_rows, quality_differences
from compress.analysis.pareto import Candidate, Table, candidates, point_cost, ranked
from compress.analysis.resampling import RESAMPLES, cost_deviations, quality_deviations, session_effects
from compress.analysis.sentence import HOLM
from compress.analysis.verdict import NEVER, Axis, cost_axis
from compress.base.config import InputError
from compress.records import stats
from compress.records.result import BreakEven, Result, Unit, Verdict, Word
from compress.records.stats import Estimate

SEED = 0
BLOCK = 200_000  # pairs of rows x resamples at a time, which fit a processor's cache

LEAST_ODDS = 0.05
"""Share of resamples below which a row off the front has no percentage."""
SETTLED = frozenset({"BROKEN", "NO VERDICT", "NOT RELIABLE", "NO MEASURABLE DIFFERENCE"})
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


@dataclass(frozen=True)
class Adjusted:
    """A cost ratio of a recipe among all recipes of its table."""

    cost: Estimate
    """With Bonferroni's interval: with 95 % confidence, those of all recipes hold their true ratios."""
    differs: bool
    """Whether it differs from 1 by Holm's method, which finds more than these intervals show."""

    @property
    def note(self) -> str:
        """Why it differs from 1 although its interval holds 1; empty otherwise."""
        return f"; {HOLM}" if self.differs and self.cost.low <= 1 <= self.cost.high else ""


@_cached
def adjusted(table: Table) -> dict[str, Adjusted]:
    """Return the adjusted cost ratio of each recipe's verdict. Empty for a table of one row, which needs none."""
    if len(table.results) < 2:
        return {}
    return _together({r.name: _judged_by(r, table.reference)[1] for r in table.results})


@_cached
def adjusted_on_axis(table: Table) -> dict[str, Adjusted]:
    """Return each recipe's cost ratio on the table's axis, adjusted for all recipes if there are several.

    It is that of the verdict (`adjusted`), unless this is of another axis: in a table of latencies, verdicts may be of
    energy.
    """
    costs = {r.name: point_cost(r.headline, table.axis, table.reference) for r in table.results}
    if len(costs) < 2:
        return {n: Adjusted(c, not c.low <= 1 <= c.high) for n, c in costs.items() if c is not None}
    judged = {r.name for r in table.results if _judged_by(r, table.reference)[0] == table.axis}
    return _together(costs) | {name: among for name, among in adjusted(table).items() if name in judged}


def saves(result: Result, table: Table) -> bool:
    """Return whether a recipe is shown to save on the table's axis, among all its recipes."""
    among = adjusted_on_axis(table).get(result.name)
    if among is None or result.verdict is None or result.verdict.word in UNJUDGED:
        return False
    return among.differs and among.cost.value < 1


def _together(costs: Mapping[str, Estimate | None]) -> dict[str, Adjusted]:
    """Return the known ones of these cost ratios, adjusted for each other."""
    known = {name: cost for name, cost in costs.items() if cost is not None}
    return dict(zip(known, jointly(list(known.values())), strict=True))


def jointly(costs: Sequence[Estimate]) -> list[Adjusted]:
    """Return these cost ratios adjusted for each other."""
    p_values = [stats.ratio_p(cost) for cost in costs]
    joint = 1 - (1 - stats.CONFIDENCE) / max(1, len(costs))
    return [
        Adjusted(stats.at_confidence(cost, joint), p <= level)
        for cost, p, level in zip(costs, p_values, stats.holm(p_values), strict=True)
    ]


def _judged_by(result: Result, reference: str | None) -> tuple[Axis, Estimate] | tuple[None, None]:
    """Return axis and cost ratio of a result's verdict: energy if its grade allows, even in a table of latencies."""
    point = result.headline
    ratio = point.ratio(reference) if point is not None and reference is not None else None
    return (None, None) if point is None or ratio is None else cost_axis(ratio, point.energy_source)


def word_among(word: Word, among: Adjusted | None) -> Word:
    """Return a verdict's word among all recipes of the table: a difference no longer significant is dropped."""
    return word if among is None or among.differs or word in SETTLED else "NO MEASURABLE DIFFERENCE"


def breakeven_among(result: Result, among: Adjusted | None) -> BreakEven | None:
    """Return the break-even, or why there is none if the verdict among all recipes of the table shows no saving."""
    even, verdict = result.breakeven, verdict_among(result, among)
    if even is None or verdict is None or verdict.word == "SAVES":
        return even
    if even.reason is not None and not (even.reason.startswith(NEVER) and verdict.word != "COSTS MORE"):
        return even
    return BreakEven(None, even.unit, even.point, "no saving is shown among all recipes of the table")


def verdict_among(result: Result, among: Adjusted | None) -> Verdict | None:
    """Return the verdict with its word (Holm) and its interval (Bonferroni) among all recipes of the table.

    Tables, pages and Markdown state this one. In a table of one recipe it is the result's own.
    """
    if among is None or result.verdict is None:
        return result.verdict
    differs = word_among(result.verdict.word, among) != "NO MEASURABLE DIFFERENCE"
    return judged_among(result, among.cost, differs)


@_cached
def front_odds(table: Table) -> dict[str, float]:
    """Return the share of resamples in which a row is on the front, by name; the measured sample is one of them.

    Every resample moves the differences of all pairs of rows, with intervals of the same width, and applies the rule
    of the front. Rows with unknown spread of cost (one round) are left out. Empty without a recipe among them.
    """
    field = [c for c in ranked(table) if c.cost.bounded]
    if all(c.reference for c in field):
        return {}
    rows = paired_rows(field, table.results, table.axis, table.reference)
    cost, quality = (_single(each) for each in (cost_differences(rows), quality_differences(rows)))
    generator = np.random.default_rng(SEED)
    costs, between = cost_deviations(rows, generator), session_effects(rows, generator)
    qualities, different = quality_deviations(rows, generator), across(rows)
    on_front = np.zeros(len(rows))
    block = max(1, BLOCK // len(rows) ** 2)
    for chosen in (slice(start, start + block) for start in range(0, RESAMPLES, block)):
        cost_shift = _apart(costs[chosen])
        if different.any():
            cost_shift += different * _apart(between[chosen])
        dominates = dominance(cost, quality, table.margin or 0.0, cost_shift, _apart(qualities[chosen]))
        on_front += front(dominates).sum(axis=0)
    return {c.name: float(count) / RESAMPLES for c, count in zip(field, on_front, strict=True)}


def _single(differences: Differences) -> Differences:
    """Return the intervals in single precision, which halves the time of the resamples."""
    return Differences(differences.low.astype(np.float32), differences.high.astype(np.float32))


def _apart(values: np.ndarray) -> np.ndarray:
    """Return the differences of every two rows. [resamples, rows] -> [resamples, rows a, rows b]"""
    rows = values.astype(np.float32)
    return rows[:, :, None] - rows[:, None, :]


@dataclass(frozen=True)
class Within:
    """The cheapest recipe within a loss: by the estimates, and among those surely within it."""

    estimated: Candidate | None
    confident: Candidate | None
    """Of the recipes whose loss is within the limit with 95 % confidence, jointly for all rows: the cheapest one.

    The loss is certain, not that no other recipe is cheaper.
    """
    saving: Candidate | None
    """Of the confident ones that are shown to save on the table's axis: the cheapest one."""
    nearest: Candidate | None
    """Of those within the limit by the estimates that are shown to save: the cheapest one."""
    unsure: tuple[str, ...]
    """Recipes of which it is not shown whether they are within the limit: it lies in the interval of their loss."""
    losses: Mapping[str, Estimate]
    """Negated losses of all recipes, with their intervals adjusted (Bonferroni)."""

    @property
    def rows(self) -> int:
        """Number of recipes that were looked at, for which intervals are adjusted."""
        return len(self.losses)


def cheapest_within(table: Table, most: float, unit: Unit) -> Within:
    """Return the cheapest recipes of a table that lose at most `most`. Raises InputError if the unit does not fit."""
    misfits = {loss.misfit(r.accuracy, unit, "--within") for r in table.results if r.accuracy} - {None}
    if misfits:
        raise InputError(sorted(f"--within: {misfit}" for misfit in misfits))
    field = [c for c in candidates(table.results, (), table.axis, table.reference) if c.name not in table.held]
    by_cost = sorted(field, key=lambda c: (c.cost.value, c.name))
    spreads = {r.name: loss.spreads(r.accuracy) for r in table.results if r.accuracy}
    losses = {c.name: joint_loss(c, table, spreads[c.name], len(field)) for c in field}
    by_estimate = [c for c in by_cost if c.quality.value >= -most]
    surely = [c for c in by_cost if losses[c.name].low >= -most]
    unsure = tuple(c.name for c in by_cost if losses[c.name].low < -most <= losses[c.name].high)
    savers = {r.name for r in table.results if saves(r, table)}

    def first(rows: Iterable[Candidate]) -> Candidate | None:
        return next(iter(rows), None)

    def saving(rows: Iterable[Candidate]) -> Candidate | None:
        return first(c for c in rows if c.name in savers)

    return Within(first(by_estimate), first(surely), saving(surely), saving(by_estimate), unsure, losses)


def joint_loss(candidate: Candidate, table: Table, spreads: Sequence[seeds.Spread], comparisons: int) -> Estimate:
    """Return a candidate's negated loss with an interval that is valid jointly for all comparisons (Bonferroni)."""
    rows = {row.name: row.accuracy for row in table.rows}
    ours, reference = rows.get(candidate.name), None if table.reference is None else rows.get(table.reference)
    changed = None if ours is None or reference is None else loss.changed(ours, reference)
    return seeds.jointly_changed(candidate.quality, changed, spreads, comparisons)


def answers(table: Table, most: float, unit: Unit, text: str) -> list[str]:
    """Return sentences: the cheapest recipe by the estimates, that of those surely within the loss, the unsure ones.

    `most` and `unit` are the limit, and `text` is how the user wrote it.
    """
    within = cheapest_within(table, most, unit)
    accuracy = next((r.accuracy for r in table.results if r.accuracy), None)
    n = 0 if accuracy is None else accuracy.estimate.n
    machine = table.newest.machine
    where = f"{table.newest.workload.get('name', 'workload')} on {machine.device_name} ({machine.id})"
    where += "" if table.newest.limit is None else f", {table.newest.limit} examples"
    where += f", within {text} of {table.reference}"
    where += "" if accuracy is None else f" ({loss.meaning((most, unit), accuracy)})"
    certain = "" if within.confident is None else "; its loss is certain, not that it is the cheapest"
    joint = f"with 95 % confidence (jointly for {within.rows} recipes)"
    if not within.rows:
        return [f"{where}: no recipe can be judged: each is broken, failed or NOT RELIABLE"]
    unsure = f"{where}: not sure of {', '.join(within.unsure)}: the interval of the loss contains the limit"
    return [
        f"{where}: the cheapest recipe by the estimates is {_described(within.estimated, table)}",
        f"{where}: of the recipes whose loss is within it {joint}, the cheapest by the estimates is "
        f"{_described(within.confident, table)}{certain}",
        *([f"{unsure}; more than {n:,} test examples could show it"] if within.unsure else []),
    ]


def _described(candidate: Candidate | None, table: Table) -> str:
    """Return name and cost of a candidate with its adjusted interval, and whether it saves anything."""
    if candidate is None:
        return "none"
    among = adjusted_on_axis(table)[candidate.name]
    cost = among.cost
    interval = f"{cost.low:.3g} to {cost.high:.3g}{among.note}"
    sentence = f"{candidate.name}, at {cost.value:.3g} times the {table.axis} ({interval})"
    if not among.differs:
        return f"{sentence}: no saving was measured"
    return f"{sentence}, which costs more than {table.reference}" if cost.value > 1 else sentence
