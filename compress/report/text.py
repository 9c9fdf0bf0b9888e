"""Formatting of figures for people: value, unit, and interval in parentheses.

Input is in SI units, and output in ms, mJ and MB. `~` and two digits mark modelled figures; a dash marks unknown ones.
"""

import math
import re

from compress.analysis.loss import difference as loss_difference
from compress.analysis.loss import form as loss_form
from compress.analysis.loss import margin_words, within
from compress.analysis.sentence import assumption, end, spread_percent
from compress.records.generation import Generation
from compress.records.phase import INFERENCE
from compress.records.result import Accuracy, BreakEven, Point, Reference, Result
from compress.records.stats import Estimate

DASH = "—"
UNADJUSTED = "word and interval are for this recipe alone"
"""Note on a verdict that is stated without other recipes."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")

Lines = tuple[str, ...]
"""A cell: the value, then its interval, joined by a space or a line break depending on the width."""


def joined(cell: Lines) -> str:
    """Return a cell on one line."""
    return " ".join(cell)


def adjustment(recipes: int) -> str:
    """Return the note on a verdict's word and interval in a table of so many recipes."""
    return f"word and interval are adjusted for the {recipes} recipes of its table" if recipes > 1 else UNADJUSTED


def plain(value: object) -> str:
    """Return one line without control characters: no terminal escapes, line breaks or reversed writing direction."""
    return _CONTROL.sub(" ", str(value)).strip()


def markdown(value: object) -> str:
    """Return one line that Markdown renders literally: tables, code, links, emphasis and HTML are escaped."""
    line = plain(value).replace("&", "&amp;").replace("<", "&lt;")
    line = re.sub(r"^>", "&gt;", line)  # elsewhere it has no meaning
    line = re.sub(r"([\\`*|\[\]])", r"\\\1", line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)


def digits(value: float, count: int = 3) -> str:
    """Return `value` with `count` significant digits, without an exponent down to 1e-5: 12.3, 0.0456, 1,230."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "nan"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{count - 1}e}"))))
    if exponent < -5:
        return f"{value:.{count - 1}e}"
    return f"{round(value, count - 1 - exponent):,.{max(0, count - 1 - exponent)}f}"


def spread(low: float, high: float, count: int = 3) -> str:
    """Return `(low to high)`, or `(no interval)`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "(no interval)"
    return f"({digits(low, count)} to {digits(high, count)})"


def trainings(result: Result) -> str:
    """Return the range of the metric over the recipe's seeds: `3 trainings: 0.842 to 0.851`; empty for one seed."""
    accuracy = result.accuracy
    if accuracy is None or not accuracy.seeds:
        return ""
    trains = any(step.get("method") == "distill" for step in result.recipe.get("steps", ()))
    counted = f"{len(accuracy.seeds)} {'trainings' if trains else 'seeds'}"
    values = [entry.value for entry in accuracy.seeds if entry.value is not None]
    lost = len(accuracy.seeds) - len(values)
    unknown = f" ({accuracy.metric} is unknown for {lost})" if lost else ""
    return f"{counted}: {min(values):.4g} to {max(values):.4g}{unknown}" if values else f"{counted}{unknown}"


def of_artifact(accuracy: Accuracy) -> str:
    """Return ` of seed 0` for a figure of the artifact alone, if the recipe has several seeds; otherwise nothing."""
    return f" of seed {accuracy.seeds[0].seed}" if accuracy.seeds else ""


def seeds(result: Result) -> str:
    """Return the recipe's seeds: `seed 0`, or `seeds 0, 1, 2`."""
    several = result.recipe.get("seeds") or ()
    return f"seeds {', '.join(map(str, several))}" if several else f"seed {result.seed}"


def latency(estimate: Estimate | None) -> Lines:
    """Return a latency in milliseconds."""
    return _scaled(estimate, 1e3, "ms")


def energy(estimate: Estimate | None, source: str | None) -> Lines:
    """Return an energy in millijoules.

    Modelled energy has `~`, two digits and no interval, which would only reflect the noise of the clock.
    """
    if estimate is not None and source == "modelled":
        return (f"~{digits(1e3 * estimate.value, 2)} mJ",)
    return _scaled(estimate, 1e3, "mJ")


def ratio(estimate: Estimate | None) -> Lines:
    """Return a ratio, ours divided by the reference's."""
    return _scaled(estimate, 1, "")


def _scaled(estimate: Estimate | None, scale: float, unit: str) -> Lines:
    if estimate is None:
        return (DASH,)
    value = f"{digits(scale * estimate.value)} {unit}".rstrip()
    return (value, spread(scale * estimate.low, scale * estimate.high))


def megabytes(size_bytes: int | None, reference_bytes: int | None = None) -> Lines:
    """Return a size in megabytes of 1,000,000 bytes, and its ratio to the reference's."""
    if size_bytes is None:
        return (DASH,)
    value = f"{digits(size_bytes / 1e6)} MB"
    return (value, f"({digits(size_bytes / reference_bytes, 2)}x)") if reference_bytes else (value,)


def metric(accuracy: Accuracy | None) -> Lines:
    """Return the metric with its interval."""
    if accuracy is None:
        return (DASH,)
    if not math.isfinite(accuracy.estimate.value):
        return ("unknown",)
    return (digits(accuracy.estimate.value, 4), spread(accuracy.estimate.low, accuracy.estimate.high))


def share(odds: float) -> str:
    """Return a share of resamples in percent; neither none nor all of them is rounded to."""
    return "<1 %" if 0 < odds < 0.005 else ">99 %" if 0.995 <= odds < 1 else f"{100 * odds:.0f} %"


def differing(fraction: float) -> str:
    """Return the share of answers that differ between two batch sizes; `none` for 0, and no other one prints as 0."""
    if fraction == 0:
        return "none"
    return f"{100 * fraction:.1f} %" if fraction >= 0.0005 else f"{100 * fraction:.1g} %"


def difference(accuracy: Accuracy | None, margin: float | None = None) -> Lines:
    """Return the paired difference to the reference, in the metric's unit; then whether it is shown within `margin`."""
    delta = None if accuracy is None else loss_difference(accuracy)
    if accuracy is None or delta is None:
        return (DASH,)
    scale, form, unit = loss_form(accuracy)
    return (
        f"{scale * delta.value:+{form}} {unit}".rstrip(),
        signed_spread(scale * delta.low, scale * delta.high, form),
        *((f"within {margin_words(margin, accuracy)}",) if margin is not None and within(accuracy, margin) else ()),
    )


def signed_spread(low: float, high: float, form: str) -> str:
    """Return `(+low to +high)`, or `(no interval)`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "(no interval)"
    return f"({end(low, '+' + form)} to {end(high, '+' + form)})"


def count(value: float) -> str:
    """Return a count with three digits: 950, 12.3 k, 4.56 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{digits(value / (1e3 if unit == ' k' else limit))}{unit}"
    return f"{math.ceil(value):,}" if math.isfinite(value) else "∞"


def breakeven(even: BreakEven | None, example: str = INFERENCE) -> Lines:
    """Return the inferences until break-even and the unit, `never` if it costs more, or a dash if unknown.

    `example` is the name of what is counted, if it is no inference and no title names it.
    """
    counted = "" if example == INFERENCE else f"{example}s "
    if even is not None and even.at_most is not None:
        return (f"at most {count(even.at_most)} {counted}by energy",)
    if even is None or even.inferences is None:
        return ("never",) if even and even.reason and even.reason.startswith("never") else (DASH,)
    unit = {"joules": "by energy", "seconds": "by time"}[even.unit or "seconds"]
    return (
        f"{count(even.inferences.value)} {counted}{unit}",
        f"({count(even.inferences.low)} to {count(even.inferences.high)})",
    )


def example_of(row: Result | Reference) -> str:
    """Return what an example is at the headline point of a row: an inference, of language models a generated token."""
    return INFERENCE if row.headline is None else row.headline.example


def breakeven_words(even: BreakEven, example: str = INFERENCE) -> str:
    """Return a break-even on one line, with what its interval includes; or the reason why it is unknown."""
    if even.reason is not None:
        return even.reason
    spread = assumption(even.session_spread or 0.0)
    words = joined(breakeven(even, example))
    return words + (f", {spread}" if spread else "") + (f"; {even.note}" if even.note else "")


def session_spread(point: Point, reference: str) -> str:
    """Return how much the ratios to a reference differ between sessions, as standard deviations; empty for one."""
    ratio = point.ratio(reference)
    spreads = [] if ratio is None else [("latency", ratio.session_spread), ("energy", ratio.session_spread_energy)]
    known = [
        f"{spread_percent(spread)} % of the {axis} ratio" if spread else f"no more than rounds in the {axis} ratio"
        for axis, spread in spreads
        if spread is not None
    ]
    return f"{' and '.join(known)}, standard deviation over {point.sessions} sessions" if known else ""


def generation(figures: Generation) -> Lines:
    """Return the share of changed continuations with its interval and first changed token, and the repetition."""
    repeated = f"{100 * figures.repetition:.0f} % of 4-grams repeated"
    changed, reference = figures.changed, figures.reference_repetition
    if changed is None or reference is None:
        return (repeated,)
    first = "" if figures.first_changed is None else f", first at token {figures.first_changed:g} (median)"
    return (
        f"{100 * changed.value:.0f} % of {figures.prompts} continuations of {figures.new_tokens} tokens changed "
        f"{spread(100 * changed.low, 100 * changed.high, 2)}{first}",
        f"{repeated} ({100 * reference:.0f} % in those of {figures.reference})",
    )


def first_line(result: Result) -> str:
    """Return the error of a failed recipe on one line, without its traceback."""
    return plain(result.reason)
