"""Matthews correlation: of predicted and true classes, -1 to 1, and 0 for any constant answer or label."""

from typing import Any

import datasets
import evaluate

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
        from sklearn.metrics import matthews_corrcoef

        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}
