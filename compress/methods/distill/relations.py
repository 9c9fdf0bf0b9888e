"""Self-attention relation and attention score losses of student and teacher, from hooks on both models.

relations   MiniLMv2, Wang et al. 2021, arXiv:2012.15828. Queries (keys, values) of the last layer are split into the
            same number of relation heads in both models. They give one distribution over tokens per token, whatever
            the widths:

                R = softmax(Q_h Q_h^T / sqrt(width of Q_h))     loss = sum over Q, K, V of KL(teacher's R || student's)

attention   TinyBERT, Jiao et al. 2020, arXiv:1909.10351, eq. 7: the mean squared difference of attention scores before
            the softmax, Q K^T / sqrt(width of a head), of paired layers and heads. If positions are rotated into
            queries and keys (Llama), the scores are those before the rotation.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from compress.base.config import InputError
from compress.model.architectures import Layer, layers_of

PARTS = ("query", "key", "value")


class Watch:
    """Records the queries, keys and values [batch, length, width] that some layers of a model last computed."""

    def __init__(self, model: Any, layers: Iterable[int], step: str):
        """Register hooks; layers count from 0, or from the end if negative.

        Raises InputError for an unknown architecture.
        """
        self.seen: dict[tuple[int, str], torch.Tensor] = {}
        self._hooks: list[Any] = []
        all_layers = layers_of(model, step)
        for index in set(layers):
            self._watch(index, all_layers[index])

    def _watch(self, index: int, layer: Layer) -> None:
        paths = [getattr(layer.architecture, part) for part in PARTS]
        fused = len(set(paths)) == 1  # GPT-2: one layer outputs query, key and value concatenated

        def keep(position: int) -> Any:
            def hook(_module: nn.Module, _given: Any, output: torch.Tensor) -> None:
                parts = output.chunk(3, dim=-1) if fused else [output] * 3
                for number in range(3) if fused else (position,):
                    self.seen[index, PARTS[number]] = parts[number]

            return hook

        for position, path in enumerate(paths[:1] if fused else paths):
            self._hooks.append(layer.get(path).register_forward_hook(keep(position)))

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()


class Relations:
    """Compares the last layers of two models after each batch."""

    def __init__(self, student: Any, teacher: Any, heads: int):
        self._heads = heads
        self._watched = [Watch(model, [-1], "distill with relation_weight") for model in (student, teacher)]

    def loss(self, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the loss of the batch that both models have just run on; `mask` [batch, length] is 0 at padding."""
        student, teacher = (watch.seen for watch in self._watched)
        return relations_loss([(student[-1, part], teacher[-1, part]) for part in PARTS], self._heads, mask)

    def close(self) -> None:
        """Remove the hooks."""
        for watch in self._watched:
            watch.close()


class Attention:
    """Compares the attention scores of paired layers after each batch."""

    def __init__(self, student: Any, teacher: Any, pairs: Sequence[tuple[int, int]]):
        """Register hooks. Raises InputError if paired layers have different numbers of heads."""
        step = "distill with attention_weight"
        self._pairs = pairs
        self._watched = [
            Watch(model, [pair[side] for pair in pairs], step) for side, model in enumerate((student, teacher))
        ]
        layers = layers_of(student, step), layers_of(teacher, step)
        self._sizes = [(_head_size(layers[0][s]), _head_size(layers[1][t])) for s, t in pairs]
        for (s, t), sizes in zip(pairs, self._sizes, strict=True):
            heads = [_width(layer) // size for layer, size in zip((layers[0][s], layers[1][t]), sizes, strict=True)]
            if heads[0] != heads[1]:
                raise InputError(
                    f"{step}: student layer {s} has {heads[0]} heads, teacher layer {t} has {heads[1]}; scores are "
                    "compared head by head: use relation_weight instead"
                )

    def loss(self, mask: torch.Tensor | None) -> torch.Tensor:
        """Return the loss of the batch that both models have just run on, mean over pairs of layers."""
        student, teacher = (watch.seen for watch in self._watched)
        losses = []
        for (s, t), (student_size, teacher_size) in zip(self._pairs, self._sizes, strict=True):
            student_scores = attention_scores(student[s, "query"], student[s, "key"], student_size)
            teacher_scores = attention_scores(teacher[t, "query"], teacher[t, "key"], teacher_size)
            losses.append(score_loss(student_scores, teacher_scores, mask))
        return torch.stack(losses).mean()

    def close(self) -> None:
        """Remove the hooks."""
        for watch in self._watched:
            watch.close()


def attention_scores(query: torch.Tensor, key: torch.Tensor, head_size: int) -> torch.Tensor:
    """Return [batch, heads, length, length] scaled inner products in fp32.

    Key heads are repeated if several query heads share one.
    """
    batch, length, _ = query.shape
    queries, keys = (tensor.float().view(batch, length, -1, head_size).transpose(1, 2) for tensor in (query, key))
    keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1)
    with torch.autocast(query.device.type, enabled=False):
        return queries @ keys.transpose(-1, -2) / math.sqrt(head_size)


def score_loss(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the mean squared difference of scores [batch, heads, length, length], over pairs of real tokens."""
    difference = (student - teacher).square().mean(1)  # [batch, length, length]
    if mask is None:
        return difference.mean()
    both = (mask[:, :, None] * mask[:, None, :]).to(difference.dtype)
    return (difference * both).sum() / both.sum()


Pair = tuple[torch.Tensor, torch.Tensor]
"""The student's and the teacher's [batch, length, width]; widths may differ."""


def relations_loss(pairs: Sequence[Pair], heads: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Return the sum of `relation_loss` over pairs; pairs of the same widths share one computation and its kernels."""
    by_widths: dict[tuple[int, int], list[Pair]] = {}
    for pair in pairs:
        by_widths.setdefault((pair[0].shape[-1], pair[1].shape[-1]), []).append(pair)
    losses = []
    for (narrow, wide), group in by_widths.items():
        common = math.gcd(heads, narrow, wide)
        joined = [torch.cat([pair[side] for pair in group], dim=-1) for side in (0, 1)]
        losses.append(len(group) * relation_loss(joined[0], joined[1], len(group) * common, mask))
    return torch.stack(losses).sum()


def relation_loss(
    student: torch.Tensor, teacher: torch.Tensor, heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Return KL(teacher || student) of relations of [batch, length, width], mean over heads and real tokens.

    `heads` is reduced to its greatest common divisor with both widths. Always in fp32, also under autocast: late in
    training the two relations hardly differ.
    """
    heads = math.gcd(heads, student.shape[-1], teacher.shape[-1])
    with torch.autocast(student.device.type, enabled=False):
        student_relation, teacher_relation = relation(student, heads, mask), relation(teacher, heads, mask)
    divergence = F.kl_div(student_relation, teacher_relation, reduction="none", log_target=True)
    if mask is not None:  # padded columns are -inf in both
        divergence = divergence.masked_fill(mask[:, None, None, :] == 0, 0.0)
    rows = divergence.sum(-1).mean(1)  # [batch, length]
    return rows.mean() if mask is None else (rows * mask).sum() / mask.sum()


def relation(values: torch.Tensor, heads: int, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Return [batch, heads, length, length] log-softmax over tokens of scaled inner products."""
    batch, length, width = values.shape
    split = values.float().view(batch, length, heads, width // heads).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / math.sqrt(width // heads)
    if mask is not None:
        scores = scores.masked_fill(mask[:, None, None, :] == 0, -torch.inf)
    return scores.log_softmax(-1)


def _head_size(layer: Layer) -> int:
    names = layer.architecture
    return int(getattr(layer.get(names.attention), names.head_size))


def _width(layer: Layer) -> int:
    """Return the features of all query heads: the inputs of the output projection."""
    output: Any = layer.get(layer.architecture.output)
    return int(getattr(output, "in_features", None) or output.nx)
