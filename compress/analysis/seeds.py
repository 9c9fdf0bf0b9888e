"""Intervals of accuracy that cover the choice of the training seed.

A recipe with seeds 0, 1, 2 is made three times; the model of the first seed is the artifact. Its metric x with an
interval over examples is uncertain as a statement on the recipe in two ways:

    examples    another test split of this size         half-width h, per side
    seed        another training by the same recipe     s, the standard deviation of the metric over the k seeds

    half-width = hypot(h, t_{k-1} sqrt(2) s)

The interval covers the metric that the same recipe reaches with another seed, on the population of examples. Two
trainings differ by sqrt(2) times the standard deviation of one, since the artifact is itself a random draw; t_{k-1} is
Student's quantile for a standard deviation from k values. Without sqrt(2), coverage falls to 88 % where the seed
dominates (`tests/analysis/test_seeds.py` simulates both). Examples and seed are taken as independent. s contains the
sampling error in which the trainings differ, which errs on the wide side.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compress.records import stats
from compress.records.accuracy import Accuracy, SeedAccuracy
from compress.records.stats import Estimate

RANGES = {
    **dict.fromkeys(("accuracy", "f1", "entity_f1", "token_accuracy", "exact_match"), (0.0, 1.0)),
    **dict.fromkeys(("f1_micro", "f1_macro", "average_precision", "mrr", "ndcg_at_10"), (0.0, 1.0)),
    **dict.fromkeys(("map", "mean_iou"), (0.0, 1.0)),
    **dict.fromkeys(("recall_at_10", "recall_at_100"), (0.0, 1.0)),
    **dict.fromkeys(("matthews_correlation", "spearman", "pearson"), (-1.0, 1.0)),
    "mse": (0.0, math.inf),
    "perplexity": (1.0, math.inf),
}
"""Metric -> its smallest and largest value, at which an interval ends."""
TWO = math.sqrt(2)
"""Standard deviation of the difference of two trainings, over that of one."""


@dataclass(frozen=True)
class Spread:
    """Standard deviation of a figure over the seeds of a recipe."""

    deviation: float
    seeds: int

    def half(self, comparisons: int = 1) -> float:
        """Return the half-width of the interval, valid jointly for this many comparisons (Bonferroni)."""
        confidence = 1 - (1 - stats.CONFIDENCE) / max(1, comparisons)
        return stats.t_quantile(self.seeds, confidence) * TWO * self.deviation

    def draws(self, generator: np.random.Generator, size: int) -> np.ndarray:
        """Draw differences between the artifact and another training, from the distribution of the interval. [size]"""
        return TWO * self.deviation * generator.standard_t(self.seeds - 1, size)


def over_seeds(own: Accuracy, seed: int, further: Sequence[SeedAccuracy], against: Spread | None = None) -> Accuracy:
    """Return the accuracy of an artifact made with `seed`, with intervals that cover the choice of the seed.

    `further`: the recipe's other seeds. `against`: spread of the difference that comes from the seeds of the model
    compared with. If the metric is unknown for a seed, the intervals are infinite, with the reason.
    """
    against_too = [] if against is None else [against]
    if not further:
        return own if own.delta is None else replace(own, delta=widened(own.delta, against_too))
    value = own.estimate.value if own.known else None
    made = replace(own, seeds=(SeedAccuracy(seed, value, own.delta.value if own.delta else None), *further))
    of_value, of_delta = spread_of([entry.value for entry in made.seeds]), spread(made)
    if value is None or of_value is None or of_delta is None:
        return made
    unknown = " and ".join(str(entry.seed) for entry in further if entry.value is None)
    reason = f"no interval: {own.metric} is unknown or outputs are not finite with seed {unknown}"
    fields = ("interval", *(["delta_interval"] if own.delta else [])) if unknown else ()
    low, high = RANGES.get(own.metric, (-math.inf, math.inf)) if not unknown else (-math.inf, math.inf)
    estimate = widened(own.estimate, [of_value])
    return replace(
        made,
        seed_spread=None if unknown else of_value.deviation,
        estimate=replace(estimate, low=max(low, estimate.low), high=min(high, estimate.high)),
        delta=None if own.delta is None else widened(own.delta, [of_delta, *against_too]),
        reasons={**own.reasons, **dict.fromkeys(fields, reason)},
    )


def spread_of(values: Sequence[float | None]) -> Spread | None:
    """Return the spread of a figure, one value per seed; None for fewer than two, infinite if one is unknown."""
    known = [value for value in values if value is not None]
    if len(values) < 2:
        return None
    return Spread(float(np.std(known, ddof=1)) if len(known) == len(values) else math.inf, len(values))


def spread(accuracy: Accuracy, scale: float = 1.0) -> Spread | None:
    """Return the spread of the difference to the reference, divided by `scale`; None for a recipe with one seed."""
    found = spread_of([entry.delta for entry in accuracy.seeds])
    return None if found is None else Spread(found.deviation / scale, found.seeds)


def jointly(estimate: Estimate, spreads: Sequence[Spread], comparisons: int) -> Estimate:
    """Return an estimate whose interval is valid jointly for this many comparisons (Bonferroni).

    Its part over examples grows like the normal quantile, the part of each spread like Student's.
    """
    factor = stats.joint_factor(comparisons)
    before = math.hypot(*(part.half() for part in spreads))
    after = math.hypot(*(part.half(comparisons) for part in spreads))

    def half(width: float) -> float:
        if not spreads:
            return factor * width
        return math.hypot(factor * math.sqrt(max(0.0, width * width - before * before)), after)

    low, high = half(estimate.value - estimate.low), half(estimate.high - estimate.value)
    return Estimate(estimate.value, estimate.value - low, estimate.value + high, estimate.n)


def jointly_changed(
    difference: Estimate, changed: tuple[int, int] | None, spreads: Sequence[Spread], comparisons: int
) -> Estimate:
    """Return the difference of a metric with an interval that is valid jointly for this many comparisons.

    `changed` are the answers that only one and only the other of the two models has right, where the metric is an
    accuracy: its interval is at least as wide as Tango's score interval, since a 95 % interval that is widened by a
    factor is too narrow with few changed answers.
    """
    wide = jointly(difference, spreads, comparisons)
    if changed is None:
        return wide
    score = stats.paired_difference(*changed, wide.n, 1 - (1 - stats.CONFIDENCE) / comparisons)
    seed = math.hypot(*(part.half(comparisons) for part in spreads))
    low, high = (math.hypot(edge - wide.value, seed) for edge in (score.low, score.high))
    return replace(wide, low=min(wide.low, wide.value - low), high=max(wide.high, wide.value + high))


def widened(estimate: Estimate, spreads: Sequence[Spread]) -> Estimate:
    """Return the estimate with these spreads added to its half-widths in quadrature."""
    seed = math.hypot(*(part.half() for part in spreads))
    down, up = (math.hypot(width, seed) for width in (estimate.value - estimate.low, estimate.high - estimate.value))
    return Estimate(estimate.value, estimate.value - down, estimate.value + up, estimate.n)
