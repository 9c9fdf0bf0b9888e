"""The Pareto front of results: dominance under uncertainty, from result files only.

    accuracy ^   * c          A dominates B if it is shown to be better on one axis, and shown not to be worse on the
             | * b  . e       other by more than a margin (see `compress.analysis.dominance`). A tie removes nobody, and
             | * a    . d     a front always has members.
             +----------> cost

Cost is a paired ratio to the shared reference: of energy if a meter measured it, otherwise of latency. Ratios join
results of different sessions; absolute figures never do. Workloads, machines, devices, limits and meters are not mixed.
References take part: a recipe that the dense model dominates is not on the front.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from compress.analysis import dominance
from compress.analysis.candidates import Candidate, candidates
from compress.analysis.judging import judged, with_margin
from compress.analysis.loss import margin_of, terms
from compress.analysis.pairs import cost_differences, paired_rows, quality_differences
from compress.analysis.sessions import Disagreement, disagreements
from compress.analysis.soundness import unsound_reference
from compress.analysis.verdict import MEASURED, Axis, breakeven, point_cost, verdict
from compress.base.config import digest
from compress.records.result import METRIC_CONTENT, Grade, Reference, Result

__all__ = [
    "Candidate",
    "Table",
    "breakeven",
    "candidates",
    "group",
    "judged",
    "point_cost",
    "ranked",
    "verdict",
]


@dataclass(frozen=True)
class Table:
    """Comparable results.

    They share workload, machine, device, limit, reference, metric and its direction, meter and headline point.
    """

    results: tuple[Result, ...]
    """Sorted by cost. Results without a cost are last, sorted by name."""
    failed: tuple[Result, ...]
    references: tuple[Reference, ...]
    """One reference of each name, from the newest result."""
    axis: Axis
    meter: str | None
    reference: str | None
    """Name of the reference that verdicts and costs compare with."""
    front: frozenset[str]
    """Names of the results and references on the front."""
    superseded: tuple[str, ...] = ()
    """Names of recipes with an older result, which was left out."""
    least: Grade = "B"
    """The lowest grade of energy that may be on the front."""
    unranked: tuple[str, ...] = ()
    """Names kept off the front by their grade."""
    unreliable: tuple[str, ...] = ()
    """Names kept off the front because their measurement was disturbed (NOT RELIABLE)."""
    disagreements: tuple[Disagreement, ...] = ()
    """Older sessions that the newest one contradicts. Their recipes are kept off the front too."""
    unsound: str | None = None
    """Why the reference does not do the task itself. If set, the front is empty."""
    margin: float | None = None
    """Largest difference of the metric that counts as equal, as a fraction of its whole; None without a unit."""

    @property
    def rows(self) -> tuple[Result | Reference, ...]:
        """Recipes by cost, then references. Failed recipes are not rows."""
        return (*self.results, *self.references)

    @property
    def held(self) -> frozenset[str]:
        """Names of all rows kept off the front."""
        rows = frozenset(row.name for row in self.rows) if self.unsound else frozenset()
        return rows.union(self.unranked, self.unreliable, *(session.names for session in self.disagreements))

    @property
    def newest(self) -> Result:
        """The newest result, preferably one that did not fail: it provides workload, machine and headline point."""
        return max((*self.results, *self.failed), key=lambda r: (r.error is None, r.moment))


def group(results: Iterable[Result], least: Grade = "B", margin: str | None = None) -> list[Table]:
    """Return the tables of comparable results, sorted by workload, device and machine.

    The margin of the front and of the verdicts is `margin`, such as `0.5pt`. Without it, verdicts keep the margins of
    their recipes, and the front takes the smallest. Raises InputError if its unit does not fit a result's metric.
    Energy of a grade below `least` is kept off the front. If no energy reaches it, the front is of latency. A failed
    recipe has no reference and no meter: it is listed in the newest table that it could belong to.
    """
    families: dict[tuple[Any, ...], list[Result]] = {}
    for result in results if margin is None else with_margin(results, margin):
        families.setdefault(_family(result), []).append(result)
    tables = []
    for key in sorted(families, key=lambda key: tuple(str(part) for part in key)):
        tables.extend(_tables(families[key], least))
    return tables


def _family(result: Result) -> tuple[Any, ...]:
    """Return the key of workload, device, machine and limit."""
    machine = result.machine
    return (
        str(result.workload.get("name", "")),
        machine.device,
        machine.id,
        -1 if result.limit is None else result.limit,
        identity(result.workload),  # two files called my.yaml are two workloads
    )


def identity(workload: Mapping[str, Any]) -> str:
    """Return a digest of a workload's settings and of the content of its model, data and metric, not of their paths."""
    resolved = workload.get("resolved", {})
    contents = [resolved.get(f"{part}_content") for part in ("model", "dataset")]
    if None in contents:
        return digest(workload)
    overrides: dict[str, Any] = {
        "model": None,
        "resolved": None,
        "dataset": {**workload.get("dataset", {}), "path": None},
    }
    if METRIC_CONTENT in resolved:
        overrides["metric"] = PurePath(str(workload.get("metric"))).name
        contents.append(resolved[METRIC_CONTENT])
    return digest([_without_unset({**workload, **overrides}), contents])


def _without_unset(value: Any) -> Any:
    """Drop unset fields, so that a field unknown to an older version does not change the identity."""
    if isinstance(value, Mapping):
        return {key: _without_unset(item) for key, item in value.items() if item is not None}
    return [_without_unset(item) for item in value] if isinstance(value, list | tuple) else value


def _tables(family: Sequence[Result], least: Grade) -> list[Table]:
    """Return the tables of one workload on one machine: one per reference, metric, meter and headline point."""
    latest: dict[str, Result] = {}
    superseded = []
    for result in sorted(family, key=lambda r: r.moment):
        if result.name in latest:
            superseded.append(result.name)
        latest[result.name] = result
    parts: dict[str, list[Result]] = {}
    for result in latest.values():
        if result.error is None:
            parts.setdefault(str(_part(result)), []).append(result)
    failed = [result for result in latest.values() if result.error is not None]
    if not parts:
        return [_table([], failed, superseded, least)]
    newest = max(parts, key=lambda key: max(r.moment for r in parts[key]))
    return [
        _table(parts[k], failed if k == newest else [], superseded if k == newest else [], least) for k in sorted(parts)
    ]


def _part(result: Result) -> tuple[Any, ...]:
    """Return the key of reference, metric, meter and headline point."""
    reference, point, accuracy = result.verdict_reference, result.headline, result.accuracy
    against = reference.name if reference else None
    metric_terms = None if accuracy is None else terms(accuracy)
    if point is None:
        return (against, metric_terms, None)
    energy = (point.energy_source, point.energy_boundary)
    return (against, metric_terms, (point.batch_size, point.sequence_length, point.audio_s or 0, point.phase, *energy))


def _table(results: Sequence[Result], failed: Sequence[Result], superseded: Sequence[str], least: Grade) -> Table:
    by_age = sorted(results, key=lambda r: r.moment)
    references = {reference.name: reference for result in by_age for reference in result.references}
    reference = next((r.name for r in references.values() if r.verdict_reference), None)
    source = by_age[-1].headline.energy_source if by_age and by_age[-1].headline else None
    graded = any(rankable(result, reference, least) for result in results)
    axis: Axis = "energy" if source in MEASURED and graded else "latency"
    rows: tuple[Result | Reference, ...] = (*results, *references.values())
    unranked = {row.name for row in rows if axis == "energy" and not rankable(row, reference, least)}
    older = disagreements(results, axis, reference)
    costs = {r.name: cost.value for r in results if (cost := point_cost(r.headline, axis, reference)) is not None}
    costs = {name: cost for name, cost in costs.items() if math.isfinite(cost)}  # nan cannot be sorted
    margins = [m for r in results if r.accuracy and (m := margin_of(r.accuracy, r.margin)) is not None]
    table = Table(
        results=tuple(sorted(results, key=lambda r: (costs.get(r.name, float("inf")), r.name))),
        failed=tuple(sorted(failed, key=lambda r: r.name)),
        references=tuple(references.values()),
        axis=axis,
        meter=source,
        reference=reference,
        front=frozenset(),
        superseded=tuple(sorted(set(superseded))),
        least=least,
        unranked=tuple(sorted(unranked)),
        unreliable=tuple(row.name for row in rows if _not_reliable(row)),
        disagreements=older,
        unsound=unsound_reference(references[reference].accuracy, reference) if reference else None,
        margin=min(margins, default=None),
    )
    return replace(table, front=_front(table))


def _front(table: Table) -> frozenset[str]:
    """Return the names of the rows on the front."""
    field = ranked(table)
    if not field:
        return frozenset()
    rows = paired_rows(field, table.results, table.axis, table.reference)
    dominates = dominance.dominance(cost_differences(rows), quality_differences(rows), table.margin or 0.0)
    return frozenset(c.name for c, is_on in zip(field, dominance.front(dominates), strict=True) if is_on)


def _not_reliable(row: Result | Reference) -> bool:
    """Return whether the headline cost of a recipe (its verdict) or of a reference was disturbed."""
    if isinstance(row, Result):
        return row.verdict is not None and row.verdict.word == "NOT RELIABLE"
    return row.headline is not None and bool(row.headline.unreliable)


def ranked(table: Table) -> list[Candidate]:
    """Return the candidates that may be on a table's front: not kept off it, and with a known interval of the loss."""
    field = candidates(table.results, table.references, table.axis, table.reference)
    return [c for c in field if c.name not in table.held and c.quality.bounded]


def rankable(row: Result | Reference, reference: str | None, least: Grade) -> bool:
    """Return whether the energy of a row's headline point, and its ratio, have this grade or a better one."""
    point = row.headline
    if point is None or point.grade is None:
        return False
    ratio = point.ratio(reference or "")
    # A is the best grade and the smallest letter
    return max(point.grade, (ratio and ratio.grade) or point.grade) <= least
