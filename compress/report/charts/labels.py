"""Greedy placement of names next to the points of a chart.

Each name takes the first of a few spots around its point that hits no point and no label. If possible, it also avoids
error bars and lines to other points.
"""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.report.charts.canvas import GREY
from compress.report.charts.marks import KINDS, Mark

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELLED = 24
"""Most names in a chart: references first, then the front, then the cheapest."""
SIZE = 8
Box = tuple[float, float, float, float]
Place = Sequence[float]
Spot = tuple[float, float, str]
SPOTS: tuple[Spot, ...] = ((8, 6, "left"), (8, -14, "left"), (-8, 6, "right"), (-8, -14, "right"), (0, 14, "center"))
FAR: tuple[Spot, ...] = tuple((3 * dx, dy * k, ha) for k in (2, 3, 4, 5) for dx, dy, ha in SPOTS)


def label(axis: "Axes", marks: Sequence[Mark]) -> None:
    """Write the names. A name without a free spot is left out; it is in the table."""
    from matplotlib.font_manager import FontProperties

    figure: Any = axis.get_figure()
    renderer = figure.canvas.get_renderer()
    font, pixels = FontProperties(size=SIZE), figure.dpi / 72
    positions = axis.transData.transform([(m.x[0], m.y[0]) for m in marks]).tolist()
    frame, radius = _extents(axis.get_window_extent(renderer)), 4 * pixels
    taken: list[Box] = [(x - radius, y - radius, x + radius, y + radius) for x, y in positions]
    crossed = _bar_boxes(axis, marks)
    names: list[Box] = []
    lines: list[Box] = []
    leaders: list[tuple[Place, Place]] = []
    order = sorted(zip(marks, positions, strict=True), key=lambda pair: (*_rank(pair[0]), pair[0].x[0]))
    for mark, place in order[:LABELLED]:
        name = mark.name[:40]
        width, height, _ = renderer.get_text_width_height_descent(name, font, False)
        boxes = [(spot, _text_box(place, spot, (width, height), pixels)) for spot in SPOTS + FAR]
        inside = [(spot, box) for spot, box in boxes if _within(box, frame)]
        hit = _hits([box for _, box in inside], np.array([*taken, *lines, *crossed]))
        counts = np.cumsum([0, len(taken), len(lines), len(crossed)])
        # strictest first: points and names are always avoided, then lines of other names, then error bars
        free = [[pair for pair, row in zip(inside, hit, strict=True) if not row[:end].any()] for end in counts[:0:-1]]
        spots = [pair for kept in free for pair in kept]
        clear = (pair for pair in spots if pair[0] in SPOTS or _unseen(place, pair[1], names))
        for spot, box in itertools.islice(itertools.chain(clear, spots), 1):
            _note(axis, name, (mark.x[0], mark.y[0]), spot, KINDS[mark.kind][1])
            taken.append(box)
            names.append(box)
            if spot in FAR:
                leaders.append((place, _nearest(place, box)))
                lines += _beads(*leaders[-1])
    _back(axis, names, leaders)


def _back(axis: "Axes", names: Sequence[Box], leaders: Sequence[tuple[Place, Place]]) -> None:
    """Draw the background of the names: white boxes, and thin lines from distant names to their points.

    Each kind is one collection, because a patch per name is slowest to draw. Text has no outline, which would turn it
    into curves in an SVG.
    """
    from matplotlib.collections import LineCollection, PolyCollection

    to_data = axis.transData.inverted().transform
    corners = [to_data([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) for x0, y0, x1, y1 in names]
    lines = LineCollection([to_data(line) for line in leaders], colors=GREY, linewidths=0.4, zorder=5)
    boxes = PolyCollection(corners, facecolors="white", alpha=0.75, linewidths=0, zorder=5.1)
    for collection in (lines, boxes):
        axis.add_collection(collection, autolim=False)


def _beads(one: Place, other: Place) -> list[Box]:
    """Return a line as small boxes."""
    beads = (tuple(a + (b - a) * k / 12 for a, b in zip(one, other, strict=True)) for k in range(2, 12))
    return [(x - 1, y - 1, x + 1, y + 1) for x, y in beads]


def _unseen(place: Place, box: Box, names: Sequence[Box]) -> bool:
    """Return whether the line from a point to a name's box crosses no other name."""
    return not names or not _hits(_beads(place, _nearest(place, box)), np.array(names)).any()


def _nearest(place: Place, box: Box) -> Place:
    """Return the position in a box that is nearest to a point."""
    return min(max(place[0], box[0]), box[2]), min(max(place[1], box[1]), box[3])


def _rank(mark: Mark) -> tuple[bool, bool]:
    """Return the sort key of a name: references first, then the front."""
    return mark.kind != "reference", not mark.steps


def _text_box(at: Sequence[float], spot: Spot, size: tuple[float, float], pixels: float) -> Box:
    """Return the box of a text of this size in pixels, at an offset in points from a position in pixels."""
    dx, dy, ha = spot
    left = at[0] + dx * pixels - {"left": 0, "center": 0.5, "right": 1}[ha] * size[0]
    bottom = at[1] + dy * pixels - 2 * pixels  # a descender's depth
    return (left, bottom, left + size[0], bottom + size[1] + 2 * pixels)


def _note(axis: "Axes", name: str, place: tuple[float, float], spot: Spot, colour: str) -> None:
    """Write the name at an offset from its point."""
    axis.annotate(
        name,
        place,
        xytext=spot[:2],
        textcoords="offset points",
        ha=spot[2],
        fontsize=SIZE,
        color=colour,
        parse_math=False,
        zorder=6,
    )


def _bar_boxes(axis: "Axes", marks: Sequence[Mark]) -> list[Box]:
    """Return the error bars of all marks as thin boxes in pixels."""
    ends: list[tuple[float, float]] = []
    for m in marks:
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


def _hits(boxes: Sequence[Box], others: Any) -> Any:
    """Return which boxes overlap which of the others [n, 4], as booleans [boxes, others]."""
    a, b = np.array(boxes).reshape(-1, 1, 4), others[None]
    return (a[..., 0] < b[..., 2]) & (b[..., 0] < a[..., 2]) & (a[..., 1] < b[..., 3]) & (b[..., 1] < a[..., 3])
