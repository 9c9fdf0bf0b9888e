"""Figures of a row of the page: each in SI units with its interval, or the reason why it is unknown."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from compress.analysis import loss
from compress.analysis.carbon import Terms, grams_per_1000
from compress.analysis.natural import deployed, energy_per_correct, latency_per_example, per_correct
from compress.analysis.odds import adjusted, breakeven_among
from compress.analysis.pareto import Table, point_cost
from compress.analysis.verdict import MEASURED, alone, net_cost
from compress.records.result import Accuracy, Point, Reference, Result, Size
from compress.records.stats import Estimate
from compress.report.text import count

UNKNOWN = "no reason was recorded"
NO_MEMORY = "unknown: the warnings state why"


@dataclass(frozen=True)
class Row:
    """A recipe or reference of a table, at its headline point."""

    table: Table
    of: Result | Reference
    point: Point | None
    terms: Terms | None

    @property
    def itself(self) -> bool:
        """Whether this row is the table's reference."""
        return self.of.name == self.table.reference

    @property
    def accuracy(self) -> Accuracy | None:
        """The accuracy on the test split."""
        return self.of.accuracy


Figure = Callable[[Row], Estimate | float | str | None]
"""The figure in SI units, or the reason why it is unknown."""


def difference(row: Row) -> Estimate | str:
    if row.itself:
        return Estimate(0.0, 0.0, 0.0, 0)
    if row.accuracy is None:
        return "no accuracy"
    reasons = row.accuracy.reasons
    return loss.difference(row.accuracy) or reasons.get("delta", reasons.get("estimate", UNKNOWN))


def metric(row: Row) -> Estimate | str:
    if row.accuracy is None:
        return "no accuracy"
    known = math.isfinite(row.accuracy.estimate.value)
    return row.accuracy.estimate if known else row.accuracy.reasons.get("estimate", "not a finite number")


def paired_bar(row: Row, value: Estimate) -> Estimate:
    """Return the metric with the interval of its paired difference to the reference, or its own without one.

    A relative difference d of a metric is one of value / (1 + d), the reference's value.
    """
    accuracy = row.accuracy
    if row.itself:
        return Estimate(value.value, value.value, value.value, value.n)
    if accuracy is None or accuracy.delta is None or not math.isfinite(accuracy.delta.value):
        return value
    delta, unit = accuracy.delta, 1.0
    if accuracy.unit == "percent":
        base = 1 + (delta.value if value.value >= 0 else -delta.value)
        unit = abs(value.value) / base if base > 0 else math.nan
    low, high = (value.value + unit * (edge - delta.value) for edge in (delta.low, delta.high))
    return Estimate(value.value, low, high, value.n) if low <= high else value


def latency_ratio(row: Row) -> Estimate | str:
    return _ratio(row, "latency")


def energy_ratio(row: Row) -> Estimate | str:
    if row.table.meter not in MEASURED:
        return "energy is not measured here; only measured energies are compared"
    return _ratio(row, "energy")


def net_ratio(row: Row) -> Estimate | str:
    if row.itself:
        return Estimate(1.0, 1.0, 1.0, 0)
    why = row.point.reasons.get("ratios.net") if row.point else None
    return net_cost(row.point, row.table.reference) or why or "net energy is not known, or of grade D"


def alone_ratio(row: Row) -> Estimate | str:
    if isinstance(row.of, Reference):
        return "a reference is not compressed"
    ratio = alone(row.of, row.point)
    if ratio is None:
        return "the dense model under the same runtime is the reference, or was not measured"
    return point_cost(row.point, row.table.axis, ratio.reference) or "energy is not measured here, or of grade D"


def _ratio(row: Row, axis: str) -> Estimate | str:
    if row.itself:
        return Estimate(1.0, 1.0, 1.0, 0)
    cost = point_cost(row.point, "energy" if axis == "energy" else "latency", row.table.reference)
    if cost is not None:
        return cost
    if row.point is None:
        return "not measured at the headline point"
    return row.point.reasons.get(f"ratios.{axis}") or row.point.energy_reason or UNKNOWN


def energy(row: Row) -> Estimate | str:
    if row.point is None:
        return "not measured at the headline point"
    if row.point.energy_source == "modelled":
        return "energy is only modelled here"
    return row.point.energy_j or row.point.energy_reason or UNKNOWN


def modelled(row: Row) -> Estimate | str:
    if row.point is None or row.point.energy_source != "modelled":
        return "energy is measured here, or unknown"
    return row.point.energy_j or row.point.energy_reason or UNKNOWN


def own_ratio(row: Row) -> Estimate | str:
    natural = _natural(row)
    return natural if isinstance(natural, str) else _ratio(replace(row, point=natural), row.table.axis)


def own_latency(row: Row) -> Estimate | str:
    natural = _natural(row)
    return natural if isinstance(natural, str) else latency_per_example(natural)


def own_energy(row: Row) -> Estimate | str:
    natural = _natural(row)
    return natural if isinstance(natural, str) else energy(replace(row, point=natural))


def _natural(row: Row) -> Point | str:
    """Return the natural point, or the reason why there is none."""
    point = deployed(row.of.points)
    if point is None:
        return "the test split's own texts were not measured"
    return point if point.natural is not None else "the headline point already has the examples' own shape"


def correct(row: Row) -> Estimate | str:
    point = _answering(row)
    return point if isinstance(point, str) else energy_per_correct(point, row.accuracy) or "energy is not measured here"


def answer(row: Row) -> Estimate | str:
    point = _answering(row)
    return point if isinstance(point, str) else per_correct(latency_per_example(point), row.accuracy) or UNKNOWN


def _answering(row: Row) -> Point | str:
    """Return the point of costs per correct answer, or the reason why there is none."""
    if row.accuracy is not None and row.accuracy.metric != "accuracy":
        return f"{row.accuracy.metric} does not count right answers"
    return deployed(row.of.points) or "the test split's own texts were not measured"


def latency(row: Row) -> Estimate | str:
    return row.point.latency_s if row.point else "not measured at the headline point"


def throughput(row: Row) -> Estimate | str:
    return row.point.throughput_per_s if row.point else "not measured at the headline point"


def limit(row: Row) -> Estimate | str:
    if row.point is None:
        return "not measured at the headline point"
    if row.point.limit is None:
        return "older results have no record of it"
    return row.point.limit_share or row.point.limit.reason or UNKNOWN


def carbon(row: Row) -> Estimate | str:
    if row.terms is None:
        return "the carbon intensity of the grid is unknown: set pareto --grid"
    if row.point is None or row.point.energy_source == "modelled":
        return "energy is not measured here"
    return grams_per_1000(row.point, row.terms) or row.point.energy_reason or UNKNOWN


def size(pick: Callable[[Size], int | None]) -> Figure:
    def figure(row: Row) -> float | str:
        value = pick(row.of.size) if row.of.size else None
        return value if value is not None else (row.of.size and row.of.size.reason) or UNKNOWN

    return figure


def size_ratio(pick: Callable[[Size], int | None]) -> Figure:
    def figure(row: Row) -> float | str:
        sizes = (r.size for r in row.table.references if r.name == row.table.reference)
        baseline, own = next((pick(s) for s in sizes), None), pick(row.of.size) if row.of.size else None
        return own / baseline if own is not None and baseline else (row.of.size and row.of.size.reason) or UNKNOWN

    return figure


def memory(pick: Callable[[Size], int | None]) -> Figure:
    return _once(size(pick))


def memory_ratio(pick: Callable[[Size], int | None]) -> Figure:
    return _once(size_ratio(pick))


def _once(figure: Figure) -> Figure:
    """Return the figure without its reason, which is an error of a process and stands in the table's warnings."""
    return lambda row: NO_MEMORY if isinstance(found := figure(row), str) else found


def breakeven(row: Row) -> Estimate | str:
    family = adjusted(row.table)
    even = breakeven_among(row.of, family.get(row.of.name)) if isinstance(row.of, Result) else None
    if even is None:
        return "a reference needs no compression" if isinstance(row.of, Reference) else UNKNOWN
    bound = None if even.at_most is None else f"at most {count(even.at_most)}"
    return even.inferences or even.reason or bound or UNKNOWN
