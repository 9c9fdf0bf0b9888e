"""bitsandbytes: NF4 and FP4 (QLoRA, Dettmers et al. 2023, arXiv:2305.14314), LLM.int8 (arXiv:2208.07339).

    4 bit   weight [out * in / 2, 1] uint8 (two numbers a byte), absmax [out * in / block] one scale a block
    8 bit   weight [out, in] int8, scale [out] the largest |weight| of a row

On a CPU with bf16 products, the first forward pass reorders a 4-bit weight for the kernel and rounds its scales to
bf16. The library's own way back forgets the scales' order, so the way back is here; and scales are rounded to bf16 at
once, so that the stored tensors do not depend on whether the model was used.
"""

import logging
from typing import Any

import bitsandbytes
import torch
from bitsandbytes.functional import QuantState, get_4bit_type, quantize_4bit
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
from torch import nn

from compress.packing import Settings, Tensors

KERNEL_ROWS = 32  # the CPU kernel takes this many outputs at once
FOUR_BITS = ("nf4", "fp4")

# LLM.int8 takes its activations in fp16 and says so in every product; the step's note says it once
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)


def refuse(linear: nn.Linear, settings: Settings) -> str | None:
    """Why this layer cannot be quantized so; None when it can."""
    if settings["format"] in FOUR_BITS and linear.in_features % 2:
        return f"{linear.in_features} inputs are odd, and two 4-bit weights share a byte"
    return None


def make(linear: nn.Linear, settings: Settings) -> nn.Module:
    """Linear4bit or Linear8bitLt with the layer's weight quantized."""
    weight = linear.weight.data.contiguous()  # [out, in]
    bias = None if linear.bias is None else linear.bias.data
    if settings["format"] == "llm_int8":
        data, scale, _ = bitsandbytes.functional.int8_vectorwise_quant(weight.to(torch.float16))
        return _linear8(data, scale, bias, float(settings["threshold"]))
    data, state = quantize_4bit(
        weight, blocksize=settings["group_size"], compress_statistics=False, quant_type=settings["format"]
    )
    if weight.device.type == "cpu":
        state.absmax = state.absmax.to(torch.bfloat16).float()
    return _linear4(data, state, bias)


def pack(module: Any) -> tuple[Tensors, dict[str, Any]]:
    """Weight, scales and bias in the order they had when the layer was made."""
    bias = {} if module.bias is None else {"bias": module.bias.data}
    if isinstance(module, Linear8bitLt):
        weight = module.weight if module.weight.SCB is not None else module.state
        meta: dict[str, Any] = {"format": "llm_int8", "threshold": module.state.threshold}
        return {"weight": module.weight.data, "scale": weight.SCB, **bias}, meta
    state = module.weight.quant_state
    data, absmax, dtype = module.weight.data, state.absmax, state.dtype
    if getattr(state, "packing_format_for_cpu", False):
        data, absmax, dtype = restore_order(data, state.shape), absmax.T.reshape(-1).float(), state.original_dtype
    meta = {
        "format": state.quant_type,
        "group_size": state.blocksize,
        "shape": list(state.shape),
        "dtype": str(dtype).removeprefix("torch."),
    }
    half = absmax.to(torch.bfloat16)  # scales that were rounded take half the bytes
    return {"weight": data.reshape(-1, 1), "scale": half if torch.equal(half.float(), absmax) else absmax, **bias}, meta


def unpack(tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
    """The layer that `pack` took apart."""
    weight, scale = tensors["weight"].to(device), tensors["scale"].to(device)
    bias = tensors["bias"].to(device) if "bias" in tensors else None
    if meta["format"] == "llm_int8":
        return _linear8(weight, scale, bias, float(meta["threshold"]))
    state = QuantState(
        absmax=scale.float(),
        shape=torch.Size(meta["shape"]),
        code=get_4bit_type(meta["format"], device=device, blocksize=meta["group_size"]),
        blocksize=meta["group_size"],
        quant_type=meta["format"],
        dtype=getattr(torch, meta["dtype"]),
    )
    return _linear4(weight, state, bias)


def restore_order(packed: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Bytes [out * in / 2] of a weight [out, in] that the CPU kernel reordered.

    The kernel holds, for 32 rows and two columns at a time, 64 numbers in 32 bytes: the first half in the low bits.
    """
    rows, columns = shape
    both = packed.reshape(-1, KERNEL_ROWS)
    numbers = torch.cat([both & 0xF, both >> 4], dim=-1)  # [blocks, 64]
    numbers = numbers.reshape(rows // KERNEL_ROWS, columns // 2, KERNEL_ROWS, 2).transpose(1, 2).reshape(-1, 2)
    return (numbers[:, 0] << 4) | numbers[:, 1]


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
    if rows % KERNEL_ROWS or columns % state.blocksize:  # the kernel refuses these shapes: expand the weight instead
        module.support_avx512bf16_for_cpu = False
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
