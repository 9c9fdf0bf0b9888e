"""Rules that the figures of a result file must keep: units of metrics; order, sign and range of estimates."""

import math
from typing import Annotated, Literal

from pydantic import AfterValidator

from compress.records.fields import FARTHEST, LARGE
from compress.records.stats import Estimate

Unit = Literal["points", "percent"]
UNITS: dict[str, Unit] = {
    "accuracy": "points",
    "f1": "points",
    "matthews_correlation": "points",
    "perplexity": "percent",
}
"""What differences of the metrics that come along are in."""
MOST_ROUNDS = 1000
ROUNDING = 1e-9
"""By which an interval's edge may pass its value, relative."""


def _ordered(estimate: Estimate) -> Estimate:
    """Return an estimate whose value lies in its interval, rounding apart. Raises ValueError for another."""
    if not math.isfinite(estimate.value):
        return estimate  # whoever knows whether it may be so says it
    for less, more in ((estimate.low, estimate.value), (estimate.value, estimate.high)):
        if less > more and not math.isclose(less, more, rel_tol=ROUNDING):
            raise ValueError(
                f"value is {estimate.value!r}, its interval {estimate.low!r} to {estimate.high!r}; expected low, value "
                "and high in this order"
            )
    return estimate


def _positive(estimate: Estimate) -> Estimate:
    """Return an estimate of what is never 0 or less, from a number of rounds. Raises ValueError for another."""
    if not 1 / LARGE <= estimate.value <= LARGE:
        raise ValueError(f"value is {estimate.value!r}; expected a finite number over 0")
    if not (0 <= estimate.low <= LARGE or estimate.low == -math.inf) or not estimate.high >= 0:
        raise ValueError(f"its interval is {estimate.low!r} to {estimate.high!r}; expected numbers from 0 on")
    if not 1 <= estimate.n <= MOST_ROUNDS:
        raise ValueError(f"n is {estimate.n}; expected 1 to {MOST_ROUNDS} rounds")
    return _ordered(estimate)


def near(name: str, estimate: Estimate) -> None:
    """Raises ValueError for figures that are finite and so large that arithmetic on them is not."""
    for figure in (estimate.value, estimate.low, estimate.high):
        if FARTHEST < abs(figure) < math.inf:
            raise ValueError(f"{name} has {figure!r}; expected numbers from {-FARTHEST:g} to {FARTHEST:g}")


def _repaid(estimate: Estimate) -> Estimate:
    """Return an estimate of inferences. Raises ValueError for one that is not a finite number from 0 on."""
    if not (0 <= estimate.value < math.inf and min(estimate.low, estimate.high) >= 0):
        raise ValueError(f"value is {estimate.value!r}, from {estimate.low!r} to {estimate.high!r}; expected a finite "
                         "number from 0 on")  # fmt: skip
    near("it", estimate)
    return _ordered(estimate)


OfRounds = Annotated[Estimate, AfterValidator(_positive)]
"""Seconds, joules or a ratio, over rounds: above 0."""
Ordered = Annotated[Estimate, AfterValidator(_ordered)]
"""An estimate whose value lies in its interval."""
Inferences = Annotated[Estimate, AfterValidator(_repaid)]
"""A number of inferences, with an interval that may have no upper end."""
