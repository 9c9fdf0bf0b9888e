"""Metrics as plain functions of per-example outcomes: arrays in, one number out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Whole = Callable[[Mapping[str, Any], int | None], dict[str, Any]]


@dataclass(frozen=True)
class Metric:
    """A metric of this package."""

    score: Callable[..., float]
    """The function; its positional arguments are the columns."""
    columns: tuple[str, ...]
    """Names of the outcomes that `score` takes."""
    whole: Whole | None = None
    """Computes settings from the whole test split, which `score` receives as keywords on every resample."""
    higher_is_better: bool = True


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


def entity_f1(tp: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> float:
    """Return 2 TP / (predicted + gold) over the entities of all examples: the micro average of seqeval.

    Counts [n] are summed before dividing, so an example counts by its entities. 0 without any entity.
    """
    named = float(predicted.sum() + gold.sum())
    return 2 * float(tp.sum()) / named if named else 0.0


def token_accuracy(right: np.ndarray, words: np.ndarray) -> float:
    """Return the fraction of words with the right tag, over the words of all examples."""
    return float(right.sum() / words.sum())


CLASSES, LANGUAGE = ("prediction", "reference"), ("nll", "tokens")
METRICS: dict[str, Metric] = {
    "accuracy": Metric(accuracy, CLASSES),
    "f1": Metric(f1, CLASSES, f1_classes),
    "matthews_correlation": Metric(matthews_correlation, CLASSES),
    "perplexity": Metric(perplexity, LANGUAGE, higher_is_better=False),
    "entity_f1": Metric(entity_f1, ("tp", "predicted", "gold")),
    "token_accuracy": Metric(token_accuracy, ("right", "words")),
}
"""Metrics of this package by name. Their units are in `records.result.UNITS`, for reading results alone."""
