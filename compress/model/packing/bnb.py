"""bitsandbytes: NF4 and FP4 (QLoRA, Dettmers et al. 2023, arXiv:2305.14314), LLM.int8 (arXiv:2208.07339).

    4 bit   weight [out * in / 2, 1] uint8 (two values per byte), scale [out * in / block] one per block; with
            double_quant scales have 8 bits too, and scale_code, scale_scale and scale_offset expand them
    8 bit   weight [out, in] int8, scale [out] the largest |weight| of a row

The library's 4-bit kernel for CPUs is disabled: it computes in bf16. From about 30 rows on (a sentence), it takes two
to seven times as long as expanding the weight and multiplying. It would also make outputs depend on the batch size.
"""

import logging
from typing import Any

import bitsandbytes
import torch
from bitsandbytes.functional import QuantState, get_4bit_type, quantize_4bit
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from torch import nn

from compress.base.device import DeviceKind
from compress.model.packing import Settings, Shapes, Tensors
from compress.spec.formats import BITS

FOUR_BITS = ("nf4", "fp4")

# LLM.int8 warns in every product that it computes in fp16; the step's note reports it once
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def refuse(linear: nn.Linear, settings: Settings, _kind: DeviceKind) -> str | None:
    """Return why this layer cannot be quantized; None if it can."""
    if settings["format"] in FOUR_BITS and linear.in_features % 2:
        return f"{linear.in_features} inputs are odd, and two 4-bit weights share a byte"
    return None


def make(linear: nn.Linear, settings: Settings) -> nn.Module:
    """Return a Linear4bit or Linear8bitLt with the layer's weight quantized."""
    weight = linear.weight.data.contiguous()  # [out, in]
    bias = None if linear.bias is None else linear.bias.data
    if settings["format"] == "llm_int8":
        data, scale, _ = bitsandbytes.functional.int8_vectorwise_quant(weight.to(torch.float16))
        return _linear8(data, scale, bias, float(settings["threshold"]))
    data, state = quantize_4bit(
        weight,
        blocksize=settings["group_size"],
        compress_statistics=settings["double_quant"],
        quant_type=settings["format"],
    )
    return _linear4(data, state, bias)


def pack(module: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return the layer's stored tensors unchanged, and its settings."""
    bias = {} if module.bias is None else {"bias": module.bias.data}
    if isinstance(module, Linear8bitLt):
        weight = module.weight if module.weight.SCB is not None else module.state
        meta: dict[str, Any] = {"format": "llm_int8", "threshold": module.state.threshold}
        return {"weight": module.weight.data, "scale": weight.SCB, **bias}, meta
    state = module.weight.quant_state
    meta = {
        "format": state.quant_type,
        "group_size": state.blocksize,
        "shape": list(state.shape),
        "dtype": str(state.dtype).removeprefix("torch."),
    }
    scales = {"scale": state.absmax}
    if state.nested:
        scales |= {"scale_code": state.state2.code, "scale_scale": state.state2.absmax, "scale_offset": state.offset}
        meta["scale_group_size"] = state.state2.blocksize
    return {"weight": module.weight.data.reshape(-1, 1), **scales, **bias}, meta


def shapes(rows: int, columns: int, meta: Settings, stored: Shapes) -> Shapes:
    """Return shapes of the tensors that `pack` returns."""
    if meta["format"] == "llm_int8":
        return {"weight": (rows, columns), "scale": (rows,)}
    blocks = -(-rows * columns // meta["group_size"])
    expected: Shapes = {"weight": (-(-rows * columns // 2), 1), "scale": (blocks,)}
    if "scale_group_size" in meta:
        scale_blocks = (-(-blocks // meta["scale_group_size"]),)
        expected |= {"scale_code": stored.get("scale_code", ()), "scale_scale": scale_blocks, "scale_offset": ()}
    return expected


def stored(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return manifest entries of layers that transformers loaded in a format of this library."""
    entries: dict[str, dict[str, Any]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Linear4bit | Linear8bitLt):
            kind = "llm_int8" if isinstance(module, Linear8bitLt) else module.weight.quant_state.quant_type
            entries[name] = {"format": kind, "backend": "bitsandbytes", "bits": BITS[kind]}
    return entries


def unpack(tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
    """Return the layer that `pack` packed."""
    placed = {name: tensor.to(device) for name, tensor in tensors.items()}
    weight, scale, bias = placed["weight"], placed["scale"], placed.get("bias")
    if meta["format"] == "llm_int8":
        return _linear8(weight, scale, bias, float(meta["threshold"]))
    scales = None
    if "scale_code" in placed:
        code, code_scale = placed["scale_code"], placed["scale_scale"]
        scales = QuantState(absmax=code_scale, code=code, blocksize=meta["scale_group_size"], dtype=torch.float32)
    else:
        scale = scale.float()  # early artifacts store them in bf16
    state = QuantState(
        absmax=scale,
        shape=torch.Size(meta["shape"]),
        code=get_4bit_type(meta["format"], device=device, blocksize=meta["group_size"]),
        blocksize=meta["group_size"],
        quant_type=meta["format"],
        dtype=getattr(torch, meta["dtype"]),
        offset=placed.get("scale_offset"),
        state2=scales,
    )
    return _linear4(weight, state, bias)


def _linear4(data: torch.Tensor, state: QuantState, bias: torch.Tensor | None) -> nn.Module:
    rows, columns = state.shape
    module = Linear4bit(
        columns, rows, bias=bias is not None, compress_statistics=False, quant_type=state.quant_type, device="meta"
    )
    module.weight = Params4bit(
        data,
        requires_grad=False,
        quant_state=state,
        blocksize=state.blocksize,
        compress_statistics=False,
        quant_type=state.quant_type,
        module=module,
        bnb_quantized=True,
    )
    module.quant_state = state
    _set_bias(module, bias)
    module.support_avx512bf16_for_cpu = False  # see the module's docstring
    return module.eval()


def _linear8(data: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None, threshold: float) -> nn.Module:
    rows, columns = data.shape
    module = Linear8bitLt(
        columns, rows, bias=bias is not None, has_fp16_weights=False, threshold=threshold, device="meta"
    )
    module.weight = Int8Params(data, requires_grad=False, has_fp16_weights=False, CB=data, SCB=scale)
    _set_bias(module, bias)
    return module.eval()


def _set_bias(module: nn.Module, bias: torch.Tensor | None) -> None:
    if bias is not None:
        module.bias = nn.Parameter(bias, requires_grad=False)
