"""The Pareto front of results: dominance under uncertainty, from result files only.

    accuracy ^   * c          A dominates B if it is better on one axis beyond noise (95 % intervals disjoint) and its
             | * b  . e       estimate is not worse on the other. A tie removes nobody. A dominating candidate is also
             | * a    . d     better by its estimates, so dominance has no cycles: a front always has
             +----------> cost  members.

Cost is a paired ratio to the shared reference: of energy if a meter measured it, otherwise of latency. Ratios join
results of different sessions; absolute figures never do. Workloads, machines, devices, limits and meters are not mixed.
References take part: a recipe that the dense model dominates is not on the front.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from compress.analysis.between import lacking
from compress.analysis.loss import lost, terms, turned
from compress.analysis.sessions import Disagreement, disagreements
from compress.analysis.soundness import unsound_reference
from compress.analysis.verdict import MEASURED, Axis, breakeven, judged, point_cost, verdict
from compress.base.config import digest
from compress.records.joined import widened_between
from compress.records.result import METRIC_CONTENT, Accuracy, Grade, Point, Reference, Result
from compress.records.stats import Estimate

__all__ = [
    "Candidate",
    "Table",
    "breakeven",
    "candidates",
    "dominates",
    "group",
    "judged",
    "point_cost",
    "undominated",
    "verdict",
]


DECIMALS = 6
"""Decimals of a loss, as a fraction: smaller differences are rounding, as of an exported graph (2e-8 of perplexity)."""


@dataclass(frozen=True)
class Candidate:
    """One point in the plane of cost and accuracy."""

    name: str
    cost: Estimate
    """Ratio to the verdict's reference: below 1 is a saving."""
    quality: Estimate
    """The negated loss against the reference: larger is better."""
    reference: bool = False


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
    """Names of undominated results and references."""
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


def dominates(a: Candidate, b: Candidate) -> bool:
    """Return whether `a` is better than `b` on one axis beyond noise, and not worse on the other by its estimate."""
    cheaper = a.cost.high < b.cost.low and a.quality.value >= b.quality.value
    better = a.quality.low > b.quality.high and a.cost.value <= b.cost.value
    return cheaper or better


def undominated(field: Sequence[Candidate]) -> list[Candidate]:
    """Return the undominated candidates in their order. It evaluates `dominates` on all pairs at once."""
    if not field:
        return []
    cost, quality = (
        np.array([[e.value, e.low, e.high] for e in axis])
        for axis in ([c.cost for c in field], [c.quality for c in field])
    )  # [n, 3]
    a, b = np.s_[:, None], np.s_[None, :]  # row a against column b
    cheaper = (cost[:, 2][a] < cost[:, 1][b]) & (quality[:, 0][a] >= quality[:, 0][b])
    better = (quality[:, 1][a] > quality[:, 2][b]) & (cost[:, 0][a] <= cost[:, 0][b])
    dominated = np.any(cheaper | better, axis=0).tolist()
    return [c for c, is_dominated in zip(field, dominated, strict=True) if not is_dominated]


def group(results: Iterable[Result], least: Grade = "B") -> list[Table]:
    """Return the tables of comparable results, sorted by workload, device and machine.

    Energy of a grade below `least` is kept off the front. If no energy reaches it, the front is of latency. A failed
    recipe has no reference and no meter: it is listed in the newest table that it could belong to.
    """
    families: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
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
    return (against, metric_terms, (point.batch_size, point.sequence_length, point.phase, *energy))


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
    )
    return replace(table, front=frozenset(c.name for c in undominated(ranked(table))))


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


def candidates(
    results: Iterable[Result], references: Iterable[Reference], axis: Axis, reference: str | None
) -> list[Candidate]:
    """Return the candidates for the front: neither broken nor failed, with a known cost and loss."""
    field = []
    rows = list(results)
    # rows of one session share what it does to costs; joined with other sessions, its spread counts
    assumed = max((r.session_spread for r in rows), default=0.0) if len({r.session for r in rows}) > 1 else 0.0
    for result in rows:
        broken = result.verdict is not None and result.verdict.word == "BROKEN"
        if result.error is None and not broken and result.accuracy is not None:
            field.append(_candidate(result.name, result.headline, result.accuracy, axis, reference, assumed))
    for row in references:
        if row.name == reference:
            same, none = Estimate(1.0, 1.0, 1.0, 0), Estimate(0.0, 0.0, 0.0, 0)
            field.append(Candidate(row.name, same, none, reference=True))
        else:
            field.append(_candidate(row.name, row.headline, row.accuracy, axis, reference, assumed, is_reference=True))
    return [candidate for candidate in field if candidate is not None]


def _candidate(
    name: str,
    point: Point | None,
    accuracy: Accuracy,
    axis: Axis,
    reference: str | None,
    assumed: float,
    *,
    is_reference: bool = False,
) -> Candidate | None:
    cost, loss = point_cost(point, axis, reference), lost(accuracy)
    if cost is None or loss is None or not (math.isfinite(cost.value) and cost.low <= cost.value <= cost.high):
        return None
    cost = widened_between(cost, lacking(point, axis, reference, assumed))
    value, low, high = (round(edge, DECIMALS) if math.isfinite(edge) else edge for edge in _edges(turned(loss)))
    return Candidate(name, cost, Estimate(value, low, high, loss.n), is_reference)


def _edges(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
