"""The grouped weight format: 1, 2, 3, 4 or 8 bits, packed without gaps and dequantized before every product.

`grouped_layer` has the layers and the packing; `compress.methods.quantize.rounding` computes integers, scales and
zeros.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from compress.base.device import DeviceKind
from compress.model.packing import Settings, Shapes, Tensors
from compress.model.packing.grouped_layer import EIGHT, GroupedLinear, expanded, packed
from compress.model.packing.stacked import Stack
from compress.model.packing.tied import TiedHead

Kind = Literal["even", "ternary", "binary"]
Symmetric = bool | Literal["full"]
LEAST_SCALE = 1e-6  # fp16 holds it; groups of zeros need one
GroupSize = int | Literal["row", "tensor"]
"""Weights of a row that share one scale: a number, the whole row, or the whole tensor."""


@dataclass(frozen=True)
class Grid:
    """The values that weights can take: 2^bits evenly spaced ones, or three, or two.

        even      from a group's minimum to its maximum, including zero; or the same range on both sides (symmetric);
                  or with the weight of largest magnitude at one end, so that every integer has a use (full)
        ternary   -a, 0, a; a: mean of magnitudes above 0.7 of the mean    Li et al. 2016, arXiv:1605.04711
        binary    -a, a; a: mean magnitude                                 Rastegari et al. 2016, arXiv:1603.05279

    Each weight is rounded to the nearest value. The ternary paper's threshold is 0.7 of the mean magnitude, within a
    tenth of that.
    """

    bits: int
    group_size: GroupSize
    symmetric: Symmetric = False
    kind: Kind = "even"

    @classmethod
    def of(cls, settings: Settings) -> "Grid":
        """Return the grid that a layer's settings describe."""
        kinds: dict[str, Kind] = {"ternary": "ternary", "binary": "binary"}
        kind = kinds.get(settings["format"], "even")
        return cls(settings["bits"], settings["group_size"], settings["symmetric"], kind)

    def columns(self, inputs: int) -> int:
        """Return how many weights of a row of `inputs` share a scale."""
        return self.group_size if isinstance(self.group_size, int) else inputs

    def settle(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and zero [out, groups] of a weight [out, in]."""
        rows, inputs = weight.shape
        if self.group_size == "tensor":
            scale, zero = self.settled(weight.reshape(1, -1))
            return scale.expand(rows, 1), zero.expand(rows, 1)
        return self.settled(weight.view(rows, -1, self.columns(inputs)))

    def settled(self, groups: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and zero [..] of weights [.., group], rounded to half precision, in which they are stored."""
        magnitude = groups.abs()
        if self.kind == "ternary":
            large = magnitude > 0.7 * magnitude.mean(-1, keepdim=True)
            scale = (magnitude * large).sum(-1) / large.sum(-1).clamp(min=1)
            zero = torch.ones_like(scale)
        elif self.kind == "binary":
            scale = 2 * magnitude.mean(-1)
            zero = torch.full_like(scale, 0.5)
        elif self.symmetric == "full":
            extreme = groups.gather(-1, magnitude.argmax(-1, keepdim=True))[..., 0]
            scale = extreme / -(2 ** (self.bits - 1))  # negative where the extreme weight is positive
            zero = torch.full_like(scale, 2 ** (self.bits - 1))
        elif self.symmetric:
            scale = magnitude.amax(-1) / max(2 ** (self.bits - 1) - 1, 1)
            zero = torch.full_like(scale, 2 ** (self.bits - 1))
        else:
            low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
            scale = (high - low) / self.most
            zero = (-low / scale.clamp(min=1e-12)).round().clamp(0, self.most)
        return torch.where(scale.abs() < LEAST_SCALE, LEAST_SCALE, scale).half().float(), zero

    @property
    def most(self) -> int:
        """Return the greatest integer."""
        return 2 if self.kind == "ternary" else 2**self.bits - 1

    def places(self, groups: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        """Return the nearest integers [.., group] of weights under scale and zero [..], in the weights' type."""
        return (groups / scale[..., None] + zero[..., None]).round().clamp(0, self.most)

    def integers(self, groups: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        """Return the same as int64."""
        return self.places(groups, scale, zero).to(torch.int64)

    def nearest(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the grid's values nearest to a weight [out, in], in float32."""
        scale, zero = self.settle(weight)
        groups = weight.view(weight.shape[0], -1, self.columns(weight.shape[1]))
        return expanded(self.places(groups, scale, zero).view_as(weight), scale, zero)

    def rounded(self, weight: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        """Return the nearest integers [out, in] of a weight [out, in] under scale and zero [out, groups]."""
        groups = weight.view(weight.shape[0], -1, self.columns(weight.shape[1]))
        return self.integers(groups, scale, zero).view_as(weight)


def refuse(linear: nn.Linear, settings: Settings, _kind: DeviceKind) -> str | None:
    """Return why this layer cannot be quantized; None if it can."""
    if (reason := indivisible(linear.in_features, settings["group_size"])) is not None:
        return reason
    if linear.in_features % EIGHT:
        return f"its {linear.in_features} inputs cannot be packed; expected a multiple of {EIGHT}"
    return None


def indivisible(inputs: int, size: GroupSize) -> str | None:
    """Return why `inputs` cannot be divided into groups; None if they can."""
    if isinstance(size, int) and inputs % size:
        return f"group_size {size} does not divide its {inputs} inputs"
    return None


def make(linear: nn.Linear, settings: Settings) -> nn.Module:
    """Return the layer rounded to the nearest values of its grid."""
    weight, grid = linear.weight.detach().float(), Grid.of(settings)
    scale, zero = grid.settle(weight)
    return build(linear, settings, grid.rounded(weight, scale, zero), scale, zero)


def build(
    linear: nn.Linear,
    settings: Settings,
    ints: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor,
    input_scale: torch.Tensor | None = None,
) -> nn.Module:
    """Return a layer with these integers [out, in] and the linear layer's bias."""
    bias = None if linear.bias is None else linear.bias.detach().clone()
    half = None if input_scale is None else input_scale.half()
    bits = int(settings["bits"])
    module = GroupedLinear(
        packed(ints, bits), scale.half().contiguous(), zero.half().contiguous(), bits, bias, half, linear.weight.dtype
    )
    return module.eval()


def pack(module: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return the layer's buffers unchanged, and its settings."""
    tensors = {name: buffer for name, buffer in module.named_buffers() if buffer is not None}
    experts = {name: getattr(module, name) for name in ("experts", "transposed") if hasattr(module, name)}
    embedding = {"embedding": module.embedding} if isinstance(module, TiedHead) else {}
    return tensors, {"bits": module.bits, "dtype": str(module.dtype).removeprefix("torch."), **experts, **embedding}


def shapes(rows: int, columns: int, meta: Settings, stored: Shapes) -> Shapes:
    """Return shapes of the layer's buffers, with as many groups as the file has scales if those divide a row."""
    groups = stored.get("scale", (rows, 1))[-1]
    scales = (rows, groups if groups and columns % groups == 0 else 1)
    inputs: Shapes = {"input_scale": (columns,)} if "input_scale" in stored else {}
    return {"packed": (rows, columns * meta["bits"] // EIGHT), "scale": scales, "zero": scales, **inputs}


def unpack(tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
    """Return the layer that `pack` packed."""
    placed = {name: tensor.to(device) for name, tensor in tensors.items()}
    if "experts" in meta:
        return Stack(**placed, bits=meta["bits"], experts=meta["experts"], transposed=meta["transposed"]).eval()
    linear = GroupedLinear(**placed, bits=meta["bits"], dtype=getattr(torch, meta["dtype"])).eval()
    return TiedHead.of(linear, meta["embedding"]) if "embedding" in meta else linear
