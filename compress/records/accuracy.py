"""Accuracy of one model on the test split, and checks of its figures."""

import math
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, Field

from compress.base.limits import Unit
from compress.records.fields import FARTHEST, Count, Name, Positive, Quantity, Several
from compress.records.rules import OF_ERRORS, UNITS, Ordered, near
from compress.records.stats import Estimate

MOST_EXAMPLES = 10_000_000
Near = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]


@dataclass(frozen=True)
class SeedAccuracy:
    """The metric of the model made with one seed, and its difference from the verdict reference; None if unknown."""

    seed: Count
    value: Near | None
    delta: Near | None = None


@dataclass(frozen=True)
class Accuracy:
    """A metric on the test split, and its paired difference from the verdict reference.

    Of a recipe with several seeds, the values are those of the stored artifact, made with the first seed. The intervals
    then cover the metric of the recipe's model made with any other seed (see `compress.analysis.seeds`).
    """

    metric: Name
    estimate: Ordered
    higher_is_better: bool
    chance: Quantity | None
    """Metric of the best constant prediction; for perplexity, of a uniform guess over the vocabulary. None if the
    metric has no such floor."""
    finite: bool
    """False if any output was not finite."""
    reference: Name | None = None
    delta: Ordered | None = None
    """Metric of this model minus the reference's: in the metric's unit, or relative to the reference (see `unit`)."""
    mcnemar_p: Quantity | None = None
    flip_rate: Quantity | None = None
    """Fraction of examples with another prediction than the reference."""
    bits_per_byte: Quantity | None = None
    batch_size: Several | None = None
    order: str | None = None
    batch_sensitivity: Quantity | None = None
    """Fraction of predictions that differ between batch 1 and batch 32; None if activations are not dynamic."""
    right: Annotated[str, Field(max_length=MOST_EXAMPLES, pattern="^[0-9a-f]+$")] | None = None
    """Correctly predicted examples: a hexadecimal number whose lowest bit is the first example."""
    unit: Unit | None = None
    """points: `delta` is a difference, and a point is a hundredth of `scale`. percent: `delta` is relative. None: a
    difference in a unit that older versions did not record."""
    scale: Positive = 1.0
    """Full scale of the metric: 1 for a fraction, 100 for BLEU."""
    variant: str | None = None
    """Variant of the metric on this test split: F1 of one class, or the mean over several; how examples are
    scored, such as the windows of a perplexity."""
    over_chance: Estimate | None = None
    """Only for the verdict reference: its metric minus that of the best constant prediction, on the same examples. None
    for other models, for metrics without such a prediction, and in results of older versions."""
    seeds: tuple[SeedAccuracy, ...] = ()
    """One entry per seed of the recipe, the first being that of the artifact; empty for a recipe with one seed."""
    seed_spread: Near | None = None
    """Standard deviation of the metric over the seeds; None for a single seed, or if a value is unknown."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Field -> reason why it is None; `estimate` and `interval`: why the value or interval is unknown; `over_chance`:
    why the test split cannot show it."""

    def __post_init__(self) -> None:
        """Set the unit that older versions did not record: from the metric, or percent if lower is better."""
        if self.unit is None:
            object.__setattr__(self, "unit", UNITS.get(self.metric, None if self.higher_is_better else "percent"))

    @property
    def known(self) -> bool:
        """Whether the metric has a value on this test split."""
        return self.finite and math.isfinite(self.estimate.value)


def _checked(accuracy: Accuracy) -> Accuracy:
    """Return the accuracy if its figures are valid.

    Raises ValueError for a figure that is not finite although the outputs were, unless `reasons` explains the missing
    estimate. Also for figures that are too large, a wrong direction, and `right` with more bits than examples.
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
    seeds = {entry.seed for entry in accuracy.seeds}
    if len(seeds) < len(accuracy.seeds) or len(seeds) == 1:
        raise ValueError(f"{len(accuracy.seeds)} entries in seeds; expected none, or two and more of different seeds")
    if accuracy.seed_spread is not None and accuracy.seed_spread < 0:
        raise ValueError(f"seed_spread is {accuracy.seed_spread!r}; expected a standard deviation of at least 0")
    of_errors = accuracy.metric in OF_ERRORS
    if accuracy.metric in UNITS and accuracy.higher_is_better == of_errors:
        raise ValueError(f"higher_is_better is {of_errors}; expected {not of_errors} for {accuracy.metric}")
    n = accuracy.estimate.n
    if accuracy.right is not None and (n > MOST_EXAMPLES or int(accuracy.right, 16) >> n):
        raise ValueError(f"n is {n} examples; expected {MOST_EXAMPLES} at most, and one for each bit of right")
    return accuracy


Judged = Annotated[Accuracy, AfterValidator(_checked)]
"""An accuracy with checked figures."""
