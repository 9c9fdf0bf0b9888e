"""The picture: accuracy against the cost ratio, with error bars, the front as a step line, one panel a table.

Colours are Okabe and Ito's (2008), told apart by every kind of colour vision; shapes say the same again.
Labels are placed greedily: each takes the first of a few spots around its point that hits no point and no label.
"""

import io
import itertools
import math
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from compress.pareto import Candidate, Table, candidates, group
from compress.report.notes import title
from compress.report.text import plain
from compress.results import Grade, Result
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


@contextmanager
def drawing(results: Sequence[Result], least: Grade = "B") -> Iterator[Callable[[], bytes]]:
    """A function that gives the picture: a forked process draws it while the block does other work.

    Drawing takes as long as all the rest. Where this process cannot fork safely, the function draws when it is called.
    """
    if not hasattr(os, "fork") or threading.active_count() > 1:
        yield lambda: picture(results, least)
        return
    import multiprocessing

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def draw() -> None:
        with sender:
            sender.send_bytes(picture(results, least))

    child = context.Process(target=draw)
    child.start()
    sender.close()

    def drawn() -> bytes:
        try:
            return receiver.recv_bytes()
        except EOFError:
            raise RuntimeError("the picture could not be drawn; the message of the drawing process is above") from None

    try:
        yield drawn
    finally:
        receiver.close()
        child.join()


def picture(results: Iterable[Result], least: Grade = "B") -> bytes:
    """The PNG of every table that has something to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [(table, field) for table in group(results, least) if (field := _field(table))]
    count = max(1, min(len(drawn), PANELS))
    width, height = PANEL_IN[0], PANEL_IN[1] * count
    figure = Figure(figsize=(width, height), dpi=DPI)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    # fixed margins in inches: a layout engine would have to draw everything twice
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.15 / width, bottom=0.6 / height, top=1 - 0.35 / height, hspace=0.22
    )
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks is drawn as boxes
        for panel, (table, field) in zip(axes, drawn, strict=False):
            _draw(panel, table, field)
            _label(panel, table, field, canvas.get_renderer())
        if not drawn:
            axes[0].text(0.5, 0.5, "nothing to draw yet", ha="center", va="center", parse_math=False)
            axes[0].set_axis_off()
        canvas.print_png(out, pil_kwargs={"compress_level": 3})
    return out.getvalue()


def _field(table: Table) -> list[Candidate]:
    return candidates(table.results, table.references, table.axis, table.reference)


def _draw(panel: "Axes", table: Table, field: Sequence[Candidate]) -> None:
    scale, _, unit = delta_unit(_metric(table))
    kinds = (
        ("on the front", FRONT, "D", [c for c in field if c.name in table.front and not c.reference]),
        ("other recipes", OTHER, "o", [c for c in field if c.name not in table.front and not c.reference]),
        ("references (not compressed)", REFERENCE, "s", [c for c in field if c.reference]),
    )
    for label, colour, marker, members in kinds:
        if not members:
            continue
        x, y = [c.cost.value for c in members], [scale * _signed(table, c.quality.value) for c in members]
        panel.errorbar(
            x,
            y,
            xerr=_bars([(c.cost.value, c.cost.low, c.cost.high) for c in members]),
            yerr=_bars([(c.quality.value, c.quality.low, c.quality.high) for c in members], scale, table),
            fmt=marker,
            color=colour,
            markersize=7,
            markerfacecolor="white" if marker == "s" else colour,
            elinewidth=1,
            capsize=2,
            label=label,
            zorder=3,
        )
    _front_line(panel, table, field, scale)
    _dress(panel, table, field, unit)


def _front_line(panel: "Axes", table: Table, field: Sequence[Candidate], scale: float) -> None:
    """Steps through the best estimates of the front: what can be had at this cost or less."""
    steps: list[Candidate] = []
    for c in sorted((c for c in field if c.name in table.front), key=lambda c: (c.cost.value, -c.quality.value)):
        if not steps or c.quality.value > steps[-1].quality.value:  # ties beyond the estimate stay off the line
            steps.append(c)
    x, y = [c.cost.value for c in steps], [scale * _signed(table, c.quality.value) for c in steps]
    panel.step(x, y, where="post", color=FRONT, linewidth=1.2, linestyle="--", zorder=2)


def _dress(panel: "Axes", table: Table, field: Sequence[Candidate], unit: str) -> None:
    """Scale, axis titles and what is not in the picture."""
    costs = [c.cost.value for c in field]
    if min(costs) > 0 and max(costs) / min(costs) > 4:
        panel.set_xscale("log")
        from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

        decades = (10.0**k for k in range(math.floor(math.log10(min(costs))), math.ceil(math.log10(max(costs))) + 1))
        ticks = [m * d for d in decades for m in (1, 1.5, 2, 3, 4, 5, 7)]
        panel.xaxis.set_major_locator(FixedLocator([t for t in ticks if 0.7 * min(costs) < t < 1.4 * max(costs)]))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.xaxis.set_minor_locator(NullLocator())
    panel.margins(0.12)
    panel.axvline(1, color="#999999", linewidth=0.8, zorder=1)
    panel.axhline(0, color="#999999", linewidth=0.8, zorder=1)
    panel.grid(True, color="#e6e6e6", linewidth=0.6)
    panel.set_axisbelow(True)
    metric, reference = _metric(table), plain(table.reference or "")
    why = "; energy is only modelled here" if table.meter == "modelled" else ""
    panel.set_xlabel(f"{table.axis} / {table.axis} of {reference} (left is cheaper{why})", parse_math=False)
    up = "down" if _sign(table) < 0 else "up"
    in_unit = f", {unit}" if unit else ""
    panel.set_ylabel(f"{metric} - {reference}'s{in_unit} ({up} is better)", parse_math=False)
    limit = table.newest.limit
    loud = f"  LIMITED to {limit} examples" if limit is not None else ""
    panel.set_title(title(table) + loud, loc="left", y=1.01, fontsize=11, parse_math=False)
    missing = [r.name for r in table.results if r.name not in {c.name for c in field}] + [r.name for r in table.failed]
    if missing:
        names = ", ".join(plain(n) for n in missing[:6]) + (f" and {len(missing) - 6} more" if len(missing) > 6 else "")
        text = f"not drawn (broken, failed or without figures): {names}"
        panel.text(0.01, 0.01, text, transform=panel.transAxes, fontsize=7.5, color="#555555", parse_math=False)
    panel.legend(fontsize=8, framealpha=0.9, loc="lower right")


def _metric(table: Table) -> str:
    return next((r.accuracy.metric for r in table.rows if r.accuracy), "accuracy")


def _sign(table: Table) -> int:
    """-1 where a lower metric is better: candidates are turned so that up is better, the axis shows the metric."""
    better = next((r.accuracy.higher_is_better for r in table.rows if r.accuracy), True)
    return 1 if better else -1


def _signed(table: Table, value: float) -> float:
    return _sign(table) * value


def _bars(
    values: Sequence[tuple[float, float, float]], scale: float = 1, table: Table | None = None
) -> list[list[float]]:
    """Lengths below and above each value; an infinite interval has no bar."""
    down = [_length(scale * (value - low)) for value, low, _ in values]
    up = [_length(scale * (high - value)) for value, _, high in values]
    return [up, down] if table is not None and _sign(table) < 0 else [down, up]


def _length(value: float) -> float:
    return max(0.0, value) if math.isfinite(value) else 0.0


Box = tuple[float, float, float, float]
Spot = tuple[float, float, str]
SPOTS: tuple[Spot, ...] = ((8, 6, "left"), (8, -14, "left"), (-8, 6, "right"), (-8, -14, "right"), (0, 14, "center"))
FAR: tuple[Spot, ...] = tuple((3 * dx, dy * k, ha) for k in (2, 3, 4, 5) for dx, dy, ha in SPOTS)


def _label(panel: "Axes", table: Table, field: Sequence[Candidate], renderer: Any) -> None:
    """Names beside the points, the front's first; error bars are kept clear too, where there is room for that."""
    from matplotlib.font_manager import FontProperties

    font, pixels = FontProperties(size=8), DPI / 72
    scale = delta_unit(_metric(table))[0]
    places = {c.name: (c.cost.value, scale * _signed(table, c.quality.value)) for c in field}
    at = {name: tuple(map(float, panel.transData.transform(place))) for name, place in places.items()}
    legend, frame = panel.get_legend(), _extents(panel.get_window_extent(renderer))
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in at.values()]
    if legend is not None:
        taken.append(_extents(legend.get_window_extent(renderer)))
    bars = [box for c in field for box in _bar_boxes(panel, c, scale, _sign(table))]
    first = sorted(field, key=lambda c: (not c.reference, c.name not in table.front, c.cost.value))
    for c in first[:LABELLED]:
        name = plain(c.name)[:40]
        width, height, _ = renderer.get_text_width_height_descent(name, font, False)
        boxes = [(spot, _text_box(at[c.name], spot, (width, height), pixels)) for spot in SPOTS + FAR]
        inside = [(spot, box) for spot, box in boxes if _within(box, frame)]
        free = (pair for wall in ([*taken, *bars], taken) for pair in inside if _free(pair[1], wall))
        for spot, box in itertools.islice(free, 1):
            colour = REFERENCE if c.reference else FRONT if c.name in table.front else OTHER
            _note(panel, name, places[c.name], spot, colour)
            taken.append(box)


def _text_box(at: Sequence[float], spot: Spot, size: tuple[float, float], pixels: float) -> Box:
    """Where words of this size in pixels stand, at an offset in points from a place in pixels."""
    dx, dy, ha = spot
    left = at[0] + dx * pixels - {"left": 0, "center": 0.5, "right": 1}[ha] * size[0]
    bottom = at[1] + dy * pixels - 3  # a descender's depth
    return (left, bottom, left + size[0], bottom + size[1] + 3)


def _note(panel: "Axes", name: str, place: tuple[float, float], spot: Spot, colour: str) -> None:
    """Writes the name at an offset from its point; one that stands further off gets a thin line."""
    from matplotlib.patheffects import withStroke

    panel.annotate(
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


def _bar_boxes(panel: "Axes", c: Candidate, scale: float, sign: int) -> list[Box]:
    """The error bars of a candidate as thin boxes in pixels."""
    cost = [v if math.isfinite(v) and v > 0 else c.cost.value for v in (c.cost.low, c.cost.high)]
    quality = [sign * scale * (v if math.isfinite(v) else c.quality.value) for v in (c.quality.low, c.quality.high)]
    ends = ([(x, sign * scale * c.quality.value) for x in cost], [(c.cost.value, y) for y in quality])
    boxes: list[Box] = []
    for (x0, y0), (x1, y1) in (panel.transData.transform(pair) for pair in ends):
        boxes.append((min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1))
    return boxes


def _extents(box: Any) -> Box:
    return (box.x0, box.y0, box.x1, box.y1)


def _within(box: Box, frame: Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _free(box: Box, taken: Sequence[Box]) -> bool:
    return not any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in taken)
