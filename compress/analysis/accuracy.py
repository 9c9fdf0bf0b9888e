"""Accuracy of a model on a test split, and its paired difference to a reference model.

Outcomes are kept per example, so that two models are compared on the same examples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.analysis import chance, metrics
from compress.analysis.resampled import Columns, Resampled, bootstrap, difference, differing, relative_difference
from compress.analysis.soundness import unsound_reference
from compress.base.config import InputError
from compress.base.console import say
from compress.records import stats
from compress.records.fields import FARTHEST
from compress.records.result import Accuracy
from compress.records.stats import Estimate

if TYPE_CHECKING:
    pass

RESAMPLES = 1000
SLOW_RESAMPLES = 200  # for metrics that call a module for every resample
ANSWERS = ("prediction", "answer")
"""Outcomes that differ where two models answer an example differently."""
NO_MCNEMAR = {
    "match_1": "a generated text agrees with its references in part",
    "nll": "a language model's blocks have no single answer",
    "score": "scores are compared as numbers, not as right or wrong",
    "ndcg_at_10": "a query has an order of texts, which is not right or wrong",
    "labels": "the labels of an example are counted, not the example as right or wrong",
    "tp": "entities and words of an example are counted, not the example as right or wrong",
    "letter_errors": "errors of a transcript are counted, not the transcript as right or wrong",
    "intersection_0": "pixels of a picture are counted, not the picture as right or wrong",
    "objects_0": "boxes of a picture are compared by rank over all pictures, not the picture as right or wrong",
    "em": "an answer can overlap with a reference in part",
}
"""Outcome -> reason why no answer is right or wrong as a whole."""


@dataclass(frozen=True)
class Evaluation:
    """Per-example outcomes of one model, in the order of the split."""

    outcomes: Mapping[str, Sequence[float]]
    finite: bool
    batch_size: int
    order: str = "by length"
    outputs: int | None = None
    """Number of classes or tokens that the model chooses among; None if not recorded."""
    remark: str = ""
    """Note on the examples, for readers of the results."""


def check_reference(evaluation: Evaluation, name: str, metric: str, seed: int, warn: bool, protocol: str = "") -> None:
    """Check the outcomes of a reference model, and with `warn` warn if it does not do its task.

    Raises InputError if its outputs are not finite.
    """
    if not evaluation.finite:
        raise InputError("its outputs are not finite on this test split: nothing can be judged against it")
    if not warn:
        return
    if unsound := unsound_reference(summarise(evaluation, metric, None, None, seed, protocol=protocol), name):
        say(f"  WARNING: {unsound}; no verdict will be given")


def flips(ours: Evaluation, other: Evaluation) -> float | None:
    """Return the fraction of examples on which two models answer differently; None without discrete answers."""
    column = next((name for name in ANSWERS if name in ours.outcomes), None)
    if column is None:
        return None
    pairs = zip(ours.outcomes[column], other.outcomes[column], strict=True)
    return sum(a != b for a, b in pairs) / len(ours.outcomes[column])


def resamples(metric: str) -> int:
    """Return the number of resamples behind the intervals of a metric that is not an accuracy."""
    return RESAMPLES if metrics.is_quick(metric) else SLOW_RESAMPLES


def summarise(
    ours: Evaluation,
    metric: str,
    reference: Evaluation | None,
    reference_name: str | None,
    seed: int,
    batch_sensitivity: float | None = None,
    protocol: str = "",
) -> Accuracy:
    """Return the metric of a model with its interval, and its paired difference to the reference.

    `protocol` is how examples are scored, for readers of the metric.
    """
    settings = metrics.whole(metric, ours.outcomes, ours.outputs if "prediction" in ours.outcomes else None)
    resampled = _estimates(ours, metric, reference, seed, settings)
    reasons = dict(resampled.reasons)
    if "estimate" in reasons and (why := chance.undefined(ours.outcomes, metric)):
        reasons["estimate"] += f": {why}"
    p_value = flip_rate = over_chance = None
    constant = _constant(ours, metric, settings)
    if reference is None:
        reasons["delta"] = "this is the reference"
        over_chance, few = _over_chance(ours, metric, constant, seed, settings)
        reasons |= {"over_chance": few} if few else {}
    else:
        flip_rate = flips(ours, reference)
        if "prediction" in ours.outcomes:
            p_value = stats.sign_p(*stats.discordant(_correct(ours), _correct(reference)))
        else:
            why = next((reason for name, reason in NO_MCNEMAR.items() if name in ours.outcomes), "it has no answers")
            reasons |= {"mcnemar_p": why} | ({"flip_rate": why} if flip_rate is None else {})
    return Accuracy(
        metric=Path(metric).stem,
        estimate=resampled.estimate,
        higher_is_better=metrics.higher_is_better(metric),
        chance=_chance(ours, metric, settings, constant),
        finite=ours.finite,
        reference=reference_name,
        delta=resampled.delta,
        mcnemar_p=p_value,
        flip_rate=flip_rate,
        bits_per_byte=_bits_per_byte(ours),
        batch_size=ours.batch_size,
        order=ours.order,
        batch_sensitivity=batch_sensitivity,
        right=_packed(_correct(ours)) if metric == "accuracy" else None,
        unit=metrics.unit(metric),
        scale=metrics.scale(metric) or 1.0,
        variant=", ".join(filter(None, (_variant(settings) if "classes" in settings else "", protocol))) or None,
        over_chance=over_chance,
        reasons=reasons,
    )


def value(evaluation: Evaluation, metric: str) -> float | None:
    """Return the metric of a model without its interval; None if it is unknown or any output is not finite."""
    settings = metrics.whole(
        metric, evaluation.outcomes, evaluation.outputs if "prediction" in evaluation.outcomes else None
    )
    computed = metrics.compute(metric, evaluation.outcomes, settings)
    return computed if evaluation.finite and math.isfinite(computed) else None


def change(own: float, baseline: float, metric: str) -> float | None:
    """Return the difference of a metric to the baseline's in the metric's unit; None if it is undefined."""
    subtract = relative_difference if metrics.unit(metric) == "percent" else difference
    computed = subtract(own, baseline, baseline)
    return computed if math.isfinite(computed) else None


def _packed(bits: Sequence[bool]) -> str:
    """Return the bits as a hexadecimal number; the lowest bit is the first example."""
    return format(sum(1 << index for index, bit in enumerate(bits) if bit), "x")


def _correct(evaluation: Evaluation) -> list[bool]:
    """Return whether each prediction equals its reference."""
    outcomes = evaluation.outcomes
    return [a == b for a, b in zip(outcomes["prediction"], outcomes["reference"], strict=True)]


def _variant(settings: Mapping[str, Any]) -> str:
    classes = settings["classes"]
    return "of class 1" if classes == [1] else f"the mean over {len(classes)} classes"


def _estimates(
    ours: Evaluation, metric: str, reference: Evaluation | None, seed: int, settings: Mapping[str, Any]
) -> Resampled:
    """Return the metric and its difference to the reference, each with a 95 % interval over examples."""
    if metric == "accuracy":
        right = _correct(ours)
        delta = None
        if reference is not None:
            delta = stats.paired_difference(*stats.discordant(right, _correct(reference)), len(right))
        return Resampled(stats.wilson(sum(right), len(right)), delta, {})
    columns, others = _columns(ours, metric), None if reference is None else _columns(reference, metric)
    relative = metrics.unit(metric) == "percent"
    if metric == "perplexity":
        return bootstrap(columns, others, _perplexity, seed, resamples(metric), relative)

    for evaluation in (ours, reference):
        if evaluation is not None:
            metrics.compute(metric, evaluation.outcomes, settings)  # errors of a user's module are raised here
    return bootstrap(
        columns,
        others,
        metrics.resampler(metric, ours.outcomes, settings),
        seed,
        resamples(metric),
        relative,
    )


def _columns(evaluation: Evaluation, metric: str) -> Columns:
    """Return the outcomes that the metric reads, as arrays."""
    outcomes = evaluation.outcomes
    return {name: np.asarray(outcomes[name], dtype=np.float64) for name in metrics.read_by(metric, outcomes)}


def _perplexity(outcomes: Mapping[str, np.ndarray]) -> float:
    mean = float(outcomes["nll"].sum() / outcomes["tokens"].sum())
    return math.exp(mean) if mean < math.log(FARTHEST) else mean + math.inf  # nan stays nan


def _constant(ours: Evaluation, metric: str, settings: Mapping[str, Any]) -> Evaluation | None:
    """Return the best model that gives every example the same answer; None if the metric or task has none."""
    answers = chance.constant(ours.outcomes, metric, settings)
    return None if answers is None else replace(ours, outcomes=answers)


def _chance(ours: Evaluation, metric: str, settings: Mapping[str, Any], constant: Evaluation | None) -> float | None:
    """Return the metric of a model that has learned nothing: the best constant answer, or a uniform guess."""
    if metric == "perplexity":
        return None if ours.outputs is None else float(ours.outputs)
    if metric in chance.CORRELATIONS:
        return 0.0
    if constant is None:
        return None
    if metric == "accuracy":
        return sum(_correct(constant)) / len(constant.outcomes["reference"])
    return metrics.compute(metric, constant.outcomes, settings)


def _over_chance(
    ours: Evaluation, metric: str, constant: Evaluation | None, seed: int, settings: Mapping[str, Any]
) -> tuple[Estimate | None, str]:
    """Return the paired difference of the metric to the best constant answer.

    The second value is the reason why the test split is too small to show a difference, or empty.
    """
    if constant is None and metric not in chance.CORRELATIONS:
        return None, ""
    rest, are = chance.few(ours.outcomes, metric)
    if constant is None:  # a constant answer has no correlation, which counts as 0
        alone = _estimates(ours, metric, None, seed, settings).estimate
        difference = stats.no_surer(alone, rest, 0) if math.isfinite(alone.value) else None
    else:
        difference = _estimates(ours, metric, constant, seed, settings).delta
        if difference is not None:
            difference = stats.no_surer(difference, *differing(_columns(ours, metric), _columns(constant, metric)))
    if stats.sign_p(rest, 0) <= 1 - stats.CONFIDENCE:
        return difference, ""
    count = len(next(iter(ours.outcomes.values())))
    return difference, (
        f"only {rest} of {count} examples {are}: too few to show that any model is better than one constant answer"
    )


def _bits_per_byte(ours: Evaluation) -> float | None:
    """Return the negative log likelihood in bits per byte of text; None for tasks without bytes."""
    if "bytes" not in ours.outcomes:
        return None
    return math.fsum(ours.outcomes["nll"]) / (math.log(2) * math.fsum(ours.outcomes["bytes"]))
