"""Shared parts of all charts: margins and type for papers, colours, and export to PNG and SVG.

Colours are those of Okabe and Ito (2008), distinguishable with every kind of colour vision; shapes repeat the
distinction. Text in an SVG stays text: it can be searched and set in a paper's own typeface. Equal figures give equal
bytes.
"""

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERMILLION, BLUE, GREEN, ORANGE, PURPLE, SKY = "#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
GREY, LIGHT, FAINT = "#555555", "#999999", "#e6e6e6"
CYCLE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, "#000000")
SHAPES = "oDs^vPX"
Span = tuple[float, float, float]
"""A value, its lower and its upper end."""
DPI = 160
"""Resolution of the PNG: 9 inches are 1440 pixels, sharp across two columns of a paper."""
MARK = "compress"
"""Program name in the metadata of every picture, by which pictures of earlier calls are recognised."""
_SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": MARK}


def new_figure(width: float, height: float) -> "Figure":
    """Return an empty figure with its size in inches, which can be drawn without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def axes(figure: "Figure", rows: int = 1, **margins: float) -> list["Axes"]:
    """Return `rows` plots below one another, with these margins in inches.

    Margins are fixed, because a layout engine would draw everything twice.
    """
    width, height = figure.get_size_inches().tolist()
    inches = {"left": 0.75, "right": 0.15, "bottom": 0.6, "top": 0.65, **margins}
    figure.subplots_adjust(
        left=inches["left"] / width,
        right=1 - inches["right"] / width,
        bottom=inches["bottom"] / height,
        top=1 - inches["top"] / height,
        hspace=0.12,
    )
    plots = figure.subplots(rows, 1, squeeze=False, sharex=True)[:, 0].tolist()
    for axis in plots:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(True, color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
    return list(plots)


def titled(axis: "Axes", title: str, below: str, beside: str, pad: float = 24) -> None:
    """Write title and axis labels as plain text, never TeX. `pad`: points between title and plot."""
    axis.set_title(title, loc="left", pad=pad, fontsize=11, parse_math=False)
    axis.set_xlabel(below, parse_math=False)
    axis.set_ylabel(beside, parse_math=False)


def legend(axis: "Axes", columns: int = 4, inside: str | None = None, size: float = 8) -> Any:
    """Draw the legend between title and plot, where it hides nothing, or `inside`; None if it would be empty."""
    if not axis.get_legend_handles_labels()[0]:
        return None
    place = (
        {"loc": inside} if inside else {"loc": "lower left", "bbox_to_anchor": (-0.005, 0.995), "borderaxespad": 0.2}
    )
    box = axis.legend(fontsize=size, frameon=False, ncols=columns, **place)
    for entry in box.get_texts():
        entry.set_parse_math(False)
    return box


def png(figure: "Figure") -> bytes:
    """Return the figure as PNG."""
    with _written() as out:
        figure.canvas.print_png(out, metadata={"Software": MARK}, pil_kwargs={"compress_level": 3})  # type: ignore[attr-defined]
    return out.getvalue()


def svg(figure: "Figure") -> bytes:
    """Return the figure as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    raster = figure.canvas
    with _written() as out:  # `savefig` would draw everything twice
        FigureCanvasSVG(figure).print_svg(out, metadata={"Creator": MARK, "Date": None})
    figure.set_canvas(raster)
    return out.getvalue()


@contextmanager
def foreign_scripts() -> Iterator[None]:
    """Silence warnings about glyphs that the font lacks: a PNG shows boxes, an SVG uses the reader's own font."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


@contextmanager
def _written() -> Iterator[io.BytesIO]:
    """Yield a buffer to print a figure into, with this module's settings."""
    from matplotlib import rc_context

    with foreign_scripts(), rc_context(_SETTINGS):
        yield io.BytesIO()


def bars(xs: Sequence[Span], ys: Sequence[Span]) -> tuple[list[float], list[float]]:
    """Return x and y of all error bars as one line with gaps, which draws as fast as a single bar.

    An infinite interval has no bar.
    """
    line_x: list[float] = []
    line_y: list[float] = []
    for x, y in zip(xs, ys, strict=True):
        if all(map(math.isfinite, x)):
            line_x, line_y = [*line_x, x[1], x[2], math.nan], [*line_y, y[0], y[0], math.nan]
        if all(map(math.isfinite, y)):
            line_x, line_y = [*line_x, x[0], x[0], math.nan], [*line_y, y[1], y[2], math.nan]
    return line_x, line_y
