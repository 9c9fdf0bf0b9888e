"""GPTQ's checkpoint layout, which vLLM and GPTQModel load, and a reader of it.

    NAME.qweight   int32 [in * bits / 32, out]        integers from 0; inputs share a word, the first in the lowest bits
    NAME.qzeros    int32 [groups, out * bits / 32]    zeros; outputs share a word
    NAME.scales    fp16 [groups, out]                 value = (integer - zero) * scale
    NAME.g_idx     int32 [in]                         group of each input

The first version of the layout stores zeros minus one (`checkpoint_format: gptq`), which readers add again. A zero of 0
would overflow there: such models are written as `gptq_v2`, with the zeros as they are.
"""

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.base.errors import InputError
from compress.export import folder as layout
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.integers import Integers, from_words, others, words

HEADS = ("lm_head", "embed_out")
"""Names of output layers in transformers."""
PARTS = ("qweight", "qzeros", "scales", "g_idx")


def write(model: Any, processor: Any, layers: Mapping[str, GroupedLinear], folder: Path) -> None:
    """Write the model as a folder in GPTQ's layout. Raises InputError for layers of several bits or group sizes."""
    tensors = dict(others(model, layers))
    every = {name: Integers.of(layer) for name, layer in layers.items()}
    kinds = {(integers.bits, integers.group_size): name for name, integers in every.items()}
    if len(kinds) > 1:
        listed = "; ".join(f"{name} has {bits} bits in groups of {size}" for (bits, size), name in kinds.items())
        raise InputError(f"gptq: one size of integers and of groups for all layers; {listed}; use compressed-tensors")
    symmetric = all(integers.symmetric for integers in every.values())
    for name, integers in every.items():
        tensors |= {f"{name}.{part}": tensor for part, tensor in packed(integers, 1 if symmetric else 0).items()}
    left = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n not in {*layers, *HEADS}]
    ((bits, size),) = kinds
    whole = all(integers.scale.shape[1] == 1 for integers in every.values())
    layout.write(
        model, processor, tensors, config(bits, -1 if whole else size, symmetric, left, _has_head(layers)), folder
    )


def config(bits: int, size: int, symmetric: bool, left: list[str], head: bool) -> dict[str, Any]:
    """Return `quantization_config`; `size` is -1 for whole rows, `left` are linear layers in floating point.

    `head` states that the output layer is quantized: readers expect it in floating point otherwise.
    """
    skipped: dict[str, dict[str, Any]] = {f"-:^{re.escape(name)}$": {} for name in left}
    return {
        "quant_method": "gptq",
        "checkpoint_format": "gptq" if symmetric else "gptq_v2",
        "bits": bits,
        "group_size": size,
        "sym": symmetric,
        "desc_act": False,
        "lm_head": head,
        **({"dynamic": skipped} if skipped else {}),
    }


def _has_head(names: Collection[str]) -> bool:
    return any(name in HEADS for name in names)


def packed(integers: Integers, offset: int) -> dict[str, torch.Tensor]:
    """Return a layer's tensors; `offset` is subtracted from zeros."""
    inputs = integers.ints.shape[1]
    zeros = integers.zero.to(torch.int32) - offset
    parts = {
        "qweight": words(integers.ints, integers.bits).T,
        "qzeros": words(zeros.T, integers.bits),
        "scales": integers.scale.to(torch.float16).T,
        "g_idx": torch.arange(inputs, dtype=torch.int32) // integers.group_size,
    }
    return parts if integers.bias is None else {**parts, "bias": integers.bias}


def read(folder: Path) -> tuple[dict[str, Integers], dict[str, torch.Tensor]]:
    """Return the quantized layers of a folder in GPTQ's layout by name, and all other tensors."""
    from safetensors.torch import load_file

    stored: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        stored |= load_file(file)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    bits, offset = int(settings["bits"]), 1 if settings["checkpoint_format"] == "gptq" else 0
    names = [key.removesuffix(".qweight") for key in stored if key.endswith(".qweight")]
    if settings["lm_head"] is not _has_head(names):
        raise InputError(f"{folder}: quantization_config has lm_head: {settings['lm_head']}, unlike its tensors")
    layers: dict[str, Integers] = {}
    for name in names:
        weight, zeros, scales, groups = (stored.pop(f"{name}.{part}") for part in PARTS)
        ints = from_words(weight.T.contiguous(), bits)
        if not torch.equal(groups, torch.arange(len(groups), dtype=groups.dtype) // (len(groups) // len(scales))):
            raise InputError(f"{folder}: {name}.g_idx reorders inputs; expected groups of neighbours")
        zero = (from_words(zeros, bits).T + offset) & (2**bits - 1)
        bias = stored.pop(f"{name}.bias", None)
        layers[name] = Integers(ints, scales.T.contiguous(), zero.half(), bits, bias, torch.float32)
    return layers, stored
