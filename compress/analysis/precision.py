"""Ratios of a session that rounds did not make as precise as asked, and the time that would."""

import math
from collections.abc import Collection, Mapping

from compress.records.robust import BIWEIGHT_FROM, degrees
from compress.records.rules import MOST_ROUNDS
from compress.records.sequential import LOOK_EVERY
from compress.records.stats import Estimate, t_quantile
from compress.spec.measure import LEAST_ROUNDS, MOST_BUDGET_S

WIDER = 1.1
"""Standard error of the biweight over that of the mean, for normal noise."""
RESERVE = 1.3
"""On a budget: the noise of few rounds is itself uncertain."""
MISSED = "its latency ratio to "
"""How a sentence on a missed precision begins."""
WIDE = 0.2
"""Half-width of a log-ratio from which its interval is printed: in percent, its ends are then far from symmetric."""


def half_width(ratio: Estimate) -> float:
    """Return half the width of the interval of the log-ratio; infinity without an interval."""
    return math.log(ratio.high / ratio.low) / 2 if ratio.low > 0 and ratio.bounded else math.inf


def needed_rounds(ratio: Estimate, precision: float) -> float | None:
    """Return the number of rounds at which a ratio is expected to be precise. None without an interval.

    The half-width falls with the square root of the number of rounds, and with the biweight's Student quantile. A
    session looks at every fifth round. Above `MOST_ROUNDS` it is infinite.
    """
    if ratio.n < 2 or math.isinf(half_width(ratio)):
        return None
    error = half_width(ratio) / t_quantile(ratio.t_degrees + 1) * math.sqrt(ratio.n)
    error *= WIDER if ratio.n < BIWEIGHT_FROM else 1.0
    for rounds in range(LEAST_ROUNDS, MOST_ROUNDS + 1, LOOK_EVERY):
        if error / math.sqrt(rounds) * t_quantile(degrees(rounds) + 1) <= precision:
            return rounds
    return math.inf


def shortfall(
    ratios: Mapping[str, Estimate], precision: float | None, seconds: float | None, share: float = 1.0
) -> str | None:
    """Return a sentence on the least precise of a runner's ratios, reference -> ratio; None if all are as asked.

    `seconds` are those of the rounds at this point, which gets this `share` of the budget.
    """
    if precision is None or seconds is None or not ratios:
        return None
    worst = max(ratios, key=lambda name: half_width(ratios[name]))
    ratio = ratios[worst]
    width, needed = half_width(ratio), needed_rounds(ratio, precision)
    if width <= precision and ratio.n >= LEAST_ROUNDS:
        return None
    if needed is None:
        return f"its ratio to {worst} has no interval after {ratio.n} rounds"
    least = f" after at least {LEAST_ROUNDS} rounds" if ratio.n < LEAST_ROUNDS else ""
    return (
        f"{MISSED}{worst} {_known(ratio)} after {ratio.n} rounds; {_half(precision)}{least} was asked "
        f"for; {_advice(needed, seconds * needed / ratio.n, share)}"
    )


def _known(ratio: Estimate) -> str:
    """Return how precisely a ratio is known."""
    width = half_width(ratio)
    if width > WIDE:
        return f"is only known to lie between {ratio.low:.3g} and {ratio.high:.3g}"
    return f"is known to {_half(width)}"


def _half(width: float) -> str:
    """Return a half-width of a log-ratio as percent, or as a factor if it is wide."""
    return f"+-{100 * width:.2g} %" if width <= WIDE else f"a factor of {math.exp(width):.2f}"


def _advice(rounds: float, seconds: float, share: float) -> str:
    """Return the budget of which a `share` is enough for this many rounds of `seconds`, or that none is enough."""
    budget_s = seconds / share
    if rounds > MOST_ROUNDS:
        return f"at this noise that cannot be reached: a point has at most {MOST_ROUNDS} rounds"
    if budget_s > MOST_BUDGET_S:
        return f"at this noise that cannot be reached: it takes {_duration(budget_s)}, more than a day"
    part, of_all = (" at this point", " for all points") if share < 1 else (" of rounds", "")
    advised_s = _rounded_up(budget_s)
    return (
        f"at this noise that takes {_duration(seconds)}{part}, hence with a reserve a budget of "
        f"{_duration(advised_s)}{of_all}: --set measure.budget_s={advised_s}"
    )


def widest_shortfall(
    ratios: Mapping[tuple[str, str], Estimate],
    references: Collection[str],
    precision: float | None,
    seconds: float | None,
    share: float = 1.0,
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
    short = {name: line for name, own in rows.items() if (line := shortfall(own, precision, seconds, share))}
    if not short:
        return None
    widest = max(short, key=lambda name: max(map(half_width, rows[name].values())))
    return f"{widest}: {short[widest]}{others(len(short) - 1, 'model')}"


def others(count: int, what: str) -> str:
    """Return words for the further rows that miss the precision; empty for none."""
    return f"; {count} more {what}{'s miss' if count > 1 else ' misses'} it too" if count else ""


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes >= 120:
        return f"about {minutes / 60:.0f} hours"
    return f"about {minutes:.0f} minutes" if minutes >= 10 else f"about {minutes:.2g} minutes"


def _rounded_up(seconds: float) -> int:
    """Return seconds with a reserve, in steps of 10, up to the largest budget."""
    return min(10 * math.ceil(RESERVE * seconds / 10), MOST_BUDGET_S)
