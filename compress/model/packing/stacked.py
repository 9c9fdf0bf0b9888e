"""Stacked experts in the grouped weight format: one parameter [experts, out, in] as rows of packed integers.

    experts.gate_up_proj[3]  ->  the weight [out, in] of expert 3, expanded on access

transformers stores all experts of a layer in one parameter, and its plain forward pass indexes it by expert. A `Stack`
replaces the parameter and supports the same index, so only the experts that a batch uses are expanded.
"""

from collections.abc import Sequence

import torch
from torch import nn

from compress.model.packing.grouped_layer import GroupedLinear, expanded, unpacked


class Stack(GroupedLinear):
    """The weights of several experts, each grouped like a linear layer's weight."""

    like: torch.Tensor

    def __init__(
        self,
        packed: torch.Tensor,
        scale: torch.Tensor,
        zero: torch.Tensor,
        like: torch.Tensor,
        *,
        bits: int,
        experts: int,
        transposed: bool,
    ):
        """Store packed [experts * out, in * bits / 8] uint8, and scale and zero [experts * out, groups].

        `like` is an empty tensor of the weights' type. `transposed`: an expert's weight is read as [in, out].
        """
        super().__init__(packed, scale, zero, bits, dtype=like.dtype)
        self.register_buffer("like", like)
        self.experts, self.transposed = experts, transposed

    def __getitem__(self, index: torch.Tensor | int) -> torch.Tensor:
        """Return the weight of one expert: [out, in], or [in, out] if transposed."""
        packed, scale, zero = (
            rows.view(self.experts, -1, rows.shape[1])[index] for rows in (self.packed, self.scale, self.zero)
        )
        weight = expanded(unpacked(packed, self.bits), scale, zero).to(self.like.dtype)
        return weight.T if self.transposed else weight

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Raise RuntimeError: experts are not one layer."""
        raise RuntimeError("stacked experts are indexed by expert, not called")


def stack(experts: Sequence[nn.Module], dtype: torch.dtype, transposed: bool) -> Stack:
    """Return experts, each made as a linear layer, as one stack."""
    layers = [layer for layer in experts if isinstance(layer, GroupedLinear)]
    packed, scale, zero = (torch.cat([getattr(m, part) for m in layers]) for part in ("packed", "scale", "zero"))
    like = torch.empty(0, dtype=dtype, device=packed.device)
    return Stack(packed, scale, zero, like, bits=layers[0].bits, experts=len(layers), transposed=transposed).eval()


def index_by_expert(model: nn.Module) -> None:
    """Make layers with a `Stack` compute expert by expert, in place: fused kernels need plain tensors."""
    for module in model.modules():
        if any(isinstance(child, Stack) for child in module.children()):
            module.config._experts_implementation = "eager"  # type: ignore[union-attr]
