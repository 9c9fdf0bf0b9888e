"""The best model that gives every example the same answer: the floor of a metric on a test split."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from compress.analysis import metrics
from compress.analysis.metrics.boxes import NO_BOX
from compress.base.bits import BITS, masks, unpacked

Outcomes = Mapping[str, Sequence[float]]
COPIED = ("bleu", "chrf", "rouge_1", "rouge_2", "rouge_l")
"""Metrics of generated texts. Their floor is the source itself, which a model without its prompt often writes."""
CORRELATIONS = ("matthews_correlation", "spearman", "pearson")
"""Metrics that are 0, or undefined, for every constant answer."""


def constant(outcomes: Outcomes, metric: str, settings: Mapping[str, Any]) -> Outcomes | None:
    """Return the outcomes of the best constant answer on the same examples; None if the metric or task has none."""
    if "em" in outcomes:
        return _one_answer(outcomes, metric)
    if metric in COPIED and "copy_match_1" in outcomes:
        return {name: outcomes[f"copy_{name}"] for name in metrics.read_by(metric, outcomes)}
    if metric in COUNTED:
        return COUNTED[metric](outcomes)
    if metric not in metrics.NAMES or "prediction" not in outcomes:
        return None
    references = outcomes["reference"]
    counts = Counter(references)
    classes = sorted(counts, key=lambda value: (-counts[value], value))  # the most frequent wins a tie
    constants: list[Outcomes] = [
        {"prediction": [answer] * len(references), "reference": references} for answer in classes
    ]
    if metric != "f1":  # all have the same correlation
        return constants[0]
    return max(constants, key=lambda answers: metrics.compute(metric, answers, settings))


def _silence(errors: str, length: str) -> Callable[[Outcomes], Outcomes | None]:
    """Return the function that returns the counts of a model that writes nothing: every word is missing."""
    return lambda outcomes: {errors: outcomes[length], length: outcomes[length]}


def few(outcomes: Outcomes, metric: str) -> tuple[int, str]:
    """Return the number of examples that the best constant answer gets wrong, and what these examples are."""
    if "em" in outcomes:
        same = constant(outcomes, metric, {}) or {}
        return sum(value < 1 for value in same["em"]), "have another answer than one constant answer"
    if metric in COPIED:
        triples = zip(*(outcomes[name] for name in ("copy_match_1", "copy_text_words", "reference_words")), strict=True)
        return sum(len(set(each)) > 1 for each in triples), "have another reference than their source"
    if metric in ("wer", "cer"):
        return sum(count > 0 for count in outcomes["words"]), "have words"
    if metric == "entity_f1":
        return sum(count > 0 for count in outcomes["gold"]), "have an entity"
    if metric == "token_accuracy":
        pairs = zip(outcomes["commonest"], outcomes["words"], strict=True)
        return sum(common < words for common, words in pairs), "have a word of another than the most frequent tag"
    if "random_ndcg_at_10" in outcomes:
        return sum(value < 1 for value in outcomes["random_ndcg_at_10"]), "have a wrong order of their texts"
    if "labels" in outcomes:
        sets = list(zip(*(outcomes[name] for name in outcomes if name.startswith("gold_")), strict=True))
        return len(sets) - max(Counter(sets).values()), "have other labels than the most frequent ones"
    if "objects_0" in outcomes:
        return sum(map(any, _rows(outcomes, "objects_"))), "have an object"
    if "area_0" in outcomes:
        areas = _areas(outcomes)
        other = areas.sum(axis=1) - areas[:, areas.sum(axis=0).argmax()]
        return int((other > 0).sum()), "have a pixel of another than the most frequent class"
    references = outcomes["reference"]
    rest = len(references) - max(Counter(references).values())
    if "score" in outcomes:
        return rest, "have another than the most frequent score"
    return rest, "are not of the most frequent class"


def undefined(outcomes: Outcomes, metric: str) -> str:
    """Return why a metric has no value on these examples; empty if it is not known."""
    if metric not in CORRELATIONS or "score" not in outcomes:
        return ""
    if len(set(outcomes["score"])) == 1:
        return "the model gives every example the same score"
    return "all examples have the same score" if len(set(outcomes["reference"])) == 1 else ""


def _no_entity(outcomes: Outcomes) -> Outcomes | None:
    """Return the counts of a model that tags no entity."""
    none = [0.0] * len(outcomes["gold"])
    return {"tp": none, "predicted": none, "gold": outcomes["gold"]}


def _one_answer(outcomes: Outcomes, metric: str) -> Outcomes | None:
    """Return the scores of a model that never answers, or always with the whole context if that is better."""
    if metric not in ("exact_match", "f1") or "no_answer" not in outcomes:
        return None
    none, whole = outcomes["no_answer"], outcomes["context_f1"]
    never = {"em": none, "f1": none}
    always = {"em": [float(value == 1) for value in whole], "f1": whole}
    column = "f1" if metric == "f1" else "em"
    return max(never, always, key=lambda scores: sum(scores[column]))


def _commonest_tag(outcomes: Outcomes) -> Outcomes | None:
    """Return the counts of a model that gives every word the most frequent tag of the split."""
    return {"right": outcomes["commonest"], "words": outcomes["words"]} if "commonest" in outcomes else None


def _mean_score(outcomes: Outcomes) -> Outcomes | None:
    """Return the outcomes of a model that gives every example the mean score."""
    references = outcomes["reference"]
    return {"score": [math.fsum(references) / len(references)] * len(references), "reference": references}


def _most_frequent_labels(outcomes: Outcomes) -> Outcomes | None:
    """Return the counts of a model that gives every example the same labels: those with the largest F1 together."""
    gold = _gold(outcomes)
    frequency = gold.sum(axis=0)
    order = np.argsort(-frequency, kind="stable")
    sizes = np.arange(1, len(order) + 1)
    total = gold.sum()
    best = int(np.argmax(2 * np.cumsum(frequency[order]) / (sizes * len(gold) + total))) + 1
    hits = gold[:, order[:best]].sum(axis=1)
    return {"tp": hits.tolist(), "predicted": [float(best)] * len(gold), "gold": outcomes["gold"]}


def _all_labels(outcomes: Outcomes) -> Outcomes | None:
    """Return the sets of a model that gives every example all labels: the best constant for each label."""
    size, n = int(outcomes["labels"][0]), len(outcomes["labels"])
    every = {f"predicted_{place}": [number] * n for place, number in enumerate(masks(range(size), size))}
    return {**outcomes, **every}


def _equal_scores(outcomes: Outcomes) -> Outcomes | None:
    """Return the scores of a model that gives every label of every example the same one."""
    return {name: [0.0] * len(values) if name.startswith("score_") else values for name, values in outcomes.items()}


def _gold(outcomes: Outcomes) -> np.ndarray:
    """Return whether each example has each label. [n, labels]"""
    size = int(outcomes["labels"][0])
    numbers = [outcomes[f"gold_{place}"] for place in range(-(-size // BITS))]
    return unpacked(np.array(numbers).T, size)


def _random_order(outcomes: Outcomes) -> Outcomes | None:
    """Return the figures of a model that gives all texts of a query the same score: the mean over all orders."""
    prefix = "random_"
    names = [name.removeprefix(prefix) for name in outcomes if name.startswith(prefix)]
    return {name: outcomes[f"{prefix}{name}"] for name in names} or None


def _rows(outcomes: Outcomes, prefix: str) -> Iterable[tuple[float, ...]]:
    """Return the columns of this prefix, example by example."""
    return zip(*(values for name, values in outcomes.items() if name.startswith(prefix)), strict=True)


def _no_box(outcomes: Outcomes) -> Outcomes | None:
    """Return the outcomes of a model that finds nothing."""
    return {name: [NO_BOX] * len(v) if name.startswith("box_") else v for name, v in outcomes.items()}


def _areas(outcomes: Outcomes) -> np.ndarray:
    """Return the annotated pixels of every class. [n, classes]"""
    return np.array([outcomes[f"area_{each}"] for each in range(sum(name.startswith("area_") for name in outcomes))]).T


def _commonest_pixel(outcomes: Outcomes) -> Outcomes | None:
    """Return the counts of a model that gives every pixel the most frequent class of the split."""
    areas = _areas(outcomes)
    best = int(areas.sum(axis=0).argmax())
    shared, either = np.zeros_like(areas), areas.copy()
    shared[:, best], either[:, best] = areas[:, best], areas.sum(axis=1)
    return {
        f"{name}_{each}": values[:, each].tolist()
        for name, values in (("intersection", shared), ("union", either))
        for each in range(areas.shape[1])
    }


COUNTED: Mapping[str, Callable[[Outcomes], Outcomes | None]] = {
    "entity_f1": _no_entity,
    "token_accuracy": _commonest_tag,
    "mse": _mean_score,
    "mrr": _random_order,
    **dict.fromkeys(("ndcg_at_10", "recall_at_10", "recall_at_100"), _random_order),
    "f1_micro": _most_frequent_labels,
    "f1_macro": _all_labels,
    "average_precision": _equal_scores,
    "wer": _silence("errors", "words"),
    "cer": _silence("letter_errors", "letters"),
    "map": _no_box,
    "mean_iou": _commonest_pixel,
}
"""Metrics of counts and scores -> the outcomes of the best constant answer."""
