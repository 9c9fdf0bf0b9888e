"""Axes of the page: the figures of the headline point to draw and sort by, with value, interval and n.

A cell is `[text, interval, value, low, high, n]` in the unit of its axis, or the reason why it is unknown.
"""

import math
from dataclasses import dataclass

from compress.analysis.carbon import PER
from compress.analysis.loss import FORMS, form
from compress.analysis.pareto import Table
from compress.records.stats import Estimate
from compress.report.page import figures
from compress.report.page.figures import UNKNOWN, Figure, Row
from compress.report.text import digits, plain, signed_spread, spread

Cell = list[str | float | int | None] | str
EACH = "per example on own texts"


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


def axes(table: Table) -> list[Axis]:
    """Return every axis of a table, in the order of the menus."""
    accuracy = next((r.accuracy for r in table.rows if r.accuracy), None)
    metric = accuracy.metric if accuracy else "accuracy"
    scale, _, unit = form(accuracy) if accuracy else FORMS["points"]
    better = "high" if accuracy is None or accuracy.higher_is_better else "low"
    reference = table.reference or "the reference"
    costs = [
        Axis("latency_ratio", "latency / ref", f"latency / {reference}'s", "×", "low", figures.latency_ratio),
        Axis("energy_ratio", "energy / ref", f"energy / {reference}'s", "×", "low", figures.energy_ratio),
    ]
    return [
        Axis(
            "difference",
            "difference",
            f"{metric} {'against' if unit == '%' else '−'} {reference}'s",
            unit,
            better,
            figures.difference,
            scale,
        ),
        Axis("metric", metric, metric, "", better, figures.metric),
        *(costs if table.axis == "latency" else reversed(costs)),
        Axis("net_ratio", "net / ref", f"energy net of idle / {reference}'s", "×", "low", figures.net_ratio),
        Axis(
            "alone_ratio", "alone", f"compression alone: {table.axis} / same runtime's", "×", "low", figures.alone_ratio
        ),
        Axis(
            "throughput_ratio", "throughput / ref", f"throughput / {reference}'s", "×", "high", figures.throughput_ratio
        ),
        Axis(
            "size_ratio",
            "size / ref",
            f"stored size / {reference}'s",
            "×",
            "low",
            figures.size_ratio(lambda s: s.stored_bytes),
        ),
        Axis(
            "memory_ratio",
            "memory / ref",
            f"memory / {reference}'s",
            "×",
            "low",
            figures.size_ratio(lambda s: s.memory_bytes),
        ),
        Axis("latency", "latency", "latency per batch", "ms", "low", figures.latency, 1e3, session=True),
        Axis("energy", "energy", "energy per inference", "mJ", "low", figures.energy, 1e3, session=True),
        Axis(
            "modelled", "~ energy", "~ energy per inference, modelled", "mJ", "low", figures.modelled, 1e3, True, True
        ),
        Axis(
            "own_ratio", "own texts / ref", f"{table.axis} on own texts / {reference}'s", "×", "low", figures.own_ratio
        ),
        Axis(
            "own_latency", "latency, own texts", f"latency {EACH}", "ms", "low", figures.own_latency, 1e3, session=True
        ),
        Axis("own_energy", "energy, own texts", f"energy {EACH}", "mJ", "low", figures.own_energy, 1e3, session=True),
        Axis(
            "correct", "energy / correct", "energy per correct answer", "mJ", "low", figures.correct, 1e3, session=True
        ),
        Axis(
            "answer", "latency / correct", "latency per correct answer", "ms", "low", figures.answer, 1e3, session=True
        ),
        Axis("throughput", "throughput", "throughput", "examples/s", "high", figures.throughput, session=True),
        Axis("carbon", "carbon", f"carbon per {PER} inferences", "g CO2e", "low", figures.carbon, session=True),
        Axis("stored", "stored", "stored size", "MB", "low", figures.size(lambda s: s.stored_bytes), 1e-6),
        Axis("memory", "memory", "memory loaded", "MB", "low", figures.size(lambda s: s.memory_bytes), 1e-6),
        Axis("peak", "peak memory", "peak memory", "MB", "low", figures.size(lambda s: s.peak_memory_bytes), 1e-6),
        Axis("even", "break-even", "inferences until break-even", "", "low", figures.breakeven),
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
