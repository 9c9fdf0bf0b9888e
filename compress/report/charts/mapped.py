"""The heat map of `compress map`: a recipe's cost at every batch size and length, jointly adjusted."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.analysis.flips import noun
from compress.analysis.mapping import Cell, Map, maps
from compress.analysis.verdict import cost_name
from compress.base.config import InputError
from compress.report.charts import Source
from compress.report.charts.heat import Tile, heat, new_heat_maps, strongest
from compress.report.text import digits, plain, spread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {"UNDECIDED": "undecided", "NOT RELIABLE": "not reliable", "NOT MEASURED": "not measured"}
"""Word of a point without a sign -> its text in a tile."""


def draw(sources: Sequence[Source]) -> "Figure":
    """Draw the map of every result. Raises InputError for a result of an ordinary run."""
    for source in sources:
        if not source.result.workload.get("mapped"):
            raise InputError(f"{source.path}: is not a result of `compress map`; use --kind points, or map the recipe")
    return figure_of(maps([source.result for source in sources]))


def figure_of(drawn: Sequence[Map]) -> "Figure":
    """Return one heat map per recipe, all on one colour scale."""
    full = strongest([c.ratio.value for of in drawn for c in of.cells if c.decided and c.ratio is not None])
    rows, columns = (max(len(values) for values in each) for each in _sizes(drawn))
    figure, plots = new_heat_maps(rows, columns, len(drawn))
    for plot, of in zip(plots, drawn, strict=True):
        places = {(b, n): (i, j) for i, b in enumerate(of.batch_sizes) for j, n in enumerate(of.lengths)}
        tiles = {places[cell.place]: _tile(cell) for cell in of.cells}
        lengths = ["whole" if length is None else str(length) for length in of.lengths]
        heat(plot, [f"batch {batch_size}" for batch_size in of.batch_sizes], lengths, tiles, full)
        plot.set_xlabel(f"{noun(of)} in tokens" if of.lengths != [None] else "images have no length", fontsize=9)
        plot.set_title(plain(title(of)), loc="left", fontsize=10, parse_math=False)
    return figure


def title(of: Map) -> str:
    """Return recipe, cost, reference and phase: `bert_int8: latency / latency of fp32 eager`."""
    costs = " or ".join(cost_name(axis, of.phase) for axis in of.axes) or "cost"
    return f"{of.result.name}: {costs} / that of {of.reference}"


def _sizes(drawn: Sequence[Map]) -> tuple[list[list[int]], list[list[int | None]]]:
    return [of.batch_sizes for of in drawn], [of.lengths for of in drawn]


def _tile(cell: Cell) -> Tile:
    if cell.ratio is None:
        return Tile(None, WORDS.get(cell.word, cell.word), False)
    value, interval = digits(cell.ratio.value), spread(cell.ratio.low, cell.ratio.high)
    word = "" if cell.decided else f"\n{WORDS.get(cell.word, cell.word.lower())}"
    return Tile(cell.ratio.value, f"{value}\n{interval}{word}", cell.decided)
