"""Which results no other result beats: dominance with uncertainty, over result files only.

    accuracy ^   * c          A beats B only when it is better on one axis beyond noise (95 % intervals disjoint) and
             | * b  . e       its estimate is not worse on the other. So a tie never removes anybody, and since who
             | * a    . d     beats also wins plainly on the estimates, nobody is beaten in a circle: a front always
             +----------> cost  has members.

Cost is a paired ratio to the shared reference: energy where a meter measured it, else latency. Ratios join results of
different sessions; absolute figures never do. Workloads, machines, devices, limits and meters are never mixed.
The references take part: a recipe that the dense model beats is not on the front.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

import numpy as np

from compress.analysis.loss import lost, terms, turned
from compress.analysis.sessions import Disagreement, disagreements
from compress.analysis.soundness import unsound_reference
from compress.analysis.verdict import MEASURED, Axis, breakeven, judged, point_cost, verdict
from compress.base.config import digest
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


@dataclass(frozen=True)
class Candidate:
    """One point in the plane of cost and accuracy."""

    name: str
    cost: Estimate
    """Ratio to the verdict's reference: below 1 is a saving."""
    quality: Estimate
    """The loss against the reference with its sign changed: up is better."""
    reference: bool = False


@dataclass(frozen=True)
class Table:
    """Results that may stand together.

    All have the same workload, machine, device, limit, reference, metric and its direction, meter and headline point.
    """

    results: tuple[Result, ...]
    """Sorted by cost; those without a cost last, by name."""
    failed: tuple[Result, ...]
    references: tuple[Reference, ...]
    """One of each name, from the newest result."""
    axis: Axis
    meter: str | None
    reference: str | None
    """Name of the reference that verdicts and costs speak of."""
    front: frozenset[str]
    """Names of results and references that nothing beats."""
    superseded: tuple[str, ...] = ()
    """Names of which an older result was left out."""
    least: Grade = "B"
    """The lowest grade of energy that may be on the front."""
    unranked: tuple[str, ...] = ()
    """Names that are kept off the front by their grade."""
    stale: tuple[Disagreement, ...] = ()
    """Older sessions that the newest one contradicts: their recipes are kept off the front too."""
    unsound: str | None = None
    """Why the reference does not do the task itself: then nothing is on the front."""

    @property
    def rows(self) -> tuple[Result | Reference, ...]:
        """Recipes by cost, then references; failed ones are not rows."""
        return (*self.results, *self.references)

    @property
    def held(self) -> frozenset[str]:
        """Everything that is kept off the front."""
        rows = frozenset(row.name for row in self.rows) if self.unsound else frozenset()
        return rows.union(self.unranked, *(each.names for each in self.stale))

    @property
    def newest(self) -> Result:
        """The result that workload, machine and headline point are read from."""
        return max((*self.results, *self.failed), key=lambda r: (r.error is None, r.moment))


def dominates(a: Candidate, b: Candidate) -> bool:
    """Whether `a` is better than `b` on one axis beyond noise, and by its estimate not worse on the other."""
    cheaper = a.cost.high < b.cost.low and a.quality.value >= b.quality.value
    better = a.quality.low > b.quality.high and a.cost.value <= b.cost.value
    return cheaper or better


def undominated(field: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that no other one dominates, in their order: `dominates` on all pairs at once."""
    if not field:
        return []
    cost, quality = (
        np.array([[e.value, e.low, e.high] for e in axis])
        for axis in ([c.cost for c in field], [c.quality for c in field])
    )  # [n, 3]
    a, b = np.s_[:, None], np.s_[None, :]  # row a against column b
    cheaper = (cost[:, 2][a] < cost[:, 1][b]) & (quality[:, 0][a] >= quality[:, 0][b])
    better = (quality[:, 1][a] > quality[:, 2][b]) & (cost[:, 0][a] <= cost[:, 0][b])
    beaten = np.any(cheaper | better, axis=0).tolist()
    return [c for c, lost in zip(field, beaten, strict=True) if not lost]


def group(results: Iterable[Result], least: Grade = "B") -> list[Table]:
    """The tables that these results make, sorted by workload, device and machine.

    Energy of a grade below `least` is on no front; where all of it is, the front is one of latency. A failed recipe
    has no reference and no meter: it goes into the newest table that it could belong to.
    """
    families: dict[tuple[Any, ...], list[Result]] = {}
    for result in results:
        families.setdefault(_family(result), []).append(result)
    tables = []
    for key in sorted(families, key=lambda key: tuple(str(part) for part in key)):
        tables.extend(_tables(families[key], least))
    return tables


def _family(result: Result) -> tuple[Any, ...]:
    machine = result.machine
    return (
        str(result.workload.get("name", "")),
        machine.device,
        machine.id,
        -1 if result.limit is None else result.limit,
        identity(result.workload),  # two files called my.yaml are two workloads
    )


def identity(workload: Mapping[str, Any]) -> str:
    """Changes with a workload's settings and with the content of its model, data and metric, not with their places."""
    resolved = workload.get("resolved", {})
    contents = [resolved.get(f"{part}_content") for part in ("model", "dataset")]
    if None in contents:
        return digest(workload)
    here: dict[str, Any] = {"model": None, "resolved": None, "dataset": {**workload.get("dataset", {}), "path": None}}
    if METRIC_CONTENT in resolved:
        here["metric"] = PurePath(str(workload.get("metric"))).name
        contents.append(resolved[METRIC_CONTENT])
    return digest([_set({**workload, **here}), contents])


def _set(value: Any) -> Any:
    """Without fields that are unset: one that an older version did not know is not another workload's."""
    if isinstance(value, Mapping):
        return {key: _set(item) for key, item in value.items() if item is not None}
    return [_set(item) for item in value] if isinstance(value, list | tuple) else value


def _tables(family: Sequence[Result], least: Grade) -> list[Table]:
    """Tables of one workload on one machine: one per reference, direction of the metric, meter and headline point."""
    kept: dict[str, Result] = {}
    superseded = []
    for result in sorted(family, key=lambda r: r.moment):
        if result.name in kept:
            superseded.append(result.name)
        kept[result.name] = result
    parts: dict[str, list[Result]] = {}
    for result in kept.values():
        if result.error is None:
            parts.setdefault(str(_part(result)), []).append(result)
    failed = [result for result in kept.values() if result.error is not None]
    if not parts:
        return [_table([], failed, superseded, least)]
    newest = max(parts, key=lambda key: max(r.moment for r in parts[key]))
    return [
        _table(parts[k], failed if k == newest else [], superseded if k == newest else [], least) for k in sorted(parts)
    ]


def _part(result: Result) -> tuple[Any, ...]:
    reference, point, accuracy = result.verdict_reference, result.headline, result.accuracy
    against = reference.name if reference else None
    judged_in = None if accuracy is None else terms(accuracy)
    if point is None:
        return (against, judged_in, None)
    energy = (point.energy_source, point.energy_boundary)
    return (against, judged_in, (point.batch_size, point.sequence_length, point.phase, *energy))


def _table(results: Sequence[Result], failed: Sequence[Result], superseded: Sequence[str], least: Grade) -> Table:
    by_age = sorted(results, key=lambda r: r.moment)
    references = {reference.name: reference for result in by_age for reference in result.references}
    reference = next((r.name for r in references.values() if r.verdict_reference), None)
    source = by_age[-1].headline.energy_source if by_age and by_age[-1].headline else None
    graded = any(rankable(result, reference, least) for result in results)
    axis: Axis = "energy" if source in MEASURED and graded else "latency"
    rows: tuple[Result | Reference, ...] = (*results, *references.values())
    unranked = {row.name for row in rows if axis == "energy" and not rankable(row, reference, least)}
    stale = disagreements(results, axis, reference)
    costs = {r.name: cost.value for r in results if (cost := point_cost(r.headline, axis, reference)) is not None}
    costs = {name: cost for name, cost in costs.items() if math.isfinite(cost)}  # nan would have no place in the order
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
        stale=stale,
        unsound=unsound_reference(references[reference].accuracy, reference) if reference else None,
    )
    return replace(table, front=frozenset(c.name for c in undominated(ranked(table))))


def ranked(table: Table) -> list[Candidate]:
    """The candidates of a table that may be on its front: not held off it, and with a known interval of the loss."""
    field = candidates(table.results, table.references, table.axis, table.reference)
    return [c for c in field if c.name not in table.held and c.quality.bounded]


def rankable(row: Result | Reference, reference: str | None, least: Grade) -> bool:
    """Whether the energy of a row's headline point, and what it is divided by, are of this grade or better."""
    point = row.headline
    if point is None or point.grade is None:
        return False
    ratio = point.ratio(reference or "")
    return max(point.grade, (ratio and ratio.grade) or point.grade) <= least  # A is the best, and the least letter


def candidates(
    results: Iterable[Result], references: Iterable[Reference], axis: Axis, reference: str | None
) -> list[Candidate]:
    """Everything that competes for the front: neither broken nor failed, with a known cost and loss."""
    field = []
    for result in results:
        broken = result.verdict is not None and result.verdict.word == "BROKEN"
        if result.error is None and not broken and result.accuracy is not None:
            field.append(_candidate(result.name, result.headline, result.accuracy, axis, reference))
    for each in references:
        if each.name == reference:
            same, none = Estimate(1.0, 1.0, 1.0, 0), Estimate(0.0, 0.0, 0.0, 0)
            field.append(Candidate(each.name, same, none, reference=True))
        else:
            field.append(_candidate(each.name, each.headline, each.accuracy, axis, reference, is_reference=True))
    return [candidate for candidate in field if candidate is not None]


def _candidate(
    name: str, point: Point | None, accuracy: Accuracy, axis: Axis, reference: str | None, *, is_reference: bool = False
) -> Candidate | None:
    cost, loss = point_cost(point, axis, reference), lost(accuracy)
    if cost is None or loss is None or not (math.isfinite(cost.value) and cost.low <= cost.value <= cost.high):
        return None
    return Candidate(name, cost, turned(loss), is_reference)
