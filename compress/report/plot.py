"""The picture: accuracy against the cost ratio, with error bars, the front as a step line, one panel a table.

Colours are Okabe and Ito's (2008), told apart by every kind of colour vision; shapes say the same again.
Labels are placed greedily: each takes the first of a few spots around its point that hits no point and no label.
"""

import contextlib
import io
import itertools
import math
import os
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KINDS: dict[str, tuple[str, str, str]] = {
    "front": ("on the front", "#D55E00", "D"),  # vermillion
    "other": ("other recipes", "#0072B2", "o"),  # blue
    "reference": ("references (not compressed)", "#555555", "s"),  # grey
}
"""Kind of a mark -> words of the legend, colour, shape."""
PANELS = 4
"""Most panels in one picture; the tables hold the rest."""
LABELLED = 24
"""So many names are written at most: the references' first, then the front's, then the cheapest."""
PANEL_IN = (9.0, 5.2)
DPI = 100


Span = tuple[float, float, float]
"""A value, its lower and its upper end."""


@dataclass(frozen=True)
class Mark:
    """One row of a table in the picture."""

    name: str
    x: Span
    y: Span
    kind: Literal["front", "other", "reference"]
    steps: bool = False
    """Whether it is on the front, as a reference may be too."""


@dataclass(frozen=True)
class Panel:
    """What one table gives to the picture; plain values, so that the process that draws need not load the rest."""

    title: str
    below: str
    beside: str
    marks: tuple[Mark, ...]
    """The best first."""
    missing: tuple[str, ...]
    """Names of rows that cannot be drawn."""


class Painter:
    """Draws in a forked process while this one does other work: drawing takes as long as all the rest.

    The other process loads what it draws with at once. Where this one cannot fork safely, `picture` draws here.
    """

    def __init__(self) -> None:
        self._panels: list[Panel] = []
        self._child: Any = None
        if not hasattr(os, "fork") or threading.active_count() > 1:
            return
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()

        def draw() -> None:
            self._pipe.close()
            with theirs, contextlib.suppress(EOFError):  # this process ended before it had anything to draw
                _canvas()
                theirs.send_bytes(picture(theirs.recv()))

        self._child = context.Process(target=draw)
        self._child.start()
        theirs.close()

    def start(self, panels: Sequence[Panel]) -> None:
        """Begins to draw."""
        self._panels = list(panels)
        if self._child is not None:
            with contextlib.suppress(BrokenPipeError):  # `picture` says it
                self._pipe.send(self._panels)

    def picture(self) -> bytes:
        """The PNG of what was begun."""
        if self._child is None:
            return picture(self._panels)
        try:
            return bytes(self._pipe.recv_bytes())
        except EOFError:
            raise RuntimeError("the picture could not be drawn; the message of the drawing process is above") from None

    def __enter__(self) -> "Painter":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if self._child is not None:
            self._pipe.close()
            if error is not None:
                self._child.terminate()  # nobody will look at the picture
            self._child.join()


def _canvas() -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return Figure, FigureCanvasAgg


def picture(drawn: Sequence[Panel]) -> bytes:
    """The PNG of these panels."""
    make_figure, make_canvas = _canvas()
    count = max(1, min(len(drawn), PANELS))
    width, height = PANEL_IN[0], PANEL_IN[1] * count
    figure = make_figure(figsize=(width, height), dpi=DPI)
    canvas = make_canvas(figure)
    axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    # fixed margins in inches: a layout engine would have to draw everything twice
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.15 / width, bottom=0.6 / height, top=1 - 0.35 / height, hspace=0.22
    )
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks is drawn as boxes
        for axis, panel in zip(axes, drawn, strict=False):
            _draw(axis, panel)
            _label(axis, panel, canvas.get_renderer())
        if not drawn:
            axes[0].text(0.5, 0.5, "nothing to draw yet", ha="center", va="center", parse_math=False)
            axes[0].set_axis_off()
        canvas.print_png(out, pil_kwargs={"compress_level": 3})
    return out.getvalue()


def _draw(axis: "Axes", panel: Panel) -> None:
    for kind, (label, colour, marker) in KINDS.items():
        members = [m for m in panel.marks if m.kind == kind]
        if not members:
            continue
        axis.errorbar(
            [m.x[0] for m in members],
            [m.y[0] for m in members],
            xerr=_bars([m.x for m in members]),
            yerr=_bars([m.y for m in members]),
            fmt=marker,
            color=colour,
            markersize=7,
            markerfacecolor="white" if marker == "s" else colour,
            elinewidth=1,
            capsize=2,
            label=label,
            zorder=3,
        )
    # what can be had at this cost or less; marks come best first, and ties beyond the estimate stay off the line
    steps: list[tuple[int, Mark]] = []
    for place, mark in sorted(enumerate(panel.marks), key=lambda pair: pair[1].x[0]):
        if mark.steps and (not steps or place < steps[-1][0]):
            steps.append((place, mark))
    x, y = [m.x[0] for _, m in steps], [m.y[0] for _, m in steps]
    axis.step(x, y, where="post", color=KINDS["front"][1], linewidth=1.2, linestyle="--", zorder=2)
    _dress(axis, panel)


def _dress(axis: "Axes", panel: Panel) -> None:
    """Scale, axis titles and what is not in the picture."""
    costs = [m.x[0] for m in panel.marks]
    if min(costs) > 0 and max(costs) / min(costs) > 4:
        axis.set_xscale("log")
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        decades = (10.0**k for k in range(math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs))) + 1))
        ticks = [m * d for d in decades for m in (1, 1.5, 2, 3, 4, 5, 7)]
        axis.xaxis.set_major_locator(FixedLocator([t for t in ticks if 0.7 * min(costs) < t < 1.4 * max(costs)]))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(0.12)
    axis.axvline(1, color="#999999", linewidth=0.8, zorder=1)
    axis.axhline(0, color="#999999", linewidth=0.8, zorder=1)
    axis.grid(True, color="#e6e6e6", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel(panel.below, parse_math=False)
    axis.set_ylabel(panel.beside, parse_math=False)
    axis.set_title(panel.title, loc="left", y=1.01, fontsize=11, parse_math=False)
    if panel.missing:
        more = f" and {len(panel.missing) - 6} more" if len(panel.missing) > 6 else ""
        names = ", ".join(panel.missing[:6]) + more
        text = f"not drawn (broken, failed or without figures): {names}"
        axis.text(0.01, 0.01, text, transform=axis.transAxes, fontsize=7.5, color="#555555", parse_math=False)
    axis.legend(fontsize=8, framealpha=0.9, loc="lower right")


def _bars(values: Sequence[Span]) -> list[list[float]]:
    """Lengths below and above each value; an infinite interval has no bar."""
    return [[_length(value - low) for value, low, _ in values], [_length(high - value) for value, _, high in values]]


def _length(value: float) -> float:
    return max(0.0, value) if math.isfinite(value) else 0.0


Box = tuple[float, float, float, float]
Spot = tuple[float, float, str]
SPOTS: tuple[Spot, ...] = ((8, 6, "left"), (8, -14, "left"), (-8, 6, "right"), (-8, -14, "right"), (0, 14, "center"))
FAR: tuple[Spot, ...] = tuple((3 * dx, dy * k, ha) for k in (2, 3, 4, 5) for dx, dy, ha in SPOTS)


def _label(axis: "Axes", panel: Panel, renderer: Any) -> None:
    """Names beside the points, the front's first; error bars are kept clear too, where there is room for that."""
    from matplotlib.font_manager import FontProperties

    font, pixels = FontProperties(size=8), DPI / 72
    at = axis.transData.transform([(m.x[0], m.y[0]) for m in panel.marks]).tolist()
    legend, frame = axis.get_legend(), _extents(axis.get_window_extent(renderer))
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in at]
    if legend is not None:
        taken.append(_extents(legend.get_window_extent(renderer)))
    bars = _bar_boxes(axis, panel)
    order = sorted(zip(panel.marks, at, strict=True), key=lambda pair: (*_rank(pair[0]), pair[0].x[0]))
    for mark, place in order[:LABELLED]:
        name = mark.name[:40]
        width, height, _ = renderer.get_text_width_height_descent(name, font, False)
        boxes = [(spot, _text_box(place, spot, (width, height), pixels)) for spot in SPOTS + FAR]
        inside = [(spot, box) for spot, box in boxes if _within(box, frame)]
        walls = (np.array([*taken, *bars]), np.array(taken))
        free = (pair for wall in walls for pair in inside if _free(pair[1], wall))
        for spot, box in itertools.islice(free, 1):
            _note(axis, name, (mark.x[0], mark.y[0]), spot, KINDS[mark.kind][1])
            taken.append(box)


def _rank(mark: Mark) -> tuple[bool, bool]:
    """References' names first, then the front's."""
    return mark.kind != "reference", not mark.steps


def _text_box(at: Sequence[float], spot: Spot, size: tuple[float, float], pixels: float) -> Box:
    """Where words of this size in pixels stand, at an offset in points from a place in pixels."""
    dx, dy, ha = spot
    left = at[0] + dx * pixels - {"left": 0, "center": 0.5, "right": 1}[ha] * size[0]
    bottom = at[1] + dy * pixels - 3  # a descender's depth
    return (left, bottom, left + size[0], bottom + size[1] + 3)


def _note(axis: "Axes", name: str, place: tuple[float, float], spot: Spot, colour: str) -> None:
    """Writes the name at an offset from its point; one that stands further off gets a thin line."""
    from matplotlib.patheffects import withStroke

    axis.annotate(
        name,
        place,
        xytext=spot[:2],
        textcoords="offset points",
        ha=spot[2],
        fontsize=8,
        color=colour,
        parse_math=False,
        zorder=5,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
        arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.5} if spot in FAR else None,
    )


def _bar_boxes(axis: "Axes", panel: Panel) -> list[Box]:
    """The error bars of all candidates as thin boxes in pixels."""
    ends: list[tuple[float, float]] = []
    for m in panel.marks:
        x, y = m.x[0], m.y[0]
        ends += [(v if math.isfinite(v) and v > 0 else x, y) for v in m.x[1:]]
        ends += [(x, v if math.isfinite(v) else y) for v in m.y[1:]]
    pairs = axis.transData.transform(ends).reshape(-1, 2, 2)  # [bar, end, xy]
    low, high = pairs.min(axis=1) - 1, pairs.max(axis=1) + 1
    return [(x0, y0, x1, y1) for (x0, y0), (x1, y1) in zip(low.tolist(), high.tolist(), strict=True)]


def _extents(box: Any) -> Box:
    return (box.x0, box.y0, box.x1, box.y1)


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _free(box: Box, taken: Any) -> bool:
    """Whether a box meets none of these, [n, 4]."""
    return not np.any((box[0] < taken[:, 2]) & (taken[:, 0] < box[2]) & (box[1] < taken[:, 3]) & (taken[:, 1] < box[3]))
