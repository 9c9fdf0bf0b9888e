"""Formatting of figures for people: value, unit, and interval in parentheses.

Input is in SI units, and output in ms, mJ and MB. `~` and two digits mark modelled figures; a dash marks unknown ones.
"""

import math
import re

from compress.analysis.loss import difference as loss_difference
from compress.analysis.loss import form as loss_form
from compress.records.result import Accuracy, BreakEven, Result
from compress.records.stats import Estimate

DASH = "—"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")

Lines = tuple[str, ...]
"""A cell: the value, then its interval, joined by a space or a line break depending on the width."""


def joined(cell: Lines) -> str:
    """Return a cell on one line."""
    return " ".join(cell)


def plain(value: object) -> str:
    """Return one line without control characters: no terminal escapes, line breaks or reversed writing direction."""
    return _CONTROL.sub(" ", str(value)).strip()


def markdown(value: object) -> str:
    """Return one line that Markdown renders literally: tables, code, links, emphasis and HTML are escaped."""
    line = plain(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
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


def difference(accuracy: Accuracy | None) -> Lines:
    """Return the paired difference to the reference, in the metric's unit (points or percent)."""
    delta = None if accuracy is None else loss_difference(accuracy)
    if accuracy is None or delta is None:
        return (DASH,)
    scale, form, unit = loss_form(accuracy)
    return (
        f"{scale * delta.value:+{form}} {unit}".rstrip(),
        signed_spread(scale * delta.low, scale * delta.high, form),
    )


def signed_spread(low: float, high: float, form: str) -> str:
    """Return `(+low to +high)`, or `(no interval)`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "(no interval)"
    return f"({low:+{form}} to {high:+{form}})"


def count(value: float) -> str:
    """Return a count with three digits: 950, 12.3 k, 4.56 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{digits(value / (1e3 if unit == ' k' else limit))}{unit}"
    return f"{math.ceil(value):,}" if math.isfinite(value) else "∞"


def breakeven(even: BreakEven | None) -> Lines:
    """Return the inferences until break-even and the unit, `never` if it costs more, or a dash if unknown."""
    if even is not None and even.at_most is not None:
        return (f"at most {count(even.at_most)} by energy",)
    if even is None or even.inferences is None:
        return ("never",) if even and even.reason and even.reason.startswith("never") else (DASH,)
    unit = {"joules": "by energy", "seconds": "by time"}[even.unit or "seconds"]
    return (
        f"{count(even.inferences.value)} {unit}",
        f"({count(even.inferences.low)} to {count(even.inferences.high)})",
    )


def breakeven_words(even: BreakEven) -> str:
    """Return a break-even on one line, with its note; or the reason why it is unknown."""
    return even.reason or joined(breakeven(even)) + (f"; {even.note}" if even.note else "")


def first_line(result: Result) -> str:
    """Return the error of a failed recipe on one line, without its traceback."""
    return plain(result.reason)
