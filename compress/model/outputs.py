"""The logits of a model as its task defines them, which graphs and transformers models share."""

from typing import Any

import torch


def logits_of(output: Any) -> torch.Tensor:
    """Return the logits of a model's output.

    Start and end of answers are one tensor [batch, length, 2], logits and boxes of queries one [batch, queries, both].
    """
    logits: torch.Tensor | None = getattr(output, "logits", None)
    boxes: torch.Tensor | None = getattr(output, "pred_boxes", None)
    if boxes is not None and logits is not None:
        return torch.cat([logits, boxes], dim=-1)
    return torch.stack([output.start_logits, output.end_logits], dim=-1) if logits is None else logits
