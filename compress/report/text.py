"""Figures as people read them: value, unit, interval in parentheses. SI comes in; ms, mJ and MB go out.

`~` and two digits mark what is only modelled; a dash marks what is not known.
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
"""A cell: the value, then its interval; joined by a space or a line break, as there is room."""


def joined(cell: Lines) -> str:
    """A cell on one line."""
    return " ".join(cell)


def plain(value: object) -> str:
    """One line of text without control characters: no terminal escapes, no line breaks, no reversed writing."""
    return _CONTROL.sub(" ", str(value)).strip()


def markdown(value: object) -> str:
    """One line that markdown prints as it is: no tables, code, links, emphasis or HTML of its own."""
    line = plain(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*|\[\]])", r"\\\1", line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)


def digits(value: float, count: int = 3) -> str:
    """`value` to so many significant digits, never in exponents where people read on: 12.3, 0.0456, 1,230."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "nan"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{count - 1}e}"))))
    if exponent < -5:
        return f"{value:.{count - 1}e}"
    return f"{round(value, count - 1 - exponent):,.{max(0, count - 1 - exponent)}f}"


def spread(low: float, high: float, count: int = 3) -> str:
    """`(low to high)`, or that there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "(no interval)"
    return f"({digits(low, count)} to {digits(high, count)})"


def latency(estimate: Estimate | None) -> Lines:
    """Milliseconds."""
    return _scaled(estimate, 1e3, "ms")


def energy(estimate: Estimate | None, source: str | None) -> Lines:
    """Millijoules; modelled ones with `~`, two digits and no interval: theirs would be the noise of the clock."""
    if estimate is not None and source == "modelled":
        return (f"~{digits(1e3 * estimate.value, 2)} mJ",)
    return _scaled(estimate, 1e3, "mJ")


def ratio(estimate: Estimate | None) -> Lines:
    """Ours divided by the reference's."""
    return _scaled(estimate, 1, "")


def _scaled(estimate: Estimate | None, scale: float, unit: str) -> Lines:
    if estimate is None:
        return (DASH,)
    value = f"{digits(scale * estimate.value)} {unit}".rstrip()
    return (value, spread(scale * estimate.low, scale * estimate.high))


def megabytes(size_bytes: int | None, reference_bytes: int | None = None) -> Lines:
    """Megabytes of 1,000,000 bytes, and the ratio to the reference's."""
    if size_bytes is None:
        return (DASH,)
    value = f"{digits(size_bytes / 1e6)} MB"
    return (value, f"({digits(size_bytes / reference_bytes, 2)}x)") if reference_bytes else (value,)


def metric(accuracy: Accuracy | None) -> Lines:
    """The metric itself with its interval."""
    if accuracy is None:
        return (DASH,)
    if not math.isfinite(accuracy.estimate.value):
        return ("unknown",)
    return (digits(accuracy.estimate.value, 4), spread(accuracy.estimate.low, accuracy.estimate.high))


def difference(accuracy: Accuracy | None) -> Lines:
    """The paired difference to the reference, in points or percent as the metric is compared."""
    delta = None if accuracy is None else loss_difference(accuracy)
    if accuracy is None or delta is None:
        return (DASH,)
    scale, form, unit = loss_form(accuracy)
    return (
        f"{scale * delta.value:+{form}} {unit}".rstrip(),
        signed_spread(scale * delta.low, scale * delta.high, form),
    )


def signed_spread(low: float, high: float, form: str) -> str:
    """`(+low to +high)`, or that there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "(no interval)"
    return f"({low:+{form}} to {high:+{form}})"


def count(value: float) -> str:
    """A count to three digits: 950, 12.3 k, 4.56 M."""
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if value >= limit:
            return f"{digits(value / (1e3 if unit == ' k' else limit))}{unit}"
    return f"{math.ceil(value):,}" if math.isfinite(value) else "∞"


def breakeven(even: BreakEven | None) -> Lines:
    """Inferences until compressing has paid back, and in what; a dash where it never does or nobody knows."""
    if even is not None and even.at_most is not None:
        return (f"at most {count(even.at_most)} by energy",)
    if even is None or even.inferences is None:
        return ("never",) if even and even.reason and even.reason.startswith("never") else (DASH,)
    what = {"joules": "by energy", "seconds": "by time"}[even.unit or "seconds"]
    return (
        f"{count(even.inferences.value)} {what}",
        f"({count(even.inferences.low)} to {count(even.inferences.high)})",
    )


def first_line(result: Result) -> str:
    """What went wrong with a failed recipe, without the rest of its trace."""
    return plain(result.reason)
