"""A heat map of cost ratios: blue saves, red costs more, hatched tiles are undecided, grey ones were not measured.

Colours are the diverging scale RdBu of ColorBrewer, which is distinguishable with every kind of colour vision; every
tile repeats its figures as text.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compress.report.charts import canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "RdBu_r"
LEAST = math.log(1.1)
"""Log ratio below which no colour reaches full strength: small differences stay pale."""
TILE_IN = 1.3, 0.55
MOST_FONT = 8


@dataclass(frozen=True)
class Tile:
    """One point of a heat map."""

    ratio: float | None
    """Cost over that of the reference; None without a colour."""
    words: str
    decided: bool
    """Whether the difference from 1 is shown; otherwise the tile is white and hatched."""


def new_heat_maps(rows: int, columns: int, count: int) -> tuple["Figure", Sequence["Axes"]]:
    """Return a figure with `count` plots below one another, each of so many tiles."""
    width, height = TILE_IN
    figure = canvas.new_figure(max(6.0, 2.2 + width * columns), (1.3 + height * rows) * count)
    figure.subplots_adjust(
        left=1.1 / figure.get_figwidth(), right=0.98, top=1 - 0.45 / figure.get_figheight(),
        bottom=0.6 / figure.get_figheight(), hspace=0.75 / (height * rows),
    )  # fmt: skip
    return figure, list(figure.subplots(count, 1, squeeze=False)[:, 0])


def strongest(ratios: Sequence[float]) -> float:
    """Return the log ratio of full colour: the largest, in either direction, of plots that share one scale."""
    return max([abs(math.log(ratio)) for ratio in ratios] + [LEAST])


def heat(
    plot: "Axes", rows: Sequence[str], columns: Sequence[str], tiles: Mapping[tuple[int, int], Tile], full: float
) -> None:
    """Draw one heat map. `tiles`: row and column -> tile; `full`: log ratio of full colour."""
    shade = [[_shade(tiles.get((row, column))) for column in range(len(columns))] for row in range(len(rows))]
    plot.imshow(shade, cmap=COLOURS, vmin=-full, vmax=full, aspect="auto")
    plot.set_facecolor(canvas.FAINT)  # a point that was not measured
    for (row, column), tile in tiles.items():
        dark = tile.decided and tile.ratio is not None and abs(math.log(tile.ratio)) > 0.6 * full
        colour = "white" if dark else "black" if tile.decided else canvas.GREY
        if tile.ratio is not None and not tile.decided:
            _hatch(plot, row, column)
        plot.text(
            column, row, tile.words, ha="center", va="center", fontsize=MOST_FONT, color=colour, parse_math=False,
            bbox=None if tile.decided else {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85},
        )  # fmt: skip
    for edges, line in ((range(1, len(rows)), plot.axhline), (range(1, len(columns)), plot.axvline)):
        for edge in edges:
            line(edge - 0.5, color="white", linewidth=2)
    plot.set_xticks(range(len(columns)), columns)
    plot.set_yticks(range(len(rows)), rows)
    plot.tick_params(length=0)
    plot.spines[:].set_visible(False)


def _shade(tile: Tile | None) -> float:
    """Return the log ratio, so that half and twice are equally strong; 0 if it is undecided."""
    if tile is None or tile.ratio is None:
        return math.nan
    return math.log(tile.ratio) if tile.decided else 0.0


def _hatch(plot: "Axes", row: int, column: int) -> None:
    from matplotlib.patches import Rectangle

    corner = (column - 0.5, row - 0.5)
    plot.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="///", edgecolor=canvas.LIGHT, linewidth=0))
