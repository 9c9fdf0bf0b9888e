"""Matthews correlation: of predicted and true classes, -1 to 1, and 0 for any constant answer or label."""

import math
from typing import Any

import datasets
import evaluate
import numpy as np

higher_is_better = True


class MatthewsCorrelation(evaluate.Metric):
    """Correlation of predictions and references as class indicators (Gorodkin 2004 for more than two classes)."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Matthews correlation of predictions and references.",
            citation="",
            inputs_description="predictions and references: class ids",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        classes, indices = np.unique(np.concatenate([references, predictions]), return_inverse=True)
        true, predicted = np.split(np.eye(len(classes))[indices], 2)  # [n, classes]
        n, right = len(references), float((true * predicted).sum())
        t, p = true.sum(axis=0), predicted.sum(axis=0)  # how often each class is there, and is answered
        spread = (n * n - float(t @ t)) * (n * n - float(p @ p))
        return {"matthews_correlation": (n * right - float(t @ p)) / math.sqrt(spread) if spread > 0 else 0.0}
