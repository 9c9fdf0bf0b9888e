"""torchao: int8 or fp8 weights with activations of the same kind scaled per token, int4 weights in groups (CUDA).

fp8 is e4m3 with a scale a row; on a CPU its weights become floating point before every product, and activations stay.

The quantized weight is a tensor subclass inside a plain `nn.Linear`; torchao's own flatten and unflatten turn it into
plain tensors and back.
"""

import json
from typing import Any

import torch
from torch import nn
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict, unflatten_tensor_state_dict
from torchao.quantization import (
    Float8DynamicActivationFloat8WeightConfig,
    Float8WeightOnlyConfig,
    Int4WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    PerRow,
    quantize_,
)

from compress.layers import Smoothed
from compress.packing import Settings, Tensors

NAME = "layer.weight"  # torchao wants a dotted name
SMOOTH = "smooth"


def refuse(linear: nn.Linear, settings: Settings) -> str | None:
    """Why this layer cannot be quantized so; None when it can."""
    if settings["format"] == "int4" and linear.in_features % settings["group_size"]:
        return f"group_size {settings['group_size']} does not divide its {linear.in_features} inputs"
    return None


def make(linear: nn.Linear, settings: Settings) -> nn.Module:
    """The linear layer with its weight as a torchao tensor."""
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
    return linear.eval()


def pack(module: Any) -> tuple[Tensors, dict[str, Any]]:
    """The plain tensors inside the weight, and torchao's description of them."""
    tensors, meta = flatten_tensor_state_dict({NAME: module.weight.data})
    plain = {name.removeprefix("layer._"): tensor for name, tensor in tensors.items()}
    if isinstance(module, Smoothed):
        plain[SMOOTH] = module.smooth
    if module.bias is not None:
        plain["bias"] = module.bias.data
    shape = [module.out_features, module.in_features]
    return plain, {"shape": shape, "torchao": {name: json.loads(text) for name, text in meta.items()}}


def unpack(tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
    """The layer that `pack` took apart."""
    inner = {f"layer._{name}": tensor.to(device) for name, tensor in tensors.items() if name not in ("bias", SMOOTH)}
    texts = {name: json.dumps(value) for name, value in meta["torchao"].items()}
    found, left = unflatten_tensor_state_dict(inner, texts)
    if NAME not in found or left:
        raise ValueError(f"torchao could not put a weight together; left over: {sorted(left)}")
    rows, columns = meta["shape"]
    kind = Smoothed if SMOOTH in tensors else nn.Linear
    module = kind(columns, rows, bias="bias" in tensors, device="meta")
    module.weight = nn.Parameter(found[NAME], requires_grad=False)
    if "bias" in tensors:
        module.bias = nn.Parameter(tensors["bias"].to(device), requires_grad=False)
    if isinstance(module, Smoothed):
        module.smooth = tensors[SMOOTH].to(device)
    return module.eval()
