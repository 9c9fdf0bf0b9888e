"""Mean absolute error of numbers: a metric file, as a user writes one."""

from typing import Any

import datasets
import evaluate

higher_is_better = False


class MeanError(evaluate.Metric):
    """Mean absolute difference of predictions and references."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean absolute difference of predictions and references.",
            citation="",
            inputs_description="predictions and references: numbers",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        apart = [abs(p - r) for p, r in zip(predictions, references, strict=True)]
        return {"mean_error": sum(apart) / len(apart)}
