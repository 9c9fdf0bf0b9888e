"""Ratios of a session that rounds did not make as precise as asked, and the time that would."""

import math
from collections.abc import Collection, Mapping

from compress.records.stats import Estimate, t_quantile
from compress.spec.measure import LEAST_ROUNDS

MANY_ROUNDS = 2.1
"""Student's quantile of a session of about 60 rounds."""


def half_width(ratio: Estimate) -> float:
    """Return half the width of the interval of the log-ratio; infinity without an interval."""
    return math.log(ratio.high / ratio.low) / 2 if ratio.low > 0 and ratio.bounded else math.inf


def needed_s(ratio: Estimate, precision: float, seconds: float) -> float | None:
    """Return the seconds of rounds that would be enough for a ratio measured in `seconds`, at the same noise.

    The half-width falls with the square root of the number of rounds, and with Student's quantile. None without an
    interval.
    """
    if ratio.n < 2:
        return None
    width = half_width(ratio) * min(1.0, MANY_ROUNDS / t_quantile(ratio.t_degrees + 1))
    return None if math.isinf(width) else seconds * max((width / precision) ** 2, LEAST_ROUNDS / ratio.n)


def shortfall(ratios: Mapping[str, Estimate], precision: float | None, seconds: float | None) -> str | None:
    """Return a sentence on the least precise of a runner's ratios, reference -> ratio; None if all are as asked."""
    if precision is None or seconds is None or not ratios:
        return None
    worst = max(ratios, key=lambda name: half_width(ratios[name]))
    ratio = ratios[worst]
    width, needed = half_width(ratio), needed_s(ratio, precision, seconds)
    if width <= precision and ratio.n >= LEAST_ROUNDS:
        return None
    if needed is None:
        return f"its ratio to {worst} has no interval after {ratio.n} rounds"
    return (
        f"its latency ratio to {worst} is known to +-{100 * width:.2g} % after {ratio.n} rounds, not to the "
        f"+-{100 * precision:.2g} % of at least {LEAST_ROUNDS} rounds that were asked for; at this noise that takes "
        f"{_duration(needed)} of rounds: --set measure.budget_s={_rounded_up(needed)}"
    )


def widest_shortfall(
    ratios: Mapping[tuple[str, str], Estimate],
    references: Collection[str],
    precision: float | None,
    seconds: float | None,
) -> str | None:
    """Return one line on the recipe with the least precise ratio, and the number of others; None if all are as asked.

    `ratios` maps (name, reference) to a ratio. References are named only in a session without recipes, each compared
    with the ones before it, because both directions of a pair are equally precise.
    """
    order = {name: place for place, name in enumerate(references)}
    has_recipes = any(name not in order for name, _ in ratios)
    rows: dict[str, dict[str, Estimate]] = {}
    for (name, reference), ratio in ratios.items():
        if name not in order or (not has_recipes and order[reference] < order[name]):
            rows.setdefault(name, {})[reference] = ratio
    short = {name: line for name, own in rows.items() if (line := shortfall(own, precision, seconds))}
    if not short:
        return None
    widest = max(short, key=lambda name: max(map(half_width, rows[name].values())))
    others = len(short) - 1
    more = f"; {others} more model{'s miss' if others > 1 else ' misses'} it too" if others else ""
    return f"{widest}: {short[widest]}{more}"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"about {minutes:.0f} minutes" if minutes >= 10 else f"about {minutes:.2g} minutes"


def _rounded_up(seconds: float) -> int:
    """Return seconds with a tenth of reserve, in steps of 10."""
    return 10 * math.ceil(1.1 * seconds / 10)
