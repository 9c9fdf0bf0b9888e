"""The two halves of a verdict's sentence: the cost with its interval, and the accuracy with its interval."""

import math

from compress.analysis.loss import difference
from compress.analysis.loss import form as loss_form
from compress.records.accuracy import Accuracy
from compress.records.point import Word
from compress.records.stats import Estimate


def cost_words(axis: str, ratio: Estimate, note: str) -> tuple[Word, str]:
    """Return the word for a ratio of energy or latency, and the first half of the sentence."""
    if not math.isfinite(ratio.value):
        return "NO VERDICT", f"NO VERDICT: the ratio of {axis} is not a finite number;"
    if ratio.high < 1:
        saved, least, most = (100 * (1 - r) for r in (ratio.value, ratio.high, ratio.low))
        return "SAVES", f"SAVES {_percent(saved)} % of the {axis} ({_percent(least)} to {_percent(most)}{note})"
    if ratio.low > 1 and ratio.value >= 2:
        factors = f"{ratio.low:.2g} to {ratio.high:.2g}"
        return "COSTS MORE", f"COSTS MORE: {ratio.value:.2g} times the {axis} ({factors}{note})"
    change, low, high = (100 * (r - 1) for r in (ratio.value, ratio.low, ratio.high))
    if ratio.low > 1:
        return "COSTS MORE", f"COSTS MORE: {_percent(change)} % more {axis} ({_percent(low)} to {_percent(high)}{note})"
    # whole percents, because two digits would print 1e+02
    form = "+z.0f" if max(abs(change), abs(low), abs(high)) >= 99.5 else "+z.2g"
    interval = _between(low, high, form)
    return "NO MEASURABLE DIFFERENCE", f"NO MEASURABLE DIFFERENCE of {axis} ({change:{form}} %, {interval}{note})"


def accuracy_words(accuracy: Accuracy) -> str:
    """Return the difference of accuracy to the reference, with its interval, as the second half of a sentence."""
    delta, metric = difference(accuracy), accuracy.metric
    if delta is None:
        reason = accuracy.reasons.get("delta", accuracy.reasons.get("estimate"))
        return f" at an unknown difference of {metric}" + (f" ({reason})" if reason else "")
    if not delta.bounded:
        return f" at an unknown difference of {metric} ({accuracy.reasons.get('delta_interval', 'no interval')})"
    scale, form, unit = loss_form(accuracy)
    value, low, high = (scale * v for v in (delta.value, delta.low, delta.high))
    up = accuracy.higher_is_better
    if not low <= 0 <= high and float(f"{value:{form}}") == 0:
        form = "z.1g"  # never print a significant difference as 0.0
    if low == value == high == 0:
        return f" at the same {metric}"
    if low <= 0 <= high:
        change = "loss" if up else "rise"
        unit = f" {unit}".rstrip()
        return f" at no measurable {change} of {metric} ({value:+{form}}{unit}, {_between(low, high, '+' + form)})"
    verb = ("GAINS" if value > 0 else "LOSES") if up else ("RAISES" if value > 0 else "LOWERS")
    least, most = sorted((abs(low), abs(high)))
    amount = f"{abs(value):{form}} {unit}".rstrip()
    phrase = f"{verb} {amount} of {metric}" if up else f"{verb} {metric} by {amount}"
    return f" AND {phrase} ({least:{form}} to {most:{form}})"


def _percent(value: float) -> str:
    """Format whole percents from 10 up, and two digits below, where whole percents would hide the interval."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _between(low: float, high: float, form: str) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "too few rounds for an interval"
    return f"between {low:{form}} and {high:{form}}"
