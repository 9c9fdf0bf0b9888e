"""The two halves of a verdict's sentence: the cost with its interval, and the accuracy with its interval."""

import math
from collections.abc import Sequence

from compress.analysis.loss import difference, lost, margin_words, within
from compress.analysis.loss import form as loss_form
from compress.records.accuracy import Accuracy
from compress.records.point import Ratio, Word
from compress.records.stats import Estimate

HOLM = "differs by Holm's method"
"""Why a ratio differs from 1 although its simultaneous interval holds 1."""
LEAST = 0.01
"""Percent below which a saving is not printed as a number."""


def cost_words(axis: str, ratio: Estimate, note: str, differs: bool | None = None) -> tuple[Word, str]:
    """Return the word for a ratio of energy or latency, and the first half of the sentence.

    `differs`: whether a ratio whose interval is adjusted for all recipes of a table differs from 1 (Holm); None for an
    interval that is not adjusted.
    """
    if not math.isfinite(ratio.value):
        return "NO VERDICT", f"NO VERDICT: the ratio of {axis} is not a finite number;"
    note = note if differs is None else f" adjusted{note}"
    if differs and ratio.low <= 1 <= ratio.high:
        return _by_holm(axis, ratio, note)
    if ratio.high < 1:
        saved, least, most = (100 * (1 - r) for r in (ratio.value, ratio.high, ratio.low))
        return "SAVES", f"SAVES {percent(saved)} % of the {axis} ({percent(least)} to {percent(most)}{note})"
    if ratio.low > 1 and ratio.value >= 2:
        factors = f"{_factor(ratio.low)} to {_factor(ratio.high)}"
        return "COSTS MORE", f"COSTS MORE: {_factor(ratio.value)} times the {axis} ({factors}{note})"
    change, low, high = (100 * (r - 1) for r in (ratio.value, ratio.low, ratio.high))
    if ratio.low > 1:
        return "COSTS MORE", f"COSTS MORE: {percent(change)} % more {axis} ({percent(low)} to {percent(high)}{note})"
    # whole percents, because two digits would print 1e+02
    form = "+z.0f" if max(abs(change), abs(low), abs(high)) >= 99.5 else "+z.2g"
    interval = _between(low, high, form)
    return "NO MEASURABLE DIFFERENCE", f"NO MEASURABLE DIFFERENCE of {axis} ({change:{form}} %, {interval}{note})"


def _by_holm(axis: str, ratio: Estimate, note: str) -> tuple[Word, str]:
    """Return word and first half for a ratio that differs from 1 although its simultaneous interval contains 1."""
    change, low, high = (100 * (r - 1) for r in (ratio.value, ratio.low, ratio.high))
    why = f"(change {_between(low, high, '+z.2g')} %{note}; {HOLM})"
    if change < 0:
        return "SAVES", f"SAVES {percent(-change)} % of the {axis} {why}"
    return "COSTS MORE", f"COSTS MORE: {percent(change)} % more {axis} {why}"


def net_words(ratio: Ratio) -> str:
    """Return the waiting's share of an energy saving and the saving net of idle, as a note; empty if unknown."""
    share, net, words = ratio.waiting_share, ratio.net, ""
    saves = ratio.energy is not None and ratio.energy.high < 1
    if saves and share is not None and share > 0:
        words = f"; {f'{100 * share:.0f} %' if share < 0.995 else 'all'} of it is waiting avoided"
    if net is None or not net.bounded:
        return words
    change, *edges = (100 * (1 - v) for v in (net.value, net.high, net.low))
    if net.low <= 1 <= net.high:
        low, high = (100 * (v - 1) for v in (net.low, net.high))
        return f"{words}; net of idle no measurable difference, {_between(low, high, '+z.2g')} %"
    if net.low > 1 and net.value >= 2:
        return f"{words}; net of idle {_factor(net.value)} times, {_factor(net.low)} to {_factor(net.high)}"
    least, most = sorted(map(abs, edges))
    more = " more" if net.low > 1 else ""
    return f"{words}; net of idle {percent(abs(change))} %{more}, {percent(least)} to {percent(most)}"


def alone_words(axis: str, reference: str, ratio: Estimate, net: Estimate | None) -> str:
    """Return the ratio to the dense model under the same runtime: the compression without the runtime's part."""
    beyond = "" if net is None else f"; net of idle {_times(net.value)}, {_times(net.low)} to {_times(net.high)}"
    interval = f"{_times(ratio.low)} to {_times(ratio.high)}{beyond}"
    return f"compression alone takes {_times(ratio.value)} times the {axis} of {reference} ({interval})"


def unreliable_words(reasons: Sequence[str]) -> str:
    """Return the first half of the sentence of a measurement that is not reliable."""
    more = "" if len(reasons) == 1 else f", and {len(reasons) - 1} more reason{'s' if len(reasons) > 2 else ''}"
    return f"NOT RELIABLE: {reasons[0]}{more};"


def companion_words(where: str, axis: str, ratio: Estimate) -> str:
    """Return the last part of a sentence: the ratio on an axis at another point, as tables print it."""
    if not (math.isfinite(ratio.value) and ratio.bounded):
        return ""
    value, low, high = map(_three_digits, (ratio.value, ratio.low, ratio.high))
    return f"; {where}: {value} times the {axis} ({low} to {high})"


def accuracy_words(accuracy: Accuracy, margin: float | None) -> str:
    """Return the difference of accuracy to the reference, with its interval, as the second half of a sentence.

    It states whether a difference within the `margin` (a fraction of the metric's whole) is shown.
    """
    delta, metric = difference(accuracy), accuracy.metric
    if delta is None:
        reason = accuracy.reasons.get("delta", accuracy.reasons.get("estimate"))
        return f" at an unknown difference of {metric}" + (f" ({reason})" if reason else "")
    if not delta.bounded:
        return f" at an unknown difference of {metric} ({accuracy.reasons.get('delta_interval', 'no interval')})"
    scale, form, unit = loss_form(accuracy)
    value, low, high = (scale * v for v in (delta.value, delta.low, delta.high))
    up = accuracy.higher_is_better
    if not low <= 0 <= high:
        form = _form((value, low, high), form)
    if low == value == high == 0:
        return f" at the same {metric}"
    equivalence = equivalence_words(accuracy, margin)
    if low <= 0 <= high:
        unit = f" {unit}".rstrip()
        figures = f"({value:+{form}}{unit}, {_between(low, high, '+' + form)})"
        if within(accuracy, margin):
            return f" at {metric} {equivalence} {figures}"
        change = f"no measurable {'loss' if up else 'rise'} of {metric}"
        return f" at {change}{equivalence and f', {equivalence}'} {figures}"
    verb = ("GAINS" if value > 0 else "LOSES") if up else ("RAISES" if value > 0 else "LOWERS")
    least, most = sorted((abs(low), abs(high)))
    amount = f"{abs(value):{form}} {unit}".rstrip()
    phrase = f"{verb} {amount} of {metric}" if up else f"{verb} {metric} by {amount}"
    return f" AND {phrase} ({least:{form}} to {most:{form}}){equivalence and f', {equivalence}'}"


def equivalence_words(accuracy: Accuracy, margin: float | None) -> str:
    """Return whether the metric is shown to be within the margin of the reference's: `within 0.5 points`.

    Empty where the question is settled or open for another reason: no interval, or a whole interval beyond the margin
    or on the better side of the reference.
    """
    shown, loss = within(accuracy, margin), lost(accuracy)
    if margin is None or shown is None or loss is None or not (shown or (loss.low <= margin and loss.high >= 0)):
        return ""
    return f"{'' if shown else 'not shown to be '}within {margin_words(margin, accuracy)}"


def percent(value: float) -> str:
    """Format whole percents from 10 up, and two digits below, where whole percents would hide the interval.

    A saving below 100 % is never printed as 100, and none above 0 in powers of ten.
    """
    if value < LEAST:
        return f"under {LEAST}"
    if not 99.5 <= value < 100:
        return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    return next((text for digits in (1, 2, 3) if float(text := f"{value:.{digits}f}") < 100), "over 99.99")


def _times(value: float) -> str:
    """Format a ratio around 1 with two decimals, and with two digits far from 1."""
    if value >= 99.5:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _factor(value: float) -> str:
    """Format a factor with three digits, or with as many as a factor above 1 needs not to be printed as 1."""
    if value >= 99.5:
        return f"{value:.0f}"
    return next((text for digits in (3, 4, 5) if float(text := f"{value:#.{digits}g}") != 1), "just over 1")


def _three_digits(value: float) -> str:
    """Format a ratio as tables do."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:#.3g}"


def _form(values: Sequence[float], form: str) -> str:
    """Return a number format in which no figure of a significant difference is printed as 0."""
    finer = (f"z.{digits}f" for digits in (2, 3, 4))
    return next((f for f in (form, *finer) if all(float(f"{value:{f}}") != 0 for value in values)), "z.1g")


def _between(low: float, high: float, form: str) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return "too few rounds for an interval"
    return f"between {end(low, form)} and {end(high, form)}"


def end(value: float, form: str) -> str:
    """Format the end of an interval with its sign: -0.0 for a negative end that is rounded to zero."""
    return f"{value + 0.0:{form.replace('z', '')}}"  # + 0.0: an exact zero has no sign


def assumption(spread: float) -> str:
    """Return the words for a spread that was added, or nothing for 0."""
    return f"assuming that sessions differ by {spread_percent(spread)} %" if spread else ""


def spread_percent(spread: float) -> str:
    """Return a spread in percent without its sign: two digits below 10, whole above, where two print 1e+02."""
    return f"{100 * spread:{'.0f' if spread >= 0.1 else '.2g'}}"
