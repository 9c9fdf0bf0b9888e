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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.pareto import Candidate, Table, candidates
from compress.report.notes import title
from compress.report.text import plain
from compress.verdict import delta_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRONT, OTHER, REFERENCE = "#D55E00", "#0072B2", "#555555"  # vermillion, blue, grey
PANELS = 4
"""Most panels in one picture; the tables hold the rest."""
LABELLED = 24
"""So many names are written at most: the references' first, then the front's, then the cheapest."""
PANEL_IN = (9.0, 5.2)
DPI = 100


@dataclass(frozen=True)
class Panel:
    """What one table gives to the picture."""

    title: str
    cost: str
    """What stands below."""
    quality: str
    """What stands beside."""
    scale: float
    """Times the candidates' quality gives the figures of the axis: 100 for points; negative where lower is better."""
    field: tuple[Candidate, ...]
    front: frozenset[str]
    missing: tuple[str, ...]
    """Names of rows that cannot be drawn."""

    def y(self, quality: float) -> float:
        """Where a quality stands."""
        return self.scale * quality


def panels(tables: Iterable[Table]) -> list[Panel]:
    """A panel of every table that has something to draw."""
    return [_panel(table, field) for table in tables if (field := _field(table))]


def _field(table: Table) -> tuple[Candidate, ...]:
    return tuple(candidates(table.results, table.references, table.axis, table.reference))


def _panel(table: Table, field: tuple[Candidate, ...]) -> Panel:
    accuracy = next((r.accuracy for r in table.rows if r.accuracy), None)
    metric = accuracy.metric if accuracy else "accuracy"
    up = accuracy is None or accuracy.higher_is_better  # candidates are turned so that up is better, the axis is not
    scale, _, unit = delta_unit(metric)
    reference = plain(table.reference or "")
    why = "; energy is only modelled here" if table.meter == "modelled" else ""
    limit = table.newest.limit
    names = {c.name for c in field}
    return Panel(
        title=title(table) + (f"  LIMITED to {limit} examples" if limit is not None else ""),
        cost=f"{table.axis} / {table.axis} of {reference} (left is cheaper{why})",
        quality=f"{metric} - {reference}'s{f', {unit}' if unit else ''} ({'up' if up else 'down'} is better)",
        scale=scale if up else -scale,
        field=field,
        front=table.front,
        missing=tuple(r.name for r in table.results if r.name not in names) + tuple(r.name for r in table.failed),
    )


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

    def start(self, tables: Iterable[Table]) -> None:
        """Begins to draw."""
        self._panels = panels(tables)
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

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._pipe.close()
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
    kinds = (
        ("on the front", FRONT, "D", [c for c in panel.field if c.name in panel.front and not c.reference]),
        ("other recipes", OTHER, "o", [c for c in panel.field if c.name not in panel.front and not c.reference]),
        ("references (not compressed)", REFERENCE, "s", [c for c in panel.field if c.reference]),
    )
    for label, colour, marker, members in kinds:
        if not members:
            continue
        axis.errorbar(
            [c.cost.value for c in members],
            [panel.y(c.quality.value) for c in members],
            xerr=_bars([(c.cost.value, c.cost.low, c.cost.high) for c in members]),
            yerr=_bars([_heights(panel, c) for c in members]),
            fmt=marker,
            color=colour,
            markersize=7,
            markerfacecolor="white" if marker == "s" else colour,
            elinewidth=1,
            capsize=2,
            label=label,
            zorder=3,
        )
    _front_line(axis, panel)
    _dress(axis, panel)


def _heights(panel: Panel, c: Candidate) -> tuple[float, float, float]:
    """Value, lower and upper end as they stand in the picture."""
    low, high = sorted((panel.y(c.quality.low), panel.y(c.quality.high)))
    return panel.y(c.quality.value), low, high


def _front_line(axis: "Axes", panel: Panel) -> None:
    """Steps through the best estimates of the front: what can be had at this cost or less."""
    steps: list[Candidate] = []
    members = (c for c in panel.field if c.name in panel.front)
    for c in sorted(members, key=lambda c: (c.cost.value, -c.quality.value)):
        if not steps or c.quality.value > steps[-1].quality.value:  # ties beyond the estimate stay off the line
            steps.append(c)
    x, y = [c.cost.value for c in steps], [panel.y(c.quality.value) for c in steps]
    axis.step(x, y, where="post", color=FRONT, linewidth=1.2, linestyle="--", zorder=2)


def _dress(axis: "Axes", panel: Panel) -> None:
    """Scale, axis titles and what is not in the picture."""
    costs = [c.cost.value for c in panel.field]
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
    axis.set_xlabel(panel.cost, parse_math=False)
    axis.set_ylabel(panel.quality, parse_math=False)
    axis.set_title(panel.title, loc="left", y=1.01, fontsize=11, parse_math=False)
    if panel.missing:
        more = f" and {len(panel.missing) - 6} more" if len(panel.missing) > 6 else ""
        names = ", ".join(plain(n) for n in panel.missing[:6]) + more
        text = f"not drawn (broken, failed or without figures): {names}"
        axis.text(0.01, 0.01, text, transform=axis.transAxes, fontsize=7.5, color="#555555", parse_math=False)
    axis.legend(fontsize=8, framealpha=0.9, loc="lower right")


def _bars(values: Sequence[tuple[float, float, float]]) -> list[list[float]]:
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
    places = {c.name: (c.cost.value, panel.y(c.quality.value)) for c in panel.field}
    at = dict(zip(places, axis.transData.transform(list(places.values())).tolist(), strict=True))
    legend, frame = axis.get_legend(), _extents(axis.get_window_extent(renderer))
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in at.values()]
    if legend is not None:
        taken.append(_extents(legend.get_window_extent(renderer)))
    bars = _bar_boxes(axis, panel)
    first = sorted(panel.field, key=lambda c: (not c.reference, c.name not in panel.front, c.cost.value))
    for c in first[:LABELLED]:
        name = plain(c.name)[:40]
        width, height, _ = renderer.get_text_width_height_descent(name, font, False)
        boxes = [(spot, _text_box(at[c.name], spot, (width, height), pixels)) for spot in SPOTS + FAR]
        inside = [(spot, box) for spot, box in boxes if _within(box, frame)]
        walls = (np.array([*taken, *bars]), np.array(taken))
        free = (pair for wall in walls for pair in inside if _free(pair[1], wall))
        for spot, box in itertools.islice(free, 1):
            colour = REFERENCE if c.reference else FRONT if c.name in panel.front else OTHER
            _note(axis, name, places[c.name], spot, colour)
            taken.append(box)


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
    for c in panel.field:
        x, y = c.cost.value, panel.y(c.quality.value)
        ends += [(v if math.isfinite(v) and v > 0 else x, y) for v in (c.cost.low, c.cost.high)]
        ends += [(x, panel.y(v) if math.isfinite(v) else y) for v in (c.quality.low, c.quality.high)]
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
