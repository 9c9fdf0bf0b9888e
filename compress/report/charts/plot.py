"""The picture of a table: accuracy against the cost ratio, with error bars and the front as a step line."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.report.charts import canvas
from compress.report.charts.labels import label
from compress.report.charts.marks import KINDS, Mark, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = 12
"""Most tables with a picture; the page and the tables include the others."""
SIZE_IN = (9.0, 5.4)


def pictures(drawn: Sequence[Panel]) -> dict[str, bytes]:
    """Return file name -> content: a PNG and an SVG of every panel, or of an empty picture without panels."""
    files: dict[str, bytes] = {}
    for panel in drawn[:PICTURES] or (None,):
        figure = picture(panel)
        stem = panel.stem if panel else "pareto"
        files |= {f"{stem}.png": canvas.png(figure), f"{stem}.svg": canvas.svg(figure)}
    return files


def picture(panel: Panel | None) -> "Figure":
    """Return the figure of one panel, or an empty one without a panel."""
    figure = canvas.new_figure(*SIZE_IN)
    (axis,) = canvas.axes(figure, bottom=0.75 if panel and panel.missing else 0.6)
    if panel is None:
        axis.text(0.5, 0.5, "nothing to draw yet", ha="center", va="center", parse_math=False)
        axis.set_axis_off()
        return figure
    _draw(axis, panel)
    if panel.missing:
        more = f" and {len(panel.missing) - 6} more" if len(panel.missing) > 6 else ""
        missing = f"not drawn (broken, failed or without figures): {', '.join(panel.missing[:6])}{more}"
        figure.text(0.01, 0.015, missing, fontsize=7.5, color=canvas.GREY, parse_math=False)
    with canvas.foreign_scripts():
        label(axis, panel.marks)
    return figure


def _draw(axis: "Axes", panel: Panel) -> None:
    """Draw points, error bars and the front."""
    for kind, (words, colour, marker) in KINDS.items():
        members = [m for m in panel.marks if m.kind == kind]
        if not members:
            continue
        axis.plot(*canvas.bars([m.x for m in members], [m.y for m in members]), color=colour, linewidth=0.8, zorder=3)
        axis.plot(
            [m.x[0] for m in members],
            [m.y[0] for m in members],
            marker,
            color=colour,
            markersize=6,
            markerfacecolor="white" if marker == "s" else colour,
            label=words,
            zorder=4,
        )
    # the best at this cost or less: marks are sorted best first, so a step needs a smaller place than the last one
    steps: list[tuple[int, Mark]] = []
    for place, mark in sorted(enumerate(panel.marks), key=lambda pair: pair[1].x[0]):
        if mark.steps and (not steps or place < steps[-1][0]):
            steps.append((place, mark))
    x, y = [m.x[0] for _, m in steps], [m.y[0] for _, m in steps]
    axis.step(x, y, where="post", color=KINDS["front"][1], linewidth=1.2, linestyle="--", zorder=2)
    _dress(axis, panel)


def _dress(axis: "Axes", panel: Panel) -> None:
    """Set the scale and titles, and draw the lines of the reference."""
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
    axis.axvline(1, color=canvas.LIGHT, linewidth=0.8, zorder=1)
    axis.axhline(0, color=canvas.LIGHT, linewidth=0.8, zorder=1)
    canvas.titled(axis, panel.title, panel.below, panel.beside)
    canvas.legend(axis)
