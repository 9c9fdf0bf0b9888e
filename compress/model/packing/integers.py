"""Quantized weights of a loaded artifact as plain integers, and the reasons why a format cannot hold them.

    value[i, j] = (ints[i, j] - zero[i, group of j]) * scale[i, group of j]

Every writer of another program's format starts from these tensors: none computes a scale or rounds a weight.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compress.base.errors import InputError
from compress.model.packing.expanding import grouped_layers
from compress.model.packing.grouped_layer import GroupedLinear, unpacked
from compress.model.packing.stacked import Stack
from compress.model.packing.tied import TiedHead
from compress.spec.exports import HOLDS, REMEDY, Holds, Target

WORD = 32
"""Bits of the words in which GPTQ and compressed-tensors pack."""


@dataclass(frozen=True)
class Integers:
    """One quantized layer."""

    ints: torch.Tensor
    """[out, in], 0 to 2^bits - 1, int32."""
    scale: torch.Tensor
    """[out, groups], half precision."""
    zero: torch.Tensor
    """[out, groups], half precision."""
    bits: int
    bias: torch.Tensor | None
    dtype: torch.dtype
    """Type of the weight before it was quantized."""

    @classmethod
    def of(cls, layer: GroupedLinear) -> "Integers":
        """Return the integers of a grouped layer."""
        ints = unpacked(layer.packed, layer.bits).to(torch.int32)
        return cls(ints, layer.scale, layer.zero, layer.bits, layer.bias, layer.dtype)

    @property
    def group_size(self) -> int:
        """Return how many weights of a row share a scale."""
        return self.ints.shape[1] // self.scale.shape[1]

    @property
    def signed(self) -> torch.Tensor:
        """Return the integers minus the middle of the grid, [out, in]."""
        return self.ints - 2 ** (self.bits - 1)

    @property
    def symmetric(self) -> bool:
        """Return whether the zero of every group is the middle of the grid."""
        return bool((self.zero == 2 ** (self.bits - 1)).all())

    @property
    def whole_zeros(self) -> bool:
        """Return whether all zeros are integers of the grid."""
        return bool(((self.zero == self.zero.round()) & (self.zero >= 0) & (self.zero < 2**self.bits)).all())


def others(model: nn.Module, layers: Mapping[str, GroupedLinear]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and tensor of everything that is not quantized, each tensor under its first name."""
    seen: set[int] = set()
    embeddings = [layer.embedding for layer in layers.values() if isinstance(layer, TiedHead)]
    prefixes = tuple(f"{name}." for name in (*layers, *embeddings))
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen and not name.startswith(prefixes):
            seen.add(id(tensor))
            yield name, tensor.detach()


def refuse(model: nn.Module, entries: Mapping[str, Mapping[str, Any]], target: Target) -> dict[str, GroupedLinear]:
    """Return the quantized layers of a model. Raises InputError, naming the first layer, if a format lacks one."""
    layers = grouped_layers(model)
    reasons = list(_refusals(layers, entries, target))
    if reasons:
        more = f" (and {len(reasons) - 1} more layers)" if len(reasons) > 1 else ""
        raise InputError(f"{target}: {reasons[0]}{more}")
    return layers


def _refusals(
    layers: Mapping[str, GroupedLinear], entries: Mapping[str, Mapping[str, Any]], target: Target
) -> Iterator[str]:
    for name, entry in entries.items():
        if name and "backend" in entry and name not in layers:
            form = f"{entry['format']} of {entry['backend']}"
            yield f"{name} is stored as {form}, not as integers with a scale per group; {REMEDY}"
    for name, layer in layers.items():
        if (reason := refusal(layer, HOLDS[target])) is not None:
            yield f"{name} {reason}"


def refusal(layer: GroupedLinear, holds: Holds) -> str | None:
    """Return why a format cannot hold a layer; None if it can."""
    if isinstance(layer, Stack):
        return "is a stack of experts, which this export does not write"
    if isinstance(layer, TiedHead) and not holds.embeddings:
        return "is the input embedding too, which the format keeps in floating point; exclude it from quantize"
    if layer.input_scale is not None:
        return "has a scale for each input (scaling awq), for which the format has no place; use scaling none"
    if layer.bits not in holds.bits:
        return f"has {layer.bits} bits; expected {_listed(holds.bits)}; {REMEDY}"
    integers = Integers.of(layer)
    if holds.symmetric and not integers.symmetric:
        return f"is not symmetric: its groups have zeros of their own, which the format cannot hold; {REMEDY}"
    if not integers.whole_zeros:
        return f"has zeros that are no integers (rounding hqq, or binary); {REMEDY}"
    if holds.group_size and integers.group_size not in holds.group_size:
        return f"has groups of {integers.group_size}; expected {_listed(holds.group_size)}; {REMEDY}"
    per_word = WORD // layer.bits
    sizes = (layer.out_features, layer.in_features)
    for size, packs, what in zip(sizes, holds.packs, ("outputs", "inputs"), strict=True):
        if packs and size % per_word:
            return f"has {size} {what}; expected a multiple of {per_word}, which share {WORD} bits; exclude the layer"
    return None


def _listed(numbers: tuple[int, ...]) -> str:
    return " or ".join(map(str, numbers))


def words(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Return unsigned integers [rows, n] below 2^bits as int32 words [rows, n * bits / 32], the first lowest.

    `bits` divides 32 and 32 / bits divides n; a row that is too short is filled with zeros.
    """
    per_word = WORD // bits
    rows, count = values.shape
    filled = torch.nn.functional.pad(values.to(torch.int64), (0, -count % per_word))
    parts = filled.view(rows, -1, per_word) << (bits * torch.arange(per_word))
    total = parts.sum(-1)
    return torch.where(total >= 2**31, total - 2**32, total).to(torch.int32)


def from_words(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the unsigned integers [rows, n] that `words` packed, as int32."""
    shifts = bits * torch.arange(WORD // bits)
    values = (packed.to(torch.int64)[..., None] >> shifts) & (2**bits - 1)
    return values.flatten(1).to(torch.int32)
