"""Axes of the page: the figures of the headline point to draw and sort by, with value, interval and n.

A cell is `[text, interval, value, low, high, n]` in the unit of its axis, or the reason why it is unknown. A ratio to
the reference has two axes, of which the page shows one: a factor (`2.2x faster`) and the ratio itself (0.451).
"""

import math
from dataclasses import dataclass
from typing import Literal

from compress.analysis.carbon import PER
from compress.analysis.loss import FORMS, form
from compress.analysis.pareto import Table
from compress.records.stats import Estimate
from compress.report.factors import BY_AXIS, ENERGY, MEMORY, SIZE, SPEED, Words, factor, reciprocal
from compress.report.page import figures
from compress.report.page.figures import UNKNOWN, Figure, Row
from compress.report.text import digits, example_of, plain, signed_spread, spread

Cell = list[str | float | int | None] | str
EACH = "per example on own texts"


@dataclass(frozen=True)
class Axis:
    """One figure to draw or sort by."""

    key: str
    short: str
    """Column header."""
    label: str
    """Name in menus and lists."""
    unit: str
    better: str
    """`low` or `high`, or empty if neither is better."""
    figure: Figure
    scale: float = 1.0
    session: bool = False
    """Whether it is an absolute cost, which must not rank rows of different sessions."""
    modelled: bool = False
    title: str = ""
    """Title in a chart, if it differs from the label."""
    view: Literal["", "factor", "ratio"] = ""
    """The view of costs that has this axis; empty for both."""
    words: Words | None = None
    """Words of a factor."""


def axes(table: Table) -> list[Axis]:
    """Return every axis of a table, in the order of the menus."""
    accuracy = next((r.accuracy for r in table.rows if r.accuracy), None)
    metric = accuracy.metric if accuracy else "accuracy"
    scale, _, unit = form(accuracy) if accuracy else FORMS["points"]
    better = "high" if accuracy is None or accuracy.higher_is_better else "low"
    example = example_of(table.newest)
    against = f"{metric} {'against' if unit == '%' else '−'} {table.reference or 'the reference'}'s"
    return [
        Axis("metric", metric, metric, "", better, figures.metric),
        Axis("difference", "difference", against, unit, better, figures.difference, scale),
        *_compared(table),
        Axis("latency", "latency", "latency per batch", "ms", "low", figures.latency, 1e3, session=True),
        Axis("energy", "energy", f"energy per {example}", "mJ", "low", figures.energy, 1e3, session=True),
        Axis(
            "modelled", "~ energy", f"~ energy per {example}, modelled", "mJ", "low", figures.modelled, 1e3, True, True
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
        Axis("limit", "of the limit", "share of the physical limit", "%", "high", figures.limit, 100, session=True),
        Axis("carbon", "carbon", f"carbon per {PER} {example}s", "g CO2e", "low", figures.carbon, session=True),
        Axis("stored", "stored", "stored size", "MB", "low", figures.size(lambda s: s.stored_bytes), 1e-6),
        Axis("memory", "memory", "memory loaded", "MB", "low", figures.memory(lambda s: s.memory_bytes), 1e-6),
        Axis("peak", "peak memory", "peak memory", "MB", "low", figures.memory(lambda s: s.peak_memory_bytes), 1e-6),
        Axis("even", "break-even", f"{example}s until break-even", "", "low", figures.breakeven),
    ]


def _compared(table: Table) -> list[Axis]:
    """Return the axes of ratios to the reference, each as a factor and as itself; the table's own cost is first."""
    reference, same = table.reference or "the reference", "the dense model"
    stored, memory = figures.size_ratio(lambda s: s.stored_bytes), figures.memory_ratio(lambda s: s.memory_bytes)
    own, alone = BY_AXIS[table.axis], f"compression alone (same runtime): {table.axis}"
    costs = [
        _both("latency", ("speed", "latency / ref"), "latency", reference, SPEED, figures.latency_ratio),
        _both("energy", ("energy used", "energy / ref"), "energy", reference, ENERGY, figures.energy_ratio),
    ]
    pairs = [
        *(costs if table.axis == "latency" else reversed(costs)),
        _both("net", ("net of idle", "net / ref"), "energy net of idle", reference, ENERGY, figures.net_ratio),
        _both("alone", ("compression alone", "alone"), alone, same, own, figures.alone_ratio),
        _both("size", ("size", "size / ref"), "stored size", reference, SIZE, stored),
        _both("memory", ("memory use", "memory / ref"), "memory", reference, MEMORY, memory),
        _both("own", ("own texts", "own texts / ref"), f"{table.axis} on own texts", reference, own, figures.own_ratio),
    ]
    return [axis for pair in pairs for axis in pair]


def _both(key: str, shorts: tuple[str, str], what: str, against: str, words: Words, figure: Figure) -> list[Axis]:
    """Return the axes of one ratio as a factor and as itself."""
    title = f"{what}: times {words.less} than {against}"
    return [
        Axis(f"{key}_factor", shorts[0], f"{what} against {against}", "", "high", figure, title=title, view="factor",
             words=words),
        Axis(f"{key}_ratio", shorts[1], f"{what} / {against}'s", "×", "low", figure, view="ratio"),
    ]  # fmt: skip


def cell(axis: Axis, row: Row) -> Cell:
    """Return a row's figure in the axis' unit, or why it is unknown."""
    figure = axis.figure(row)
    if isinstance(figure, str) or figure is None:
        return plain(figure or UNKNOWN)
    if axis.words is not None:
        return _factor(figure if isinstance(figure, Estimate) else Estimate(figure, figure, figure, 0), axis.words)
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
    if axis.key == "metric":  # its bars in a chart are those of the paired difference, by which rows are compared
        bar = figures.paired_bar(row, figure)
        return [digits(value, 4), spread(low, high), *map(_finite, (value, bar.low, bar.high)), figure.n]
    interval = "" if row.itself and low == high == value else spread(low, high)
    return [digits(value), interval, *map(_finite, (value, low, high)), figure.n]


def _factor(ratio: Estimate, words: Words) -> Cell:
    """Return the cell of a ratio as a factor, whose value is above 1 for a saving."""
    if not (math.isfinite(ratio.value) and ratio.value > 0):
        return "not a finite ratio above 0"
    (text, interval), times = (*factor(ratio, words), "")[:2], reciprocal(ratio)
    return [text, interval, *map(_finite, (times.value, times.low, times.high)), ratio.n or None]


def _finite(value: float) -> float | None:
    """Round to six digits; None for a number that JSON cannot hold."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
