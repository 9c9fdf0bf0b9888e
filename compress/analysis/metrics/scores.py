"""Metrics as plain functions of per-example outcomes: arrays in, one number out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.analysis.metrics.boxes import coco_map
from compress.analysis.metrics.generated import bleu, chrf
from compress.base.bits import unpacked

Whole = Callable[[Mapping[str, Any], int | None], dict[str, Any]]


@dataclass(frozen=True)
class Metric:
    """A metric of this package."""

    score: Callable[..., float]
    """The function; its positional arguments are the columns."""
    columns: tuple[str, ...]
    """Names of the outcomes that `score` takes. A name with `_` at its end stands for all outcomes of this name and a
    number, which it takes as one array [n, columns]."""
    whole: Whole | None = None
    """Computes settings from the whole test split, which `score` receives as keywords on every resample."""
    higher_is_better: bool = True
    quick: bool = True
    """Whether it is resampled 1,000 times, not 200."""


def accuracy(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Return the fraction of predictions [n] that equal their reference [n]."""
    return np.count_nonzero(prediction == reference) / len(prediction)


def f1(prediction: np.ndarray, reference: np.ndarray, classes: list[int]) -> float:
    """Return 2 TP / (2 TP + FP + FN), averaged over `classes`.

    A prediction outside the references' classes counts as a miss of its class, not as a class of its own.
    """
    return sum(_f1(prediction, reference, each) for each in classes) / len(classes)


def f1_classes(outcomes: Mapping[str, Any], classes: int | None) -> dict[str, list[int]]:
    """Return the classes to average over: only class 1 for a model of two classes.

    If their number is unknown, labels of 0 and 1 alone mean two classes. The classes are those of the whole test split,
    and they also hold for a resample that lacks one of them.
    """
    present = sorted({int(each) for each in outcomes["reference"]})
    binary = set(present) <= {0, 1} and classes in (None, 2)
    return {"classes": [1] if binary else present}


def _f1(prediction: np.ndarray, reference: np.ndarray, positive: int) -> float:
    """Return F1 of one class; 0 if it is neither predicted nor present."""
    hits = np.count_nonzero((prediction == positive) & (reference == positive))
    named = np.count_nonzero(prediction == positive) + np.count_nonzero(reference == positive)
    return 2 * hits / named if named else 0.0


def matthews_correlation(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Return the correlation of predictions and references as class indicators; 0 for any constant answer or label.

    For more than two classes: Gorodkin 2004.
    """
    classes, indices = np.unique(np.concatenate([reference, prediction]), return_inverse=True)
    true, predicted = np.split(np.eye(len(classes))[indices], 2)  # [n, classes]
    n, right = len(reference), float((true * predicted).sum())
    t, p = true.sum(axis=0), predicted.sum(axis=0)  # counts of each class in references and predictions
    spread = (n * n - float(t @ t)) * (n * n - float(p @ p))
    return (n * right - float(t @ p)) / math.sqrt(spread) if spread > 0 else 0.0


def perplexity(nll: np.ndarray, tokens: np.ndarray) -> float:
    """Return exp(sum of negative log likelihoods in nats / sum of predicted tokens), weighting blocks by tokens."""
    mean = math.fsum(nll) / math.fsum(tokens)
    return math.exp(mean) if mean < 700 else math.inf  # exp(710) overflows a double


def token_accuracy(right: np.ndarray, words: np.ndarray) -> float:
    """Return the fraction of words with the right tag, over the words of all examples."""
    return float(right.sum() / words.sum())


def pearson(score: np.ndarray, reference: np.ndarray) -> float:
    """Return the correlation of scores [n] and references [n]; nan if either are all equal, or any is not finite."""
    if not np.isfinite(score).all() or np.ptp(score) == 0 or np.ptp(reference) == 0:
        return math.nan
    ours, theirs = (_centred(each) for each in (score, reference))
    return float(np.clip(ours @ theirs, -1, 1))


def _centred(values: np.ndarray) -> np.ndarray:
    """Return values minus their mean, of length 1."""
    scaled = values / np.abs(values).max()  # squares of very large or small values leave the range of a double
    from_mean = scaled - scaled.mean()
    unit: np.ndarray = from_mean / np.linalg.norm(from_mean)
    return unit


def spearman(score: np.ndarray, reference: np.ndarray) -> float:
    """Return the correlation of the ranks of scores [n] and references [n]; equal values share their mean rank."""
    return pearson(_ranks(score), _ranks(reference)) if np.isfinite(score).all() else math.nan


def _ranks(values: np.ndarray) -> np.ndarray:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def mse(score: np.ndarray, reference: np.ndarray) -> float:
    """Return the mean squared difference of scores [n] and references [n]."""
    return float(np.square(score - reference).mean())


def count_f1(tp: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> float:
    """Return 2 TP / (predicted + gold) over what all examples count: entities (as seqeval's micro average), or labels.

    Counts [n] are summed before dividing, so an example counts by its entities or labels. 0 without any.
    """
    named = float(predicted.sum() + gold.sum())
    return 2 * float(tp.sum()) / named if named else 0.0


def f1_macro(gold: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over all labels of each label's F1; 0 for a label that is neither predicted nor present.

    Sets of labels are numbers [n, columns] of `compress.base.bits`; labels [n] is the number of the model's labels.
    """
    theirs, ours = (unpacked(each, int(labels[0])) for each in (gold, predicted))
    named = theirs.sum(axis=0) + ours.sum(axis=0)
    return float(np.mean(2 * (theirs & ours).sum(axis=0) / np.maximum(named, 1)))


def average_precision(gold: np.ndarray, score: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over labels of the average precision of their scores [n, labels]; equal scores rank together.

    A label that no example has, has none. Sets of labels are numbers [n, columns] of `compress.base.bits`.
    """
    theirs = unpacked(gold, int(labels[0]))
    present = np.flatnonzero(theirs.any(axis=0))
    if not len(present) or not np.isfinite(score).all():
        return math.nan
    return float(np.mean([_average_precision(theirs[:, label], score[:, label]) for label in present]))


def _average_precision(relevant: np.ndarray, score: np.ndarray) -> float:
    """Return the mean over relevant examples of the precision down to their score, as scikit-learn defines it."""
    order = np.argsort(-score, kind="stable")
    hits, ranked = np.cumsum(relevant[order]), score[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # the last example of every score
    gained = np.diff(hits[last], prepend=0)
    return float((gained * hits[last] / (last + 1)).sum() / hits[-1])


def error_rate(errors: np.ndarray, length: np.ndarray) -> float:
    """Return the sum of errors over the sum of words or characters [n] of the references; nan without any."""
    total = float(length.sum())
    return float(errors.sum()) / total if total else math.nan


def mean_iou(intersection: np.ndarray, union: np.ndarray) -> float:
    """Return the mean over classes of intersection over union, of pixels [n, classes] summed over pictures.

    A class that neither annotations nor predictions have does not count, as in evaluate and mmsegmentation.
    """
    shared, either = intersection.sum(axis=0), union.sum(axis=0)
    present = either > 0
    return float((shared[present] / either[present]).mean()) if present.any() else math.nan


def mean(values: np.ndarray) -> float:
    """Return the mean of a figure [n] that each example has."""
    return float(values.mean())


CLASSES, LANGUAGE, SCORES = ("prediction", "reference"), ("nll", "tokens"), ("score", "reference")
METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, CLASSES),
    "f1": Metric(f1, CLASSES, f1_classes, quick=False),
    "matthews_correlation": Metric(matthews_correlation, CLASSES, quick=False),
    "perplexity": Metric(perplexity, LANGUAGE, higher_is_better=False),
    "entity_f1": Metric(count_f1, ("tp", "predicted", "gold")),
    "token_accuracy": Metric(token_accuracy, ("right", "words")),
    "spearman": Metric(spearman, SCORES),
    "pearson": Metric(pearson, SCORES),
    "mrr": Metric(mean, ("reciprocal_rank",)),
    "ndcg_at_10": Metric(mean, ("ndcg_at_10",)),
    "recall_at_10": Metric(mean, ("recall_at_10",)),
    "recall_at_100": Metric(mean, ("recall_at_100",)),
    "f1_micro": Metric(count_f1, ("tp", "predicted", "gold")),
    "f1_macro": Metric(f1_macro, ("gold_", "predicted_", "labels")),
    "average_precision": Metric(average_precision, ("gold_", "score_", "labels"), quick=False),
    "mse": Metric(mse, SCORES, higher_is_better=False),
    "exact_match": Metric(mean, ("em",)),
    "bleu": Metric(bleu, ("match_", "total_", "text_words", "reference_words")),
    "chrf": Metric(chrf, ("letters_", "reference_letters_", "letter_match_")),
    "rouge_1": Metric(mean, ("rouge_1",)),
    "rouge_2": Metric(mean, ("rouge_2",)),
    "rouge_l": Metric(mean, ("rouge_l",)),
    "wer": Metric(error_rate, ("errors", "words"), higher_is_better=False),
    "cer": Metric(error_rate, ("letter_errors", "letters"), higher_is_better=False),
    "map": Metric(coco_map, ("box_", "objects_"), quick=False),
    "mean_iou": Metric(mean_iou, ("intersection_", "union_"), quick=False),
}
"""Metrics of this package by name. Their units are in `records.result.UNITS`, for reading results alone."""
OF_ANSWERS = METRICS | {"f1": Metric(mean, ("f1",))}
"""The same for answers to questions: their F1 is of words, one value per question."""


def fitting(metric: str, outcomes: Mapping[str, Any]) -> Metric:
    """Return a metric of this package by name, as it is defined for these outcomes."""
    return (OF_ANSWERS if "em" in outcomes else METRICS)[metric]
