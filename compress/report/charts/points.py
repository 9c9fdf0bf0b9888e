"""Heat map of all operating points, batch size by length: the change of cost against the reference.

Blue saves and red costs more. White and hatched is no measurable difference: the interval contains 0 %.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.analysis.verdict import Axis, own_lengths, point_cost
from compress.base.config import InputError
from compress.records.result import Point
from compress.records.stats import Estimate
from compress.report.charts import Source
from compress.report.charts.heat import Tile, heat, new_heat_maps, strongest
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
    full = strongest([cost.value for grid in grids for cost in grid.values()])
    rows, columns = (max(len({key[k] for key in grid}) for grid in grids) for k in (0, 1))
    figure, plots = new_heat_maps(rows, columns, len(sources))
    for plot, source, axis, grid in zip(plots, sources, axes_, grids, strict=True):
        _draw(plot, grid, full)
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


def _draw(plot: "Axes", grid: dict[Key, Estimate], full: float) -> None:
    """Draw one heat map; `full` is the log ratio of full colour."""
    batches, lengths = sorted({batch for batch, _ in grid}), sorted({length for _, length in grid})
    tiles = {
        (row, column): _tile(grid.get((batch, length)))
        for row, batch in enumerate(batches)
        for column, length in enumerate(lengths)
    }
    heat(plot, [f"batch {batch}" for batch in batches], [_length(*length) for length in lengths], tiles, full)
    plot.set_xlabel("length in tokens", fontsize=9)


def _tile(cost: Estimate | None) -> Tile:
    """Return the change in percent with its interval."""
    if cost is None:
        return Tile(None, "not measured", False)
    change, low, high = (100 * (v - 1) for v in (cost.value, cost.low, cost.high))
    interval = f"({low:+z.0f} to {high:+z.0f})" if math.isfinite(high) else "(no interval)"
    return Tile(cost.value, f"{change:+z.0f} %\n{interval}", not cost.low <= 1 <= cost.high)


def _length(tokens: int, generated: int, own: str) -> str:
    return own or f"{tokens or 'whole'}" + (f" + {generated} generated" if generated else "")
