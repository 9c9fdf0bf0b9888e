"""Self-attention relations: how the tokens of a text relate to one another, whatever the width of the model.

MiniLMv2, Wang et al. 2021, arXiv:2012.15828. Queries (keys, values) of a layer, split into as many relation heads in
both models, give a distribution over tokens for every token:

    R = softmax(Q_h Q_h^T / sqrt(width of Q_h))      loss = sum over Q, K, V of KL(teacher's R || student's R)
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from compress.methods.architectures import Layer, layers_of

PARTS = ("query", "key", "value")


class Relations:
    """Watches the last layer's queries, keys and values of two models, and compares them after each batch."""

    def __init__(self, student: Any, teacher: Any, heads: int):
        """Raises InputError for an architecture whose layers are not known."""
        self._heads = heads
        self._seen: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] = ({}, {})
        self._hooks: list[Any] = []
        for model, seen in zip((student, teacher), self._seen, strict=True):
            self._watch(layers_of(model, "distill with relation_weight")[-1], seen)

    def _watch(self, layer: Layer, seen: dict[str, torch.Tensor]) -> None:
        paths = [getattr(layer.architecture, part) for part in PARTS]
        fused = len(set(paths)) == 1  # GPT-2: one layer, whose outputs are query, key and value side by side

        def keep(index: int) -> Any:
            def hook(_module: nn.Module, _given: Any, output: torch.Tensor) -> None:
                parts = output.chunk(3, dim=-1) if fused else [output] * 3
                for number in range(3) if fused else (index,):
                    seen[PARTS[number]] = parts[number]

            return hook

        for index, path in enumerate(paths[:1] if fused else paths):
            self._hooks.append(layer.get(path).register_forward_hook(keep(index)))

    def loss(self, mask: torch.Tensor | None) -> torch.Tensor:
        """The loss of the batch that both models have just seen; `mask` [batch, length] is 0 where there is padding."""
        ours, theirs = self._seen
        losses = [relation_loss(ours[part], theirs[part], self._heads, mask) for part in PARTS]
        return torch.stack(losses).sum()

    def close(self) -> None:
        """Stops watching."""
        for hook in self._hooks:
            hook.remove()


def relation_loss(
    student: torch.Tensor, teacher: torch.Tensor, heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """KL(teacher || student) of the relations of [batch, length, width] tensors, mean over heads and real tokens.

    `heads` is lowered to the greatest number that divides both widths and it.
    """
    heads = math.gcd(heads, student.shape[-1], teacher.shape[-1])
    ours, theirs = relation(student, heads, mask), relation(teacher, heads, mask)
    apart = F.kl_div(ours, theirs, reduction="none", log_target=True)
    if mask is not None:  # padded columns are -inf in both
        apart = apart.masked_fill(mask[:, None, None, :] == 0, 0.0)
    rows = apart.sum(-1).mean(1)  # [batch, length]
    return rows.mean() if mask is None else (rows * mask).sum() / mask.sum()


def relation(values: torch.Tensor, heads: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    """[batch, heads, length, length] logarithms of the softmax over tokens of scaled inner products."""
    batch, length, width = values.shape
    split = values.float().view(batch, length, heads, width // heads).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / math.sqrt(width // heads)
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
    return scores.log_softmax(-1)
