"""Loss of a model's metric against its reference, the figure that every comparison uses.

    unit      difference of the metric            0.01 is
    points    ours - reference, over its scale    a hundredth of the scale (1 for a fraction, 100 for BLEU)
    percent   (ours - reference) / |reference|    a hundredth of the reference's value

A loss is positive if our model is worse, whichever direction of the metric is better. These are pure functions over
results and need no torch.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from compress.analysis import seeds
from compress.base.config import InputError
from compress.base.limits import SUFFIXES, Limit, Unit
from compress.base.limits import parse_limit as parse_limit  # noqa: PLC0414  exported here too
from compress.records.result import UNITS, Accuracy
from compress.records.stats import Estimate, paired_difference, quotient

MARGIN = 0.005
"""Largest difference that counts as equal unless another is stated: 0.5 points, or 0.5 % of the reference's value."""
FORMS: Mapping[Unit | None, tuple[float, str, str]] = {
    "points": (100, "z.1f", "points"),
    "percent": (100, "z.1f", "%"),
    None: (1, "z.3g", ""),
}
"""Unit -> scale, number format and name for printing a difference."""


def form(accuracy: Accuracy) -> tuple[float, str, str]:
    """Return scale, number format and unit for printing a difference of this metric."""
    return FORMS[accuracy.unit]


def terms(accuracy: Accuracy) -> tuple[Any, ...]:
    """Return what two values of a metric must have in common to be compared: name, direction, unit and scale."""
    return accuracy.metric, accuracy.higher_is_better, accuracy.unit, accuracy.scale


def difference(accuracy: Accuracy) -> Estimate | None:
    """Return ours minus the reference's as a fraction of the unit's whole, positive if our metric is larger.

    None if the difference is unknown.
    """
    delta = accuracy.delta
    if delta is None or not accuracy.known or not math.isfinite(delta.value):
        return None
    if not delta.low <= delta.value <= delta.high:  # not a number
        delta = Estimate(delta.value, -math.inf, math.inf, delta.n)
    scale = accuracy.scale if accuracy.unit == "points" else 1.0
    return Estimate(delta.value / scale, delta.low / scale, delta.high / scale, delta.n)


def lost(accuracy: Accuracy) -> Estimate | None:
    """Return the loss against the reference; None if unknown."""
    delta = difference(accuracy)
    return None if delta is None else turned(delta) if accuracy.higher_is_better else delta


def spreads(accuracy: Accuracy) -> list[seeds.Spread]:
    """Return the spread of the loss over the recipe's seeds; empty for one seed."""
    found = seeds.spread(accuracy, accuracy.scale if accuracy.unit == "points" else 1.0)
    return [] if found is None else [found]


def turned(estimate: Estimate) -> Estimate:
    """Negate an estimate; 0 stays 0, without a minus sign."""
    return Estimate(0.0 - estimate.value, 0.0 - estimate.high, 0.0 - estimate.low, estimate.n)


def lost_since(after: Accuracy, before: Accuracy) -> Estimate | str:
    """Return the loss of one model against an earlier one, or the reason why it is unknown.

    It is paired over examples if both results record which ones they answered correctly. Otherwise it comes from the
    two differences to the reference. The interval covers the seeds of both.
    """
    if not (after.known and before.known):
        return f"{after.metric} has no finite value {'now' if not after.known else 'then'}"
    if (answers := changed(before, after)) is not None:
        return seeds.widened(paired_difference(*answers, after.estimate.n), [*spreads(after), *spreads(before)])
    now_lost, then_lost = lost(after), lost(before)
    if now_lost is None or then_lost is None:
        return "the baseline or this result has no difference to the reference"
    if after.unit == "points":  # upper bound of the width: the models are independent, but share their examples
        value = now_lost.value - then_lost.value
        half = math.hypot(*((d.high - d.low) / 2 for d in (now_lost, then_lost)))
        return Estimate(value, value - half, value + half, now_lost.n)
    return _relative(after, before)


def _relative(after: Accuracy, before: Accuracy) -> Estimate | str:
    """Return the loss relative to the earlier value, from the relative differences d of both to the same reference r.

    For positive values, ours / r is 1 + d. For negative ones, a larger magnitude is a smaller value, and it is 1 - d.
    """
    negative = before.estimate.value < 0
    sizes = []
    for accuracy in (after, before):
        delta = difference(accuracy)
        assert delta is not None
        delta = turned(delta) if negative else delta
        sizes.append(Estimate(1 + delta.value, 1 + delta.low, 1 + delta.high, delta.n))
    if negative != (after.estimate.value < 0) or min(size.value for size in sizes) <= 0:
        return f"{after.metric} is not of one sign, so a relative loss is undefined; state `scale` in the metric's file"
    ratio = quotient(*sizes)
    grown = Estimate(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n)
    return turned(grown) if after.higher_is_better != negative else grown


def changed(ours: Accuracy, reference: Accuracy) -> tuple[int, int] | None:
    """Return how many answers are right only in ours, and only in the reference; None for other metrics."""
    if ours.right is None or reference.right is None or ours.estimate.n != reference.estimate.n:
        return None
    mine, theirs = int(ours.right, 16), int(reference.right, 16)
    return (mine & ~theirs).bit_count(), (theirs & ~mine).bit_count()


def unpacked(text: str, n: int) -> np.ndarray:
    """Return the n bits of a hexadecimal number, lowest first."""
    raw = np.frombuffer(int(text, 16).to_bytes((n + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(raw, bitorder="little")[:n]


def misfit(accuracy: Accuracy, unit: Unit, option: str) -> str | None:
    """Return the reason why a limit in this unit does not apply to a metric, or None."""
    if accuracy.unit is None:
        return f"{accuracy.metric} has no unit in a result of an older version; run the recipe again"
    return unfit(accuracy.metric, accuracy.unit, unit, option)


def unfit(metric: str, compared_in: Unit, unit: Unit, option: str) -> str | None:
    """Return the reason why a limit in this unit does not apply to a metric that is compared in another, or None."""
    if compared_in == unit:
        return None
    other = next(suffix for suffix, name in SUFFIXES.items() if name == compared_in)
    own = ", or state `scale` in the metric's file" if unit == "points" and metric not in UNITS else ""
    return f"{metric} is compared in {compared_in}, not in {unit}; change {option}, such as 1{other}{own}"


def margin_of(accuracy: Accuracy, text: str | None) -> float | None:
    """Return the margin as a fraction of the unit's whole, from text such as `0.5pt`; the default without a text.

    None for a metric without a unit, in results of older versions. Raises InputError if the unit does not fit.
    """
    if text is None:
        return None if accuracy.unit is None else MARGIN
    margin, unit = parse_limit(text, "margin")
    if reason := misfit(accuracy, unit, "the margin"):
        raise InputError(f"margin {text}: {reason}")
    return margin


def margin_words(margin: float, accuracy: Accuracy) -> str:
    """Return a margin in the metric's unit: `0.5 points`."""
    return f"{100 * margin:.6g} {form(accuracy)[2]}"


def within(accuracy: Accuracy, margin: float | None) -> bool | None:
    """Return whether a difference within the margin is shown; None without a margin or an interval.

    By two one-sided tests at 2.5 % each (Schuirmann 1987): the whole 95 % interval lies within the margin.
    """
    delta = difference(accuracy)
    if margin is None or delta is None or not delta.bounded:
        return None
    return -margin <= delta.low and delta.high <= margin


def meaning(limit: Limit, accuracy: Accuracy) -> str:
    """Return what a limit means in the metric's own scale, as text."""
    most, unit = limit
    verb = "down" if accuracy.higher_is_better else "up"
    if unit == "points":
        return f"{accuracy.metric} {verb} by at most {most * accuracy.scale:.6g}"
    return f"{accuracy.metric} {verb} by at most {100 * most:.6g} % of the reference's value"
