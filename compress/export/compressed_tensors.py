"""compressed-tensors, format pack-quantized: what vLLM and transformers load.

    NAME.weight_packed   int32 [out, ceil(in * bits / 32)]   integers from 0, the first in the lowest bits
    NAME.weight_scale    [out, groups]                       value = (integer - 2^(bits - 1)) * scale
    NAME.weight_shape    int64 [2]

The layout is that of the package compressed-tensors 0.20, `compressors.pack_quantized`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.base.errors import InputError
from compress.export import folder as layout
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.integers import Integers, others, words

FORMAT = "pack-quantized"


def write(model: Any, processor: Any, layers: Mapping[str, GroupedLinear], folder: Path) -> None:
    """Write the model as a folder of compressed-tensors."""
    tensors = dict(others(model, layers))
    schemes: dict[tuple[int, int | None], list[str]] = {}
    for name, layer in layers.items():
        integers = Integers.of(layer)
        tensors[f"{name}.weight_packed"] = words(integers.ints, integers.bits)
        tensors[f"{name}.weight_scale"] = _scales(name, integers)
        tensors[f"{name}.weight_shape"] = torch.tensor(integers.ints.shape)
        if integers.bias is not None:
            tensors[f"{name}.bias"] = integers.bias
        size = integers.group_size if integers.scale.shape[1] > 1 else None
        schemes.setdefault((integers.bits, size), []).append(name)
    left = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n not in layers]
    layout.write(model, processor, tensors, config(schemes, left), folder)


def _scales(name: str, integers: Integers) -> torch.Tensor:
    """Return the scales in the model's own type, in which readers hold them.

    Raises InputError for scales that the type rounds.
    """
    scales = integers.scale.to(integers.dtype)
    if not torch.equal(scales.float(), integers.scale.float()):
        raise InputError(
            f"compressed-tensors: {name} has scales in fp16 and the model is in bf16, to which readers round them; "
            "cast to fp16 instead; a checkpoint stored in bf16 keeps its type under memory: layers: use memory: whole, "
            "or convert it to fp16 first"
        )
    return scales


def config(schemes: Mapping[tuple[int, int | None], list[str]], left: list[str]) -> dict[str, Any]:
    """Return `quantization_config` for layers by (bits, group size, None: a whole row), and linear layers left out."""
    groups = {
        f"group_{index}": {
            "targets": ["Linear"] if len(schemes) == 1 else names,
            "weights": {
                "num_bits": bits,
                "type": "int",
                "symmetric": True,
                "strategy": "channel" if size is None else "group",
                "group_size": size,
                "dynamic": False,
            },
        }
        for index, ((bits, size), names) in enumerate(schemes.items())
    }
    return {
        "quant_method": "compressed-tensors",
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": left,
    }
