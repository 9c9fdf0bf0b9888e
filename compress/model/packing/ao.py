"""torchao: int8 or fp8 weights with activations of the same type scaled per token, int4 weights in groups (CUDA).

fp8 is e4m3 with one scale per row. On a CPU its weights are expanded to floating point before every product, and
activations are not quantized.

The quantized weight is a tensor subclass inside an `nn.Linear`; torchao's own flatten and unflatten convert it to plain
tensors and back. Cases that torchao silently skips, or computes slowly, are refused or adapted here:

    fp8, widths not multiples of 16       torchao leaves the weight unchanged
    int8, widths not multiples of 8       it multiplies in int32 on the CPU, or in fp32
    int8, up to 16 rows (small batches)   it multiplies in fp32; under compile the product fails at run time
    int8, models in fp16                  sums are stored in fp16 before they are scaled, and overflow

An fp8 layer made on a CPU has floating-point activations, one made on a GPU does not. Neither can move to the other.
"""

import json
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict, unflatten_tensor_state_dict
from torchao.quantization import (
    Float8DynamicActivationFloat8WeightConfig,
    Float8Tensor,
    Float8WeightOnlyConfig,
    Int4WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8Tensor,
    PerRow,
    quantize_,
)

from compress.base.config import InputError
from compress.base.device import DeviceKind
from compress.base.devices import device_of
from compress.model.layers import Smoothed
from compress.model.packing import Settings, Shapes, Tensors
from compress.spec.formats import FP8_IN_BF16

NAME = "layer.weight"  # torchao requires a dotted name
SMOOTH = "smooth"
WIDTHS = {"int8": 8, "fp8": 16}  # CUDA's products need multiples of these
LEAST_ROWS = 32  # torch._int_mm needs more than 16 on a GPU


class Rows(nn.Linear):
    """A linear layer that computes at least 32 rows on a GPU: it pads with zero rows, and removes them afterwards."""

    @staticmethod
    def pads(input: torch.Tensor) -> bool:
        """Return whether small batches are padded: on a GPU."""
        return input.is_cuda

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map [.., in] to [.., out]."""
        rows = input.numel() // self.in_features
        if not self.pads(input) or rows >= LEAST_ROWS:
            return super().forward(input)
        flat = functional.pad(input.reshape(rows, self.in_features), (0, 0, 0, LEAST_ROWS - rows))
        return super().forward(flat)[:rows].reshape(*input.shape[:-1], self.out_features)


class SmoothedRows(Smoothed, Rows):
    """The same, with inputs multiplied by `smooth` first."""


def refuse(linear: nn.Linear, settings: Settings, kind: DeviceKind) -> str | None:
    """Return why this layer cannot be quantized; None if it can."""
    form, columns, rows = settings["format"], linear.in_features, linear.out_features
    if form == "int4" and columns % settings["group_size"]:
        return f"group_size {settings['group_size']} does not divide its {columns} inputs"
    if kind == "cuda" and (reason := _misfit(form, rows, columns)) is not None:
        return reason
    if form == "int8" and linear.weight.dtype == torch.float16:
        return "int8 products overflow in fp16; leave the model in fp32, or cast it to bf16"
    if kind == "cuda" and form == "fp8" and linear.weight.dtype != torch.bfloat16:
        return FP8_IN_BF16
    return None


def _misfit(form: str, rows: int, columns: int) -> str | None:
    """Return why a GPU has no product for this weight [rows, columns]; None if it has one."""
    width = WIDTHS.get(form, 1)
    if columns % width == 0 and rows % width == 0:
        return None
    return f"its weight is [{rows}, {columns}], and {form} products on a GPU need multiples of {width}"


def make(linear: nn.Linear, settings: Settings) -> nn.Module:
    """Return the linear layer with its weight as a torchao tensor."""
    config: Any
    if settings["format"] == "int8":
        config = Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)
    elif settings["format"] == "fp8" and linear.weight.device.type == "cuda":
        config = Float8DynamicActivationFloat8WeightConfig(granularity=PerRow(), set_inductor_config=False)
    elif settings["format"] == "fp8":
        config = Float8WeightOnlyConfig(set_inductor_config=False)
    else:
        linear = linear.to(torch.bfloat16)  # the int4 kernel computes in bf16
        config = Int4WeightOnlyConfig(
            group_size=settings["group_size"],
            set_inductor_config=False,
            int4_packing_format="tile_packed_to_4d",
        )
    quantize_(linear, config)
    if settings["format"] != "int8":
        return linear.eval()
    bias = None if linear.bias is None else linear.bias.data
    return _int8(linear.weight.data, bias, linear.smooth if isinstance(linear, Smoothed) else None)


def pack(module: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return the plain tensors inside the weight, and torchao's description of them."""
    tensors, meta = flatten_tensor_state_dict({NAME: module.weight.data})
    plain = {name.removeprefix("layer._"): tensor for name, tensor in tensors.items()}
    if isinstance(module, Smoothed):
        plain[SMOOTH] = module.smooth
    if module.bias is not None:
        plain["bias"] = module.bias.data
    shape = [module.out_features, module.in_features]
    return plain, {"shape": shape, "torchao": {name: json.loads(text) for name, text in meta.items()}}


def shapes(rows: int, columns: int, meta: Settings, stored: Shapes) -> Shapes:
    """Return the file's shapes, which only torchao defines, after checking the recorded shape of the layer."""
    if list(meta["shape"]) != [rows, columns]:
        raise ValueError(f"a layer of shape {meta['shape']}; expected [{rows}, {columns}]")
    return {name: shape for name, shape in stored.items() if name != "bias"}


def unpack(tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
    """Return the layer that `pack` packed. Raises InputError for one made for another kind of device."""
    inner = {f"layer._{name}": tensor.to(device) for name, tensor in tensors.items() if name not in ("bias", SMOOTH)}
    texts = {name: json.dumps(value) for name, value in meta["torchao"].items()}
    weights, unused = unflatten_tensor_state_dict(inner, texts)
    if NAME not in weights or unused:
        raise ValueError(f"torchao could not rebuild a weight; unused tensors: {sorted(unused)}")
    placed = {name: tensor.to(device) for name, tensor in tensors.items() if name in ("bias", SMOOTH)}
    rows, columns = meta["shape"]
    check_device(weights[NAME], rows, columns, device_of(device).kind)
    if isinstance(weights[NAME], Int8Tensor):
        return _int8(weights[NAME], placed.get("bias"), placed.get(SMOOTH))
    return _filled(nn.Linear(columns, rows, bias="bias" in tensors, device="meta"), weights[NAME], placed.get("bias"))


def check_device(weight: torch.Tensor, rows: int, columns: int, kind: DeviceKind) -> None:
    """Raise InputError if a weight made on one kind of device has no proper product on this one."""
    reason = None
    if isinstance(weight, Int8Tensor) and kind == "cuda":
        reason = _misfit("int8", rows, columns)
    elif isinstance(weight, Float8Tensor) and (weight.act_quant_kwargs is not None) != (kind == "cuda"):
        origin = "GPU" if kind == "cpu" else "CPU"
        reason = f"fp8 made on a {origin} has other products than fp8 here"
    if reason is not None:
        raise InputError(f"an artifact of torchao cannot run on {kind}: {reason}; quantize again on {kind}")


def _int8(weight: torch.Tensor, bias: torch.Tensor | None, smooth: torch.Tensor | None) -> nn.Module:
    rows, columns = weight.shape
    kind = Rows if smooth is None else SmoothedRows
    module = kind(columns, rows, bias=bias is not None, device="meta")
    if isinstance(module, Smoothed) and smooth is not None:
        module.smooth = smooth
    return _filled(module, weight, bias)


def _filled(module: nn.Linear, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Module:
    module.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        module.bias = nn.Parameter(bias, requires_grad=False)
    return module.eval()
