"""A linear layer in the grouped weight format: packed integers, expanded to floating point before every product.

    weight[i, j] = (ints[i, j] - zero[i, group of j]) * scale[i, group of j] / input_scale[j]

Eight values of b bits are packed into b bytes.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import nn
from torch.nn import functional

EIGHT = 8


class GroupedLinear(nn.Module):
    """A linear layer with grouped low-bit weights."""

    weight = None
    """T5 compares the type of its inputs with that of a weight, if there is one."""
    packed: torch.Tensor
    scale: torch.Tensor
    zero: torch.Tensor
    bias: torch.Tensor | None
    input_scale: torch.Tensor | None

    def __init__(
        self,
        packed: torch.Tensor,
        scale: torch.Tensor,
        zero: torch.Tensor,
        bits: int,
        bias: torch.Tensor | None = None,
        input_scale: torch.Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ):
        """Store packed [out, in * bits / 8] uint8; scale and zero [out, groups]; bias [out]; input_scale [in]."""
        super().__init__()
        self.bits, self.dtype = bits, dtype
        self.out_features, self.in_features = packed.shape[0], packed.shape[1] * EIGHT // bits
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero)
        self.register_buffer("bias", bias)
        self.register_buffer("input_scale", input_scale)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Change tensors as torch does for `float()` or `to(dtype)`; the type of the weight changes with them."""
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        applied: Self = super()._apply(fn, recurse)
        return applied

    def dense(self) -> torch.Tensor:
        """Return the dequantized weight [out, in], in float32."""
        ints = unpacked(self.packed, self.bits)
        return expanded(ints, self.scale, self.zero, self.input_scale)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map [.., in] to [.., out]."""
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        return functional.linear(inputs, self.dense().to(inputs.dtype), bias)

    def extra_repr(self) -> str:
        """Return shape, bits and group size, for printing."""
        size = self.in_features // self.scale.shape[1]
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}, group_size={size}"


def expanded(
    ints: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, input_scale: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the weight [out, in], in float32, of integers [out, in] with scale and zero [out, groups]."""
    rows, columns = ints.shape
    grouped = ints.view(rows, scale.shape[1], -1).float()
    weight = ((grouped - zero.float()[:, :, None]) * scale.float()[:, :, None]).view(rows, columns)
    return weight if input_scale is None else weight / input_scale.float()


def packed(ints: torch.Tensor, bits: int) -> torch.Tensor:
    """Return integers [out, in] below 2^bits as bytes [out, in * bits / 8]; `in` is a multiple of 8."""
    eights = ints.to(torch.int64).view(ints.shape[0], -1, EIGHT)
    words = sum(eights[..., i] << (bits * i) for i in range(EIGHT))  # 64 bits hold eight values of up to 8 bits
    assert isinstance(words, torch.Tensor)
    parts = [(words >> (8 * k)) & 255 for k in range(bits)]
    return torch.stack(parts, dim=-1).to(torch.uint8).flatten(1)


def unpacked(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the packed integers as [out, in], in an integer type."""
    if EIGHT % bits == 0:  # no value spans two bytes
        shifts = torch.arange(0, EIGHT, bits, dtype=torch.uint8, device=packed.device)
        return ((packed[..., None] >> shifts) & ((1 << bits) - 1)).flatten(1)
    parts = packed.view(packed.shape[0], -1, bits).to(torch.int64)
    words = sum(parts[..., k] << (8 * k) for k in range(bits))
    assert isinstance(words, torch.Tensor)
    values = [(words >> (bits * i)) & ((1 << bits) - 1) for i in range(EIGHT)]
    return torch.stack(values, dim=-1).flatten(1)
