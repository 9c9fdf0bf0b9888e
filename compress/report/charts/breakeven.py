"""Total cost over inferences: a recipe starts at the cost of compressing, its reference at 0.

total ^            / reference           The lines cross at break-even. Both axes are logarithmic.
      |          /    ___ recipe
      |  ______/___--
      |      /
      +-----+------------> inferences
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from compress.analysis.verdict import MEASURED, point_name
from compress.base.config import InputError
from compress.records.phase import INFERENCE
from compress.records.result import Point
from compress.report.charts import Source, canvas, of_one_session
from compress.report.text import breakeven, joined, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AHEAD = 30
"""Factor by which the x axis extends before the first crossing and after the last."""
MOST_WORDS = 120
"""Longest reason that fits into the chart, in characters."""


def draw(sources: Sequence[Source]) -> "Figure":
    """Draw the lines of the recipes and of their reference."""
    of_one_session(sources)
    for source in sources:
        if source.result.transform is None:
            raise InputError(f"{source.path}: does not record the cost of compressing; run the recipe again")
        if not (source.headline.rounds and source.baseline_point(source.headline).rounds):
            raise InputError(f"{source.path}: holds no rounds of its headline point; run the recipe again")
    joules = all(_metered(source) for source in sources)
    first = sources[0]
    reference_cost = per_inference(first.baseline_point(first.headline), joules)
    spent = [_spent(source, joules) for source in sources]
    costs = [per_inference(source.headline, joules) for source in sources]
    crossings = [s / (reference_cost - o) for s, o in zip(spent, costs, strict=True) if o < reference_cost and s > 0]
    start = min(
        [*(c / AHEAD for c in crossings), *(s / reference_cost for s in spent if s > 0 and reference_cost > 0)],
        default=1.0,
    )
    end = max([*(c * AHEAD for c in crossings), AHEAD * start, 1000.0])
    counts = [max(1.0, start) * (end / max(1.0, start)) ** (k / 200) for k in range(201)]
    figure = canvas.new_figure(9, 5.4)
    (axis,) = canvas.axes(figure, left=0.9, top=0.4)
    axis.loglog(counts, [reference_cost * n for n in counts], color=canvas.GREY, label=plain(first.reference.name))
    for source, colour, offset, cost in zip(sources, canvas.CYCLE, spent, costs, strict=False):
        axis.plot(counts, [offset + cost * n for n in counts], color=colour, label=_name(source, joules))
        _crossing(axis, source, colour, joules, offset, cost)
    unit = "energy, J" if joules else "time, s"
    why = "" if joules else "; in seconds, because not all of these energies were measured"
    where = point_name(first.headline)
    title = f"{first.result.workload.get('name')}: total cost of compressing and inference, {where}"
    canvas.titled(axis, plain(title), f"{_counted(first.headline)}{why}", f"total {unit}", pad=8)
    canvas.legend(axis, 1, inside="upper left")
    return figure


def _counted(point: Point) -> str:
    """Return the label of the x axis."""
    return "inferences, one example each" if point.example == INFERENCE else f"{point.example}s"


def per_inference(point: Point, joules: bool) -> float:
    """Return joules or seconds per example: the mean over rounds from which break-even is computed."""
    values = [(r.energy_j if joules else r.duration_s, r.batches) for r in point.rounds]
    known = [cost / (batches * point.batch_size) for cost, batches in values if cost is not None]
    return math.fsum(known) / len(known)


def _metered(source: Source) -> bool:
    """Return whether the same meter, with the same boundary, measured compressing, the recipe and the reference."""
    transform, points = source.result.transform, (source.headline, source.baseline_point(source.headline))
    if transform is None or transform.energy_j is None or transform.energy_source not in MEASURED:
        return False
    meter = (transform.energy_source, transform.energy_boundary)
    counted = (any(r.energy_j is not None for r in p.rounds) for p in points)
    return all((p.energy_source, p.energy_boundary) == meter for p in points) and all(counted)


def _spent(source: Source, joules: bool) -> float:
    """Return the joules or seconds of compressing."""
    transform = source.result.transform
    assert transform is not None  # `draw` has checked it
    return float((transform.energy_j if joules else transform.seconds) or 0.0)


def _name(source: Source, joules: bool) -> str:
    """Return the label of a recipe: its name, and its break-even or the reason why that is unknown."""
    even = source.result.breakeven
    if even is not None and even.at_most is not None:
        return plain(f"{source.name}: breaks even after {joined(breakeven(even))}")
    if even is None or even.inferences is None:
        reason = (even.reason if even else None) or "no break-even"
        return plain(f"{source.name}: {reason if len(reason) <= MOST_WORDS else reason[:MOST_WORDS] + '…'}")
    if (even.unit == "joules") is not joules:
        return plain(f"{source.name}: breaks even in {even.unit}, not shown on this axis")
    return plain(f"{source.name}: {joined(breakeven(even))}")


def _crossing(axis: "Axes", source: Source, colour: str, joules: bool, offset: float, cost: float) -> None:
    """Draw the break-even of a result with its interval, if it is in the unit of the axis."""
    even = source.result.breakeven
    if even is None or even.inferences is None or (even.unit == "joules") is not joules:
        return
    inferences = even.inferences
    height = offset + cost * inferences.value
    axis.plot(inferences.value, height, "o", color=colour, markersize=7, zorder=4)
    if math.isfinite(inferences.low) and math.isfinite(inferences.high):
        axis.plot([inferences.low, inferences.high], [height, height], color=colour, linewidth=4, alpha=0.35, zorder=3)
