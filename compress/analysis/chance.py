"""The best model that gives every example the same answer: the floor of a metric on a test split."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from compress.analysis import metrics

Outcomes = Mapping[str, Sequence[float]]


def constant(outcomes: Outcomes, metric: str, settings: Mapping[str, Any]) -> Outcomes | None:
    """Return the outcomes of the best constant answer on the same examples; None if the metric or task has none."""
    if metric in COUNTED:
        return COUNTED[metric](outcomes)
    if metric not in metrics.NAMES or "reference" not in outcomes:
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


def few(outcomes: Outcomes, metric: str) -> tuple[int, str]:
    """Return the number of examples that the best constant answer gets wrong, and what these examples are."""
    if metric == "entity_f1":
        return sum(count > 0 for count in outcomes["gold"]), "have an entity"
    if metric == "token_accuracy":
        pairs = zip(outcomes["commonest"], outcomes["words"], strict=True)
        return sum(common < words for common, words in pairs), "have a word of another than the most frequent tag"
    references = outcomes["reference"]
    return len(references) - max(Counter(references).values()), "are not of the most frequent class"


def _no_entity(outcomes: Outcomes) -> Outcomes | None:
    """Return the counts of a model that tags no entity."""
    none = [0.0] * len(outcomes["gold"])
    return {"tp": none, "predicted": none, "gold": outcomes["gold"]}


def _commonest_tag(outcomes: Outcomes) -> Outcomes | None:
    """Return the counts of a model that gives every word the most frequent tag of the split."""
    return {"right": outcomes["commonest"], "words": outcomes["words"]} if "commonest" in outcomes else None


COUNTED: Mapping[str, Callable[[Outcomes], Outcomes | None]] = {
    "entity_f1": _no_entity,
    "token_accuracy": _commonest_tag,
}
"""Metrics of counts -> the outcomes of the best constant answer."""
