"""Our own weight format: 2, 3, 4 or 8 bits, packed to the last bit, expanded to floating point before every product.

    weight[i, j] = (ints[i, j] - zero[i, group of j]) * scale[i, group of j] / input_scale[j]

Eight values of b bits become b bytes. `compress.methods.rounding` says which integers, scales and zeros.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from compress.packing import Settings, Tensors

EIGHT = 8


class GroupedLinear(nn.Module):
    """A linear layer of grouped low-bit weights."""

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
        """packed [out, in * bits / 8] uint8; scale and zero [out, groups]; bias [out]; input_scale [in]."""
        super().__init__()
        self.bits, self.dtype = bits, dtype
        self.out_features, self.in_features = packed.shape[0], packed.shape[1] * EIGHT // bits
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero)
        self.register_buffer("bias", bias)
        self.register_buffer("input_scale", input_scale)

    def dense(self) -> torch.Tensor:
        """The weight [out, in] that the stored numbers stand for, float32."""
        ints = unpacked(self.packed, self.bits)
        return expanded(ints, self.scale, self.zero, self.input_scale)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """[.., out] of [.., in]."""
        bias = None if self.bias is None else self.bias.to(inputs.dtype)
        return functional.linear(inputs, self.dense().to(inputs.dtype), bias)

    def extra_repr(self) -> str:
        """Shape, bits and group size, for printing."""
        size = self.in_features // self.scale.shape[1]
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}, group_size={size}"


def expanded(
    ints: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, input_scale: torch.Tensor | None = None
) -> torch.Tensor:
    """The weight [out, in], float32, of integers [out, in] with scale and zero [out, groups]."""
    rows, columns = ints.shape
    grouped = ints.view(rows, scale.shape[1], -1).float()
    weight = ((grouped - zero.float()[:, :, None]) * scale.float()[:, :, None]).view(rows, columns)
    return weight if input_scale is None else weight / input_scale.float()


def packed(ints: torch.Tensor, bits: int) -> torch.Tensor:
    """Integers [out, in] below 2^bits as bytes [out, in * bits / 8]; `in` is a multiple of 8."""
    eights = ints.to(torch.int64).view(ints.shape[0], -1, EIGHT)
    words = sum(eights[..., i] << (bits * i) for i in range(EIGHT))  # 64 bits hold eight values of up to 8 bits
    assert isinstance(words, torch.Tensor)
    parts = [(words >> (8 * k)) & 255 for k in range(bits)]
    return torch.stack(parts, dim=-1).to(torch.uint8).flatten(1)


def unpacked(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """The integers [out, in] again, as int64."""
    parts = packed.view(packed.shape[0], -1, bits).to(torch.int64)
    words = sum(parts[..., k] << (8 * k) for k in range(bits))
    assert isinstance(words, torch.Tensor)
    values = [(words >> (bits * i)) & ((1 << bits) - 1) for i in range(EIGHT)]
    return torch.stack(values, dim=-1).flatten(1)


def grid(groups: torch.Tensor, bits: int, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero [..] of weights [.., group]: from least to most, zero among them; or even to both sides.

    Both are numbers that half precision holds, so that storing them changes nothing.
    """
    most = 2**bits - 1
    if symmetric:
        scale = groups.abs().amax(-1) / max(2 ** (bits - 1) - 1, 1)
        zero = torch.full_like(scale, 2 ** (bits - 1))
    else:
        low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
        scale = (high - low) / most
        zero = -low / scale.clamp(min=1e-12)
    scale = scale.clamp(min=1e-6).half().float()
    return scale, zero.round().clamp(0, most)


def integers(groups: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, bits: int) -> torch.Tensor:
    """The nearest integers [.., group] of weights under a scale and zero [..], as int64."""
    return (groups / scale[..., None] + zero[..., None]).round().clamp(0, 2**bits - 1).to(torch.int64)


def refuse(linear: nn.Linear, settings: Settings) -> str | None:
    """Why this layer cannot be quantized so; None when it can."""
    if linear.in_features % settings["group_size"]:
        return f"group_size {settings['group_size']} does not divide its {linear.in_features} inputs"
    return None


def make(linear: nn.Linear, settings: Settings) -> nn.Module:
    """The layer rounded to the nearest numbers of its grid."""
    weight = linear.weight.detach().float()
    groups = weight.view(weight.shape[0], -1, settings["group_size"])
    scale, zero = grid(groups, settings["bits"], settings["symmetric"])
    ints = integers(groups, scale, zero, settings["bits"]).view_as(weight)
    return build(linear, settings, ints, scale, zero)


def build(
    linear: nn.Linear,
    settings: Settings,
    ints: torch.Tensor,
    scale: torch.Tensor,
    zero: torch.Tensor,
    input_scale: torch.Tensor | None = None,
) -> nn.Module:
    """A layer of these integers [out, in], with the linear layer's bias."""
    bias = None if linear.bias is None else linear.bias.detach().clone()
    half = None if input_scale is None else input_scale.half()
    bits = int(settings["bits"])
    module = GroupedLinear(packed(ints, bits), scale.half(), zero.half(), bits, bias, half, linear.weight.dtype)
    return module.eval()


def pack(module: Any) -> tuple[Tensors, dict[str, Any]]:
    """The layer's numbers as they are."""
    tensors = {name: buffer for name, buffer in module.named_buffers() if buffer is not None}
    return tensors, {"bits": module.bits, "dtype": str(module.dtype).removeprefix("torch.")}


def unpack(tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
    """The layer that `pack` took apart."""
    placed = {name: tensor.to(device) for name, tensor in tensors.items()}
    return GroupedLinear(**placed, bits=meta["bits"], dtype=getattr(torch, meta["dtype"])).eval()
