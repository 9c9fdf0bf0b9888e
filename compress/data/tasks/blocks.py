"""Batches of one exact shape of real text, for measuring latency and energy; and rows padded to their longest.

With padding, a kernel's work would depend on the padded fraction. Random token ids would access the embedding table
unlike text. So the real tokens of shuffled examples are joined and cut:

    tokens of a | tokens of b | tokens of c ...   ->   [CLS] 62 tokens [SEP]   [CLS] 62 tokens [SEP]   ...
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.base.config import InputError
from compress.data.point import OperatingPoint

if TYPE_CHECKING:
    import torch


def packed(
    rows: Sequence[Sequence[int]], processor: Any, point: OperatingPoint, count: int, seed: int
) -> list[dict[str, "torch.Tensor"]]:
    """Return `count` batches of input_ids and attention_mask (all ones), each [batch_size, sequence_length]."""
    import torch

    length = point.sequence_length
    if length is None:
        raise InputError("an operating point of a text task needs a sequence_length")
    prefix, suffix = frame(processor)
    inner = length - len(prefix) - len(suffix)
    if inner < 1:
        raise InputError(
            f"sequence_length {length} leaves no room for text beside {len(prefix) + len(suffix)} special tokens"
        )
    needed = count * point.batch_size * inner
    tokens = torch.from_numpy(_stream(rows, set(processor.all_special_ids), needed, seed)).view(-1, inner)
    ends = [torch.tensor(part, dtype=torch.long).expand(len(tokens), -1) for part in (prefix, suffix)]
    ids = torch.cat([ends[0], tokens, ends[1]], dim=1)  # [count * batch_size, length]
    return [
        {"input_ids": part.contiguous(), "attention_mask": torch.ones_like(part)}
        for part in ids.split(point.batch_size)
    ]


def padded(rows: Sequence[Sequence[int]], value: int) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return rows padded on the right with a value, and a mask: 1 at their own tokens. Both are [rows, longest]."""
    import torch

    ids = torch.full((len(rows), max(map(len, rows))), value)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.as_tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask


def _stream(
    rows: Sequence[Sequence[int]], special: set[int], needed: int, seed: int
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return `needed` tokens of shuffled rows without special tokens, repeated if the rows hold fewer."""
    stream: list[int] = []
    for row in np.random.default_rng(seed).permutation(len(rows)).tolist():
        stream.extend(token for token in rows[row] if token not in special)
        if len(stream) >= needed:
            break
    if not stream:
        raise InputError("the examples contain no tokens for timing batches")
    return np.resize(np.array(stream, dtype=np.int64), needed)


def frame(processor: Any) -> tuple[list[int], list[int]]:
    """Return the special tokens that the tokenizer adds before and after a text."""
    probe = "a"
    whole = list(processor(probe)["input_ids"])
    core = list(processor(probe, add_special_tokens=False)["input_ids"])
    for start in range(len(whole) - len(core) + 1):
        if core and whole[start : start + len(core)] == core:
            return whole[:start], whole[start + len(core) :]
    return [], []
