"""Helpers of tasks whose models choose one class per example."""

from typing import TYPE_CHECKING, Any

from compress.data.tasks.task import IGNORED, Batch

if TYPE_CHECKING:
    import torch

SAMPLE_OUTCOMES = {"prediction": [0, 1, 1, 0], "reference": [0, 1, 0, 1]}


def class_problems(model: Any) -> list[str]:
    """Return why a model's head does not choose one of several classes, one sentence each."""
    problems = []
    labels = int(getattr(model.config, "num_labels", 0))
    if labels < 2:
        problems.append(f"has {labels} output, a regression; expected at least 2 classes")
    if getattr(model.config, "problem_type", None) not in (None, "single_label_classification"):
        problems.append(f"is a {model.config.problem_type} model; expected one class per example")
    return problems


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[float]]:
    """Return prediction and reference of each example; prediction is -1 (no class) if a logit is not finite."""
    import torch

    predicted = logits.argmax(dim=-1)  # [batch]
    predicted = torch.where(torch.isfinite(logits).all(dim=-1), predicted, -1)
    return {"prediction": predicted.double().tolist(), "reference": batch["labels"].double().tolist()}


def cross_entropy(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] cross entropies (nats) of logits [batch, classes], and [batch] label counts (1 each); float64."""
    from torch.nn import functional as F

    losses = F.cross_entropy(logits.float(), labels, reduction="none", ignore_index=IGNORED)
    return losses.double(), (labels != IGNORED).double()
