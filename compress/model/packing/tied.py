"""A head and an input embedding that share one weight, in the grouped weight format.

    ids [.., tokens]         --rows-->    embeddings [.., tokens, width]
    hidden [.., width]       --product--> logits [.., vocabulary]

One module stands under both names, so that the integers are in memory and on disk once, and the two stay tied.
"""

import torch
from torch import nn

from compress.model.packing.grouped_layer import GroupedLinear, expanded, unpacked
from compress.model.sharing import swap


class TiedHead(GroupedLinear):
    """A grouped head [vocabulary, width] that is also the input embedding of its model."""

    embedding: str
    """Name of the embedding in the model."""

    @classmethod
    def of(cls, head: GroupedLinear, embedding: str) -> "TiedHead":
        """Return the same layer, usable as the embedding of this name too."""
        parts = (head.packed, head.scale, head.zero, head.bits, head.bias, head.input_scale, head.dtype)
        made = cls(*parts)
        made.embedding = embedding
        return made.eval()

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the weight's rows [.., width] of ids [..], in the type of the weight before it was quantized."""
        flat = ids.reshape(-1)
        ints = unpacked(self.packed[flat], self.bits)
        found = expanded(ints, self.scale[flat], self.zero[flat], self.input_scale)
        return found.to(self.dtype).view(*ids.shape, self.in_features)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map ids [..] to embeddings [.., width], or hidden states [.., width] to logits [.., vocabulary]."""
        return super().forward(inputs) if inputs.is_floating_point() else self.rows(inputs)


def tie(model: nn.Module, name: str, head: GroupedLinear, embedding: str) -> None:
    """Put one module for the head `name` and for the embedding into the model, in place."""
    both = TiedHead.of(head, embedding)
    swap(model, name, both)
    swap(model, embedding, both)


def embeds_plainly(module: nn.Module | None) -> bool:
    """Return whether an embedding only looks rows up: no scale (Gemma) and no limit of their norm."""
    return type(module) is nn.Embedding and module.max_norm is None
