"""Fixed padding: every batch of texts is computed at one length, as in deployments with fixed shapes.

input_ids [batch, length] --pad on the right--> [batch, padded_to] --model--> logits [batch, classes]
"""

from typing import Any

import torch
from torch.nn.functional import pad

from compress.base.config import InputError
from compress.model.wrapper import Wrapper


class Padded(Wrapper):
    """A text classifier that pads its inputs to one length and masks the padding."""

    def __init__(self, model: Any, padded_to: int) -> None:
        super().__init__(model)
        self.padded_to = padded_to

    def forward(self, input_ids: torch.Tensor, **batch: Any) -> Any:
        """Return the model's output for texts [batch, length]. Raises InputError for longer ones."""
        missing = self.padded_to - input_ids.shape[1]
        if missing < 0:
            raise InputError(f"padding fixed: {input_ids.shape[1]} tokens, expected at most {self.padded_to}; truncate")
        if batch.get("attention_mask") is None:
            batch["attention_mask"] = torch.ones_like(input_ids)
        if missing == 0:  # padding by nothing would still copy
            return self.model(input_ids=input_ids, **batch)
        fill = getattr(self.model.config, "pad_token_id", None) or 0
        for name in ("attention_mask", "token_type_ids"):
            if batch.get(name) is not None:
                batch[name] = pad(batch[name], (0, missing))
        return self.model(input_ids=pad(input_ids, (0, missing), value=fill), **batch)
