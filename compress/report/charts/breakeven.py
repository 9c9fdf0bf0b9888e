"""What running costs in total, from compressing on: the reference starts at nothing, a recipe at what compressing took.

total ^            / reference           Where they cross, compressing has paid back. Both axes are logarithmic.
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
from compress.records.result import Point
from compress.report.charts import Source, canvas, of_one_session
from compress.report.text import breakeven, joined, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AHEAD = 30
"""The picture begins so many times before the first crossing and ends as many after the last."""
MOST_WORDS = 120
"""Characters of a reason that fit into the picture."""


def draw(sources: Sequence[Source]) -> "Figure":
    """Lines of the recipes and of their reference."""
    of_one_session(sources)
    for source in sources:
        if source.result.transform is None:
            raise InputError(f"{source.path}: does not say what compressing took; run the recipe again")
        if not (source.headline.rounds and source.theirs(source.headline).rounds):
            raise InputError(f"{source.path}: holds no rounds of its headline point; run the recipe again")
    joules = all(_metered(source) for source in sources)
    first = sources[0]
    theirs = per_inference(first.theirs(first.headline), joules)
    spent = [_spent(source, joules) for source in sources]
    ours = [per_inference(source.headline, joules) for source in sources]
    crossings = [s / (theirs - o) for s, o in zip(spent, ours, strict=True) if o < theirs and s > 0]
    start = min([*(c / AHEAD for c in crossings), *(s / theirs for s in spent if s > 0 and theirs > 0)], default=1.0)
    end = max([*(c * AHEAD for c in crossings), AHEAD * start, 1000.0])
    counts = [max(1.0, start) * (end / max(1.0, start)) ** (k / 200) for k in range(201)]
    figure = canvas.new_figure(9, 5.4)
    (axis,) = canvas.axes(figure, left=0.9, top=0.4)
    axis.loglog(counts, [theirs * n for n in counts], color=canvas.GREY, label=plain(first.reference.name))
    for source, colour, base, each in zip(sources, canvas.CYCLE, spent, ours, strict=False):
        axis.plot(counts, [base + each * n for n in counts], color=colour, label=_name(source, joules))
        _crossing(axis, source, colour, joules, base, each)
    unit = "energy, J" if joules else "time, s"
    why = "" if joules else "; in seconds, because not all of these energies were measured"
    where = point_name(first.headline)
    title = f"{first.result.workload.get('name')}: what compressing and answering take in total, {where}"
    canvas.titled(axis, plain(title), f"inferences, one example each{why}", f"total {unit}", pad=8)
    canvas.legend(axis, 1, inside="upper left")
    return figure


def per_inference(point: Point, joules: bool) -> float:
    """Joules or seconds of one example, as the mean over rounds that break-even is computed from."""
    values = [(r.energy_j if joules else r.duration_s, r.batches) for r in point.rounds]
    known = [cost / (batches * point.batch_size) for cost, batches in values if cost is not None]
    return math.fsum(known) / len(known)


def _metered(source: Source) -> bool:
    """Whether one kind of meter counted compressing, the recipe and the reference, all of the same."""
    transform, points = source.result.transform, (source.headline, source.theirs(source.headline))
    if transform is None or transform.energy_j is None or transform.energy_source not in MEASURED:
        return False
    meter = (transform.energy_source, transform.energy_boundary)
    counted = (any(r.energy_j is not None for r in p.rounds) for p in points)
    return all((p.energy_source, p.energy_boundary) == meter for p in points) and all(counted)


def _spent(source: Source, joules: bool) -> float:
    transform = source.result.transform
    assert transform is not None  # `draw` has looked
    return float((transform.energy_j if joules else transform.seconds) or 0.0)


def _name(source: Source, joules: bool) -> str:
    """The recipe, and after how many inferences it has paid back, or why nobody can say."""
    even = source.result.breakeven
    if even is not None and even.at_most is not None:
        return plain(f"{source.name}: paid back after {joined(breakeven(even))}")
    if even is None or even.inferences is None:
        reason = (even.reason if even else None) or "no break-even"
        return plain(f"{source.name}: {reason if len(reason) <= MOST_WORDS else reason[:MOST_WORDS] + '…'}")
    if (even.unit == "joules") is not joules:
        return plain(f"{source.name}: paid back in {even.unit}, which are not on this axis")
    return plain(f"{source.name}: {joined(breakeven(even))}")


def _crossing(axis: "Axes", source: Source, colour: str, joules: bool, base: float, each: float) -> None:
    """The break-even of the result with its interval, where it is in what the axis counts."""
    even = source.result.breakeven
    if even is None or even.inferences is None or (even.unit == "joules") is not joules:
        return
    found = even.inferences
    height = base + each * found.value
    axis.plot(found.value, height, "o", color=colour, markersize=7, zorder=4)
    if math.isfinite(found.low) and math.isfinite(found.high):
        axis.plot([found.low, found.high], [height, height], color=colour, linewidth=4, alpha=0.35, zorder=3)
