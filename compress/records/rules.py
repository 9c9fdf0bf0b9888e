"""Rules for the figures of a result file: units of metrics; order, sign and range of estimates."""

import math
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from compress.base.limits import Unit
from compress.records.fields import FARTHEST, LARGE
from compress.records.stats import Estimate

UNITS: dict[str, Unit] = {
    "accuracy": "points",
    "f1": "points",
    "matthews_correlation": "points",
    "perplexity": "percent",
    "entity_f1": "points",
    "token_accuracy": "points",
    "spearman": "points",
    "pearson": "points",
    "mse": "percent",
    "mrr": "points",
    "ndcg_at_10": "points",
    "recall_at_10": "points",
    "recall_at_100": "points",
    "f1_micro": "points",
    "f1_macro": "points",
    "average_precision": "points",
    "exact_match": "points",
    "bleu": "points",
    "chrf": "points",
    "rouge_1": "points",
    "rouge_2": "points",
    "rouge_l": "points",
    "wer": "points",
    "cer": "points",
    "map": "points",
    "mean_iou": "points",
}
"""Built-in metric -> unit of its differences."""
OF_ERRORS = ("perplexity", "mse", "wer", "cer")
"""Built-in metrics of which smaller values are better."""
SCALES = {"bleu": 100.0, "chrf": 100.0}
"""Built-in metric -> the value that points are hundredths of, if it is not 1."""
MOST_ROUNDS = 1000
ROUNDING = 1e-9
"""Relative tolerance for a value outside of its interval."""


def _check_order(estimate: Estimate) -> Estimate:
    """Return the estimate if its value lies in its interval, up to rounding. Raises ValueError otherwise."""
    if not math.isfinite(estimate.value):
        return estimate  # other rules decide whether it may be infinite or NaN
    for less, more in ((estimate.low, estimate.value), (estimate.value, estimate.high)):
        if less > more and not math.isclose(less, more, rel_tol=ROUNDING):
            raise ValueError(
                f"value is {estimate.value!r}, its interval {estimate.low!r} to {estimate.high!r}; expected low, value "
                "and high in this order"
            )
    return estimate


def _check_rounds(estimate: Estimate) -> Estimate:
    """Return the estimate if it is of a number of rounds that a session can have. Raises ValueError otherwise."""
    if not 1 <= estimate.n <= MOST_ROUNDS:
        raise ValueError(f"n is {estimate.n}; expected 1 to {MOST_ROUNDS} rounds")
    return estimate


def _check_positive(estimate: Estimate) -> Estimate:
    """Return the estimate if its value is positive. Raises ValueError otherwise.

    Its interval has numbers of at least 0, or no end on either side: a single observation shows no interval.
    """
    if not 1 / LARGE <= estimate.value <= LARGE:
        raise ValueError(f"value is {estimate.value!r}; expected a finite number above 0")
    endless = (estimate.low, estimate.high) == (-math.inf, math.inf)
    if not endless and not (0 <= estimate.low <= LARGE and estimate.high >= 0):
        raise ValueError(
            f"its interval is {estimate.low!r} to {estimate.high!r}; expected numbers of at least 0, or -inf to inf"
        )
    return _check_order(estimate)


def near(name: str, estimate: Estimate) -> None:
    """Raise ValueError for finite figures so large that arithmetic with them overflows."""
    for number in (estimate.value, estimate.low, estimate.high):
        if FARTHEST < abs(number) < math.inf:
            raise ValueError(f"{name} has {number!r}; expected numbers from {-FARTHEST:g} to {FARTHEST:g}")


def _check_inferences(estimate: Estimate) -> Estimate:
    """Return the estimate of inferences if its value is finite and at least 0. Raises ValueError otherwise."""
    if not (0 <= estimate.value < math.inf and min(estimate.low, estimate.high) >= 0):
        raise ValueError(f"value is {estimate.value!r}, from {estimate.low!r} to {estimate.high!r}; expected a finite "
                         "number of at least 0")  # fmt: skip
    near("it", estimate)
    return _check_order(estimate)


def _check_bounds(estimate: Estimate) -> Estimate:
    """Return the estimate of either sign if its value is finite and in range. Raises ValueError otherwise."""
    if not abs(estimate.value) <= LARGE:
        raise ValueError(f"value is {estimate.value!r}; expected a finite number")
    near("it", estimate)
    return _check_order(estimate)


def _of_number(value: object) -> object:
    """Return a number of schema 1 as an estimate of unknown interval, and anything else unchanged."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return Estimate(float(value), -math.inf, math.inf, 1)


Bare = BeforeValidator(_of_number)
"""Reads a number without an interval, as schema 1 stores some figures."""
Bounded = Annotated[Estimate, AfterValidator(_check_bounds)]
"""An estimate over rounds of either sign."""
OfBatches = Annotated[Estimate, AfterValidator(_check_positive)]
"""An estimate of seconds over batches: above 0."""
OfRounds = Annotated[Estimate, AfterValidator(_check_positive), AfterValidator(_check_rounds)]
"""An estimate of seconds, joules or a ratio over rounds: above 0."""
Ordered = Annotated[Estimate, AfterValidator(_check_order)]
"""An estimate whose value lies in its interval."""
Inferences = Annotated[Estimate, AfterValidator(_check_inferences)]
"""An estimate of a number of inferences; its upper edge may be infinite."""
