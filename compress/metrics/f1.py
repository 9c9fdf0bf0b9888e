"""F1: harmonic mean of precision and recall; of class 1 where classes are 0 and 1, else the mean over classes."""

from typing import Any

import datasets
import evaluate

higher_is_better = True


class F1(evaluate.Metric):
    """2 TP / (2 TP + FP + FN), of class 1 or averaged over the classes of the references."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Harmonic mean of precision and recall; macro average over more than two classes.",
            citation="",
            inputs_description="predictions and references: class ids",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        present = {int(r) for r in references}
        # a prediction outside the references' classes counts as a miss of its class, not as a class of its own
        classes = [1] if present <= {0, 1} else sorted(present)
        return {"f1": sum(_f1(predictions, references, c) for c in classes) / len(classes)}


def _f1(predictions: Any, references: Any, positive: int) -> float:
    """F1 of one class; 0 where it is neither predicted nor there."""
    hits = sum(p == positive and r == positive for p, r in zip(predictions, references, strict=True))
    named = sum(p == positive for p in predictions) + sum(r == positive for r in references)
    return 2 * hits / named if named else 0.0
