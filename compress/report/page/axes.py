"""Axes of the page: the figures of the headline point to draw and sort by, with value, interval and n.

A cell is `[text, interval, value, low, high, n]` in the unit of its axis, or the reason why it is unknown.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from compress.analysis.carbon import PER, Terms, grams_per_1000
from compress.analysis.loss import FORMS, difference, form
from compress.analysis.natural import deployed, energy_per_correct, latency_per_example, per_correct
from compress.analysis.pareto import Table, point_cost
from compress.analysis.verdict import MEASURED, alone, net_cost
from compress.records.result import Accuracy, Point, Reference, Result, Size
from compress.records.stats import Estimate
from compress.report.text import count, digits, plain, signed_spread, spread

Cell = list[str | float | int | None] | str
EACH = "per example on own texts"
UNKNOWN = "no reason was recorded"


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


@dataclass(frozen=True)
class Axis:
    """One figure to draw or sort by."""

    key: str
    short: str
    """Column header."""
    label: str
    """Axis title of a chart."""
    unit: str
    better: str
    """`low` or `high`, or empty if neither is better."""
    figure: Figure
    scale: float = 1.0
    session: bool = False
    """Whether it is an absolute cost, which must not rank rows of different sessions."""
    modelled: bool = False


def _difference(row: Row) -> Estimate | str:
    if row.itself:
        return Estimate(0.0, 0.0, 0.0, 0)
    if row.accuracy is None:
        return "no accuracy"
    reasons = row.accuracy.reasons
    return difference(row.accuracy) or reasons.get("delta", reasons.get("estimate", UNKNOWN))


def _metric(row: Row) -> Estimate | str:
    if row.accuracy is None:
        return "no accuracy"
    known = math.isfinite(row.accuracy.estimate.value)
    return row.accuracy.estimate if known else row.accuracy.reasons.get("estimate", "not a finite number")


def _latency_ratio(row: Row) -> Estimate | str:
    return _ratio(row, "latency")


def _throughput_ratio(row: Row) -> Estimate | str:
    latency = _ratio(row, "latency")  # of the same batches, so throughput is the reciprocal
    if isinstance(latency, str) or latency.low <= 0:
        return latency if isinstance(latency, str) else "the interval of its latency reaches 0"
    return Estimate(1 / latency.value, 1 / latency.high, 1 / latency.low, latency.n)


def _energy_ratio(row: Row) -> Estimate | str:
    if row.table.meter not in MEASURED:
        return "energy is not measured here; only measured energies are compared"
    return _ratio(row, "energy")


def _net_ratio(row: Row) -> Estimate | str:
    if row.itself:
        return Estimate(1.0, 1.0, 1.0, 0)
    why = row.point.reasons.get("ratios.net") if row.point else None
    return net_cost(row.point, row.table.reference) or why or "net energy is not known, or of grade D"


def _alone(row: Row) -> Estimate | str:
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


def _energy(row: Row) -> Estimate | str:
    if row.point is None:
        return "not measured at the headline point"
    if row.point.energy_source == "modelled":
        return "energy is only modelled here"
    return row.point.energy_j or row.point.energy_reason or UNKNOWN


def _modelled(row: Row) -> Estimate | str:
    if row.point is None or row.point.energy_source != "modelled":
        return "energy is measured here, or unknown"
    return row.point.energy_j or row.point.energy_reason or UNKNOWN


def _own_ratio(row: Row) -> Estimate | str:
    natural = _natural(row)
    return natural if isinstance(natural, str) else _ratio(replace(row, point=natural), row.table.axis)


def _own_latency(row: Row) -> Estimate | str:
    natural = _natural(row)
    return natural if isinstance(natural, str) else latency_per_example(natural)


def _own_energy(row: Row) -> Estimate | str:
    natural = _natural(row)
    return natural if isinstance(natural, str) else _energy(replace(row, point=natural))


def _natural(row: Row) -> Point | str:
    """Return the natural point, or the reason why there is none."""
    point = deployed(row.of.points)
    if point is None:
        return "the test split's own texts were not measured"
    return point if point.natural is not None else "the headline point already has the examples' own shape"


def _correct(row: Row) -> Estimate | str:
    point = _answering(row)
    return point if isinstance(point, str) else energy_per_correct(point, row.accuracy) or "energy is not measured here"


def _answer(row: Row) -> Estimate | str:
    point = _answering(row)
    return point if isinstance(point, str) else per_correct(latency_per_example(point), row.accuracy) or UNKNOWN


def _answering(row: Row) -> Point | str:
    """Return the point of costs per correct answer, or the reason why there is none."""
    if row.accuracy is not None and row.accuracy.metric != "accuracy":
        return f"{row.accuracy.metric} does not count right answers"
    return deployed(row.of.points) or "the test split's own texts were not measured"


def _latency(row: Row) -> Estimate | str:
    return row.point.latency_s if row.point else "not measured at the headline point"


def _throughput(row: Row) -> Estimate | str:
    return row.point.throughput_per_s if row.point else "not measured at the headline point"


def _carbon(row: Row) -> Estimate | str:
    if row.terms is None:
        return "the carbon intensity of the grid is unknown: set pareto --grid"
    if row.point is None or row.point.energy_source == "modelled":
        return "energy is not measured here"
    return grams_per_1000(row.point, row.terms) or row.point.energy_reason or UNKNOWN


def _size(pick: Callable[[Size], int | None]) -> Figure:
    def figure(row: Row) -> float | str:
        value = pick(row.of.size) if row.of.size else None
        return value if value is not None else (row.of.size and row.of.size.reason) or UNKNOWN

    return figure


def _size_ratio(pick: Callable[[Size], int | None]) -> Figure:
    def figure(row: Row) -> float | str:
        sizes = (r.size for r in row.table.references if r.name == row.table.reference)
        baseline, own = next((pick(s) for s in sizes), None), pick(row.of.size) if row.of.size else None
        return own / baseline if own is not None and baseline else (row.of.size and row.of.size.reason) or UNKNOWN

    return figure


def _even(row: Row) -> Estimate | str:
    even = row.of.breakeven if isinstance(row.of, Result) else None
    if even is None:
        return "a reference needs no compression" if isinstance(row.of, Reference) else UNKNOWN
    bound = None if even.at_most is None else f"at most {count(even.at_most)}"
    return even.inferences or even.reason or bound or UNKNOWN


def axes(table: Table) -> list[Axis]:
    """Return every axis of a table, in the order of the menus."""
    accuracy = next((r.accuracy for r in table.rows if r.accuracy), None)
    metric = accuracy.metric if accuracy else "accuracy"
    scale, _, unit = form(accuracy) if accuracy else FORMS["points"]
    better = "high" if accuracy is None or accuracy.higher_is_better else "low"
    reference = table.reference or "the reference"
    costs = [
        Axis("latency_ratio", "latency / ref", f"latency / {reference}'s", "×", "low", _latency_ratio),
        Axis("energy_ratio", "energy / ref", f"energy / {reference}'s", "×", "low", _energy_ratio),
    ]
    return [
        Axis(
            "difference",
            "difference",
            f"{metric} {'against' if unit == '%' else '−'} {reference}'s",
            unit,
            better,
            _difference,
            scale,
        ),
        Axis("metric", metric, metric, "", better, _metric),
        *(costs if table.axis == "latency" else reversed(costs)),
        Axis("net_ratio", "net / ref", f"energy net of idle / {reference}'s", "×", "low", _net_ratio),
        Axis("alone_ratio", "alone", f"compression alone: {table.axis} / same runtime's", "×", "low", _alone),
        Axis("throughput_ratio", "throughput / ref", f"throughput / {reference}'s", "×", "high", _throughput_ratio),
        Axis(
            "size_ratio",
            "size / ref",
            f"stored size / {reference}'s",
            "×",
            "low",
            _size_ratio(lambda s: s.stored_bytes),
        ),
        Axis(
            "memory_ratio", "memory / ref", f"memory / {reference}'s", "×", "low", _size_ratio(lambda s: s.memory_bytes)
        ),
        Axis("latency", "latency", "latency per batch", "ms", "low", _latency, 1e3, session=True),
        Axis("energy", "energy", "energy per inference", "mJ", "low", _energy, 1e3, session=True),
        Axis("modelled", "~ energy", "~ energy per inference, modelled", "mJ", "low", _modelled, 1e3, True, True),
        Axis("own_ratio", "own texts / ref", f"{table.axis} on own texts / {reference}'s", "×", "low", _own_ratio),
        Axis("own_latency", "latency, own texts", f"latency {EACH}", "ms", "low", _own_latency, 1e3, session=True),
        Axis("own_energy", "energy, own texts", f"energy {EACH}", "mJ", "low", _own_energy, 1e3, session=True),
        Axis("correct", "energy / correct", "energy per correct answer", "mJ", "low", _correct, 1e3, session=True),
        Axis("answer", "latency / correct", "latency per correct answer", "ms", "low", _answer, 1e3, session=True),
        Axis("throughput", "throughput", "throughput", "examples/s", "high", _throughput, session=True),
        Axis("carbon", "carbon", f"carbon per {PER} inferences", "g CO2e", "low", _carbon, session=True),
        Axis("stored", "stored", "stored size", "MB", "low", _size(lambda s: s.stored_bytes), 1e-6),
        Axis("memory", "memory", "memory loaded", "MB", "low", _size(lambda s: s.memory_bytes), 1e-6),
        Axis("peak", "peak memory", "peak memory", "MB", "low", _size(lambda s: s.peak_memory_bytes), 1e-6),
        Axis("even", "break-even", "inferences until break-even", "", "low", _even),
    ]


def cell(axis: Axis, row: Row) -> Cell:
    """Return a row's figure in the axis' unit, or why it is unknown."""
    figure = axis.figure(row)
    if isinstance(figure, str) or figure is None:
        return plain(figure or UNKNOWN)
    if not isinstance(figure, Estimate):
        value = axis.scale * figure
        return [digits(value), "", _finite(value), None, None, None]
    value, low, high = (axis.scale * v for v in (figure.value, figure.low, figure.high))
    if not math.isfinite(value):
        return "not finite"
    if axis.modelled:  # its interval would only reflect the noise of the clock
        return [f"~{digits(value, 2)}", "", _finite(value), None, None, figure.n]
    if axis.key == "difference" and not row.itself:
        number_format = form(row.accuracy)[1] if row.accuracy else "z.3g"
        return [
            f"{value:+{number_format}}",
            signed_spread(low, high, number_format),
            *map(_finite, (value, low, high)),
            figure.n,
        ]
    interval = "" if row.itself and low == high == value else spread(low, high)
    shown = digits(value, 4 if axis.key == "metric" else 3)
    return [shown, interval, *map(_finite, (value, low, high)), figure.n]


def _finite(value: float) -> float | None:
    """Round to six digits; None for a number that JSON cannot hold."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
