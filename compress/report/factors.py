"""Ratios to the reference as factors: a latency of 0.451 times the reference's is `2.2x faster`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from compress.analysis.verdict import Axis
from compress.records.stats import Estimate
from compress.report.text import Lines, digits, spread


@dataclass(frozen=True)
class Words:
    """Words of a factor, as in `takes 2.2x less energy than fp32 eager`."""

    verb: str
    less: str
    more: str
    noun: str = ""


SPEED = Words("is", "faster", "slower")
ENERGY = Words("takes", "less", "more", "energy")
SIZE = Words("is", "smaller", "larger")
MEMORY = Words("takes", "less", "more", "memory")
BY_AXIS: Mapping[Axis, Words] = {"latency": SPEED, "energy": ENERGY}
"""Axis of a table -> the words of its cost."""


def reciprocal(ratio: Estimate) -> Estimate:
    """Return the factor of a ratio: above 1 is a saving. An end is infinite if the ratio's interval reaches 0."""
    value, low, high = (1 / edge if edge > 0 else math.inf for edge in (ratio.value, ratio.high, ratio.low))
    return Estimate(value, low, high, ratio.n)


def factor(ratio: Estimate, words: Words) -> Lines:
    """Return a ratio as a factor and its interval: `2.2x faster`, `(2.19 to 2.25)`; an exact 1 is `1x`."""
    exact = ratio.low == ratio.value == ratio.high
    saves = ratio.value < 1
    shown = reciprocal(ratio) if saves else ratio
    times = digits(shown.value, 3 if shown.value < 2 else 2)
    if exact and times == "1.00":
        return ("1x",)
    value = f"{times}x {words.less if saves else words.more}"
    return (value,) if exact else (value, spread(shown.low, shown.high))
