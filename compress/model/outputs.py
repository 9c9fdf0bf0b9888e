"""The logits of a model as its task defines them, which graphs and transformers models share."""

from typing import Any

import torch


def logits_of(output: Any) -> torch.Tensor:
    """Return the logits of a model's output. Start and end of answers are one tensor [batch, length, 2]."""
    logits: torch.Tensor | None = getattr(output, "logits", None)
    return torch.stack([output.start_logits, output.end_logits], dim=-1) if logits is None else logits
