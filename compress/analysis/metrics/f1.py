"""F1: harmonic mean of precision and recall; of class 1 where classes are 0 and 1, else the mean over classes.

The classes are those of the whole test split: a resample that lacks one of them is judged by the same.
"""

from collections.abc import Mapping
from typing import Any

import datasets
import evaluate

higher_is_better = True


def whole(outcomes: Mapping[str, Any], classes: int | None = None) -> dict[str, list[int]]:
    """The classes averaged over: 1 alone for a model of two classes (where that is not known: labels of 0 and 1)."""
    present = sorted({int(r) for r in outcomes["reference"]})
    binary = set(present) <= {0, 1} and classes in (None, 2)
    return {"classes": [1] if binary else present}


class F1(evaluate.Metric):
    """2 TP / (2 TP + FP + FN), of class 1 or averaged over the classes of the whole test split's references."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Harmonic mean of precision and recall; macro average over more than two classes.",
            citation="",
            inputs_description="predictions and references: class ids",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: Any, references: Any, classes: list[int]) -> dict[str, float]:
        # a prediction outside the references' classes counts as a miss of its class, not as a class of its own
        return {"f1": sum(_f1(predictions, references, c) for c in classes) / len(classes)}


def _f1(predictions: Any, references: Any, positive: int) -> float:
    """F1 of one class; 0 where it is neither predicted nor there."""
    hits = sum(p == positive and r == positive for p, r in zip(predictions, references, strict=True))
    named = sum(p == positive for p in predictions) + sum(r == positive for r in references)
    return 2 * hits / named if named else 0.0
