"""Heat map of all operating points, batch size by length: the change of cost against the reference.

Blue saves and red costs more. White with grey text is no measurable difference: the interval contains 0 %.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.analysis.verdict import Axis, own_lengths, point_cost
from compress.base.config import InputError
from compress.records.result import Point
from compress.records.stats import Estimate
from compress.report.charts import Source, canvas
from compress.report.text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(sources: Sequence[Source]) -> "Figure":
    """Draw one heat map per result, all on one colour scale."""
    for source in sources:
        if len(source.result.points) < 2:
            raise InputError(
                f"{source.path}: was measured at a single operating point; add others under `points:` in the "
                "workload, and run the recipe again with --set measure.points=all"
            )
    axes_ = [_axis(source) for source in sources]
    grids = [_grid(source, axis) for source, axis in zip(sources, axes_, strict=True)]
    strongest = max([abs(math.log(cost.value)) for grid in grids for cost in grid.values()] + [math.log(1.1)])
    batches, lengths = (max(len({key[k] for key in grid}) for grid in grids) for k in (0, 1))
    height = 1.3 + 0.55 * batches
    figure = canvas.new_figure(max(6.0, 2.2 + 1.3 * lengths), height * len(sources))
    figure.subplots_adjust(
        left=1.1 / figure.get_figwidth(), right=0.98, top=1 - 0.45 / figure.get_figheight(),
        bottom=0.6 / figure.get_figheight(), hspace=0.75 / (0.55 * batches),
    )  # fmt: skip
    plots = figure.subplots(len(sources), 1, squeeze=False)[:, 0]
    for plot, source, axis, grid in zip(plots, sources, axes_, grids, strict=True):
        _draw(plot, grid, strongest)
        plot.set_title(
            plain(f"{source.name}: {axis} / {axis} of {source.reference.name}"),
            loc="left",
            fontsize=10,
            parse_math=False,
        )
    return figure


def _axis(source: Source) -> Axis:
    """Return energy if a meter measured it at every point, otherwise latency."""
    name = source.reference.name
    return "energy" if all(point_cost(p, "energy", name) is not None for p in source.result.points) else "latency"


Length = tuple[int, int, str]
"""Length, tokens generated after it, and the words for own lengths."""
Key = tuple[int, Length]
"""Batch size and length."""


def _grid(source: Source, axis: Axis) -> dict[Key, Estimate]:
    """Return the cost ratio of every point that has one. Raises InputError if there is none."""
    costs = {_key(point): point_cost(point, axis, source.reference.name) for point in source.result.points}
    grid = {key: cost for key, cost in costs.items() if cost is not None and cost.value > 0}
    if not grid:
        raise InputError(f"{source.path}: no operating point has a ratio to {source.reference.name}")
    return grid


def _key(point: Point) -> Key:
    return point.batch_size, (point.sequence_length or 0, point.generated_tokens or 0, own_lengths(point))


def _draw(plot: "Axes", grid: dict[Key, Estimate], strongest: float) -> None:
    """Draw one heat map; `strongest` is the largest log ratio of all of them."""
    batches, lengths = sorted({batch for batch, _ in grid}), sorted({length for _, length in grid})
    shade = [[_shade(grid.get((batch, length))) for length in lengths] for batch in batches]
    plot.imshow(shade, cmap="RdBu_r", vmin=-strongest, vmax=strongest, aspect="auto")
    plot.set_facecolor(canvas.FAINT)  # a point that was not measured
    for row, batch in enumerate(batches):
        for column, length in enumerate(lengths):
            cost = grid.get((batch, length))
            words, significant = _words(cost)
            dark = significant and cost is not None and abs(math.log(cost.value)) > 0.6 * strongest
            colour = "white" if dark else "black" if significant else canvas.GREY
            plot.text(column, row, words, ha="center", va="center", fontsize=8, color=colour)
    for edges, line in ((range(1, len(batches)), plot.axhline), (range(1, len(lengths)), plot.axvline)):
        for edge in edges:
            line(edge - 0.5, color="white", linewidth=2)
    plot.set_xticks(range(len(lengths)), [_length(*length) for length in lengths])
    plot.set_yticks(range(len(batches)), [f"batch {batch}" for batch in batches])
    plot.set_xlabel("length in tokens", fontsize=9)
    plot.tick_params(length=0)
    plot.spines[:].set_visible(False)


def _shade(cost: Estimate | None) -> float:
    """Return the log ratio, so that half and twice are equally strong; 0 if the interval contains 1."""
    if cost is None:
        return math.nan
    return 0.0 if cost.low <= 1 <= cost.high else math.log(cost.value)


def _words(cost: Estimate | None) -> tuple[str, bool]:
    """Return the change in percent with its interval as text, and whether it is significant."""
    if cost is None:
        return "not measured", False
    change, low, high = (100 * (v - 1) for v in (cost.value, cost.low, cost.high))
    interval = f"({low:+z.0f} to {high:+z.0f})" if math.isfinite(high) else "(no interval)"
    return f"{change:+z.0f} %\n{interval}", not cost.low <= 1 <= cost.high


def _length(tokens: int, generated: int, own: str) -> str:
    return own or f"{tokens or 'whole'}" + (f" + {generated} generated" if generated else "")
