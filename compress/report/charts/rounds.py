"""Rounds of the headline point as pairs of dots: the recipe and its reference in the same round.

A machine that is slower for a while moves both dots of a pair. Verdicts therefore compare pairs, not clouds.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.analysis.verdict import Axis, point_cost, point_name
from compress.base.config import InputError
from compress.records.result import Point
from compress.report.charts import Source, canvas
from compress.report.numbers import GAPS, has_gaps, shift
from compress.report.text import joined, plain, ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(sources: Sequence[Source]) -> "Figure":
    """Draw one plot of pairs per result, below one another."""
    figure = canvas.new_figure(9, 0.9 + 2.3 * len(sources))
    height, space = figure.get_figheight(), 0.5
    plots = canvas.axes(figure, len(sources), top=0.65)
    figure.subplots_adjust(hspace=space / (max(0.5, height - 1.2) / len(sources) - space))
    for plot, source in zip(plots, sources, strict=True):
        _draw(plot, source)
    gaps = any(has_gaps(source.headline, source.baseline_point(source.headline)) for source in sources)
    plots[-1].set_xlabel(f"round ({GAPS})" if gaps else "round")
    return figure


def _draw(plot: "Axes", source: Source) -> None:
    """Draw the pairs of one result. Raises InputError without common rounds."""
    ours, baseline = source.headline, source.baseline_point(source.headline)
    axis: Axis = "energy" if point_cost(ours, "energy", source.reference.name) is not None else "latency"
    pairs = paired(ours, baseline, axis)
    if not pairs:
        raise InputError(f"{source.path}: has no rounds in common with the reference; run the recipe again")
    numbers = [number for number, _, _ in pairs]
    line_x = [x for number in numbers for x in (number, number, float("nan"))]
    line_y = [y for _, a, b in pairs for y in (a, b, float("nan"))]
    plot.plot(line_x, line_y, color=canvas.LIGHT, linewidth=1.2, zorder=2)
    plot.plot(numbers, [b for _, _, b in pairs], "s", color=canvas.GREY, markerfacecolor="white", markersize=6,
              label=plain(source.reference.name), zorder=3)  # fmt: skip
    plot.plot(numbers, [a for _, a, _ in pairs], "D", color=canvas.VERMILLION, markersize=5.5, label=plain(source.name),
              zorder=3)  # fmt: skip
    plot.set_ylim(0, 1.08 * max(max(a, b) for _, a, b in pairs))
    plot.set_xticks(numbers)
    plot.set_ylabel(f"mJ per {ours.example}" if axis == "energy" else "ms per batch")
    ratio_text = joined(ratio(point_cost(ours, axis, source.reference.name)))
    title = f"{source.name}, {point_name(ours)}: {axis} ratio {ratio_text}"
    plot.set_title(plain(title), loc="left", fontsize=9.5, pad=18, parse_math=False)
    canvas.legend(plot, 2, size=7.5)


def paired(ours: Point, baseline: Point, axis: Axis) -> list[tuple[int, float, float]]:
    """Return the number of each common round, from 1, with both costs.

    They are in millijoules per inference, or milliseconds per batch.
    """
    first = shift(ours, baseline)
    by_round = {r.index: r for r in baseline.rounds}
    pairs = []
    for round_ in ours.rounds:
        other = by_round.get(round_.index)
        values = [] if other is None else [_scaled(round_, ours, axis), _scaled(other, baseline, axis)]
        if values and all(v is not None for v in values):
            pairs.append((round_.index + first, *values))
    return pairs  # type: ignore[return-value]


def _scaled(window: object, point: Point, axis: Axis) -> float | None:
    energy, seconds, batches = (getattr(window, name) for name in ("energy_j", "duration_s", "batches"))
    if axis == "latency":
        return float(1e3 * seconds / batches)
    return None if energy is None else float(1e3 * energy / (batches * point.batch_size))
