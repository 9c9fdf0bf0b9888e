"""Accuracy: fraction of examples whose predicted class is the right one."""

from typing import Any

import datasets
import evaluate

higher_is_better = True


class Accuracy(evaluate.Metric):
    """Fraction of predictions that equal their reference."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Fraction of predictions that equal their reference.",
            citation="",
            inputs_description="predictions and references: class ids",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        pairs = list(zip(predictions, references, strict=True))
        return {"accuracy": sum(p == r for p, r in pairs) / len(pairs)}
