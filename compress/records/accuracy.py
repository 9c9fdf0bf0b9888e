"""Accuracy of one model on the test split, and what the figures of one must be."""

import math
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field

from compress.records.fields import Name, Positive, Quantity, Several
from compress.records.rules import UNITS, Ordered, Unit, near
from compress.records.stats import Estimate

MOST_EXAMPLES = 10_000_000


@dataclass(frozen=True)
class Accuracy:
    """A metric on the test split, and its paired difference to the verdict's reference."""

    metric: Name
    estimate: Ordered
    higher_is_better: bool
    chance: Quantity | None
    """The metric of the best constant answer, for perplexity of a uniform guess over the vocabulary; None where the
    metric has no such floor."""
    finite: bool
    """False when any output was not finite."""
    reference: Name | None = None
    delta: Ordered | None = None
    """Ours minus the reference's: in the metric's own unit, or relative to the reference's value (`unit`)."""
    mcnemar_p: Quantity | None = None
    flip_rate: Quantity | None = None
    """Fraction of examples answered differently from the reference."""
    bits_per_byte: Quantity | None = None
    batch_size: Several | None = None
    order: str | None = None
    batch_sensitivity: Quantity | None = None
    """Fraction of answers that differ between batch 1 and batch 32; None where activations are not dynamic."""
    right: Annotated[str, Field(max_length=MOST_EXAMPLES, pattern="^[0-9a-f]+$")] | None = None
    """Which examples were answered rightly: a hexadecimal number whose lowest bit is the first example."""
    unit: Unit | None = None
    """points: `delta` is a difference, a point is a hundredth of `scale`; percent: it is relative. None: a difference
    in a unit that older versions did not record."""
    scale: Positive = 1.0
    """The whole that points are hundredths of: 1 for a fraction, 100 for BLEU."""
    variant: str | None = None
    """Which of its forms a metric took on this test split: F1 of one class, or the mean over several."""
    over_chance: Estimate | None = None
    """Of the reference of verdicts: its metric less that of the best constant answer, on the same examples. None for
    others, for metrics without such an answer, and in results of versions that did not compare them."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Field -> why it is None; `estimate` and `interval`: why its value or interval is not known; `over_chance`: why
    the test split cannot show it."""

    def __post_init__(self) -> None:
        """Results of older versions: the unit follows from the metric, or from a direction that was relative."""
        if self.unit is None:
            object.__setattr__(self, "unit", UNITS.get(self.metric, None if self.higher_is_better else "percent"))

    @property
    def known(self) -> bool:
        """Whether the metric has a value on this test split."""
        return self.finite and math.isfinite(self.estimate.value)


def _known(accuracy: Accuracy) -> Accuracy:
    """Return an accuracy whose figures are numbers where the outputs were, or which says why its value is none.

    Raises ValueError for another.
    """
    undefined = math.isnan(accuracy.estimate.value) and "estimate" in accuracy.reasons
    for name, estimate in (
        ("estimate", accuracy.estimate),
        ("delta", accuracy.delta),
        ("over_chance", accuracy.over_chance),
    ):
        if estimate is None or not accuracy.finite or (undefined and estimate is accuracy.estimate):
            continue
        if not math.isfinite(estimate.value):
            raise ValueError(f"{name}.value is {estimate.value!r}; expected a finite number")
        if math.isnan(estimate.low) or math.isnan(estimate.high):
            raise ValueError(f"the interval of {name} is NaN; expected numbers")
        near(name, estimate)
    relative = UNITS.get(accuracy.metric) == "percent"
    if accuracy.metric in UNITS and accuracy.higher_is_better == relative:
        raise ValueError(f"higher_is_better is {relative}; expected {not relative} of {accuracy.metric}")
    n = accuracy.estimate.n
    if accuracy.right is not None and (n > MOST_EXAMPLES or int(accuracy.right, 16) >> n):
        raise ValueError(f"n is {n} examples; expected {MOST_EXAMPLES} at most, and no fewer than right has bits")
    return accuracy


Judged = Annotated[Accuracy, AfterValidator(_known)]
"""An accuracy whose figures are numbers where the outputs were."""
