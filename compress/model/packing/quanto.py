"""optimum-quanto: int4 weights in groups, expanded to floating point before every product.

The first int4 forward pass in a new environment compiles C++ (about 30 s). `make` and `unpack` trigger that, to keep it
out of timings. The layers cannot run under `torch.inference_mode`: use `torch.no_grad`.
"""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

import torch
from optimum.quanto import QLinear, qint4
from optimum.quanto.library.extensions import get_extension, is_extension_available
from torch import nn

from compress.base.config import InputError
from compress.base.device import DeviceKind
from compress.model.packing import Settings, Shapes, Tensors, kernels

EXTENSIONS = ("quanto_cpp", "quanto_cuda")
"""quanto's extensions that are compiled at their first call."""


def refuse(linear: nn.Linear, settings: Settings, _kind: DeviceKind) -> str | None:
    """Return why this layer cannot be quantized; None if it can."""
    if linear.in_features % settings["group_size"]:
        return f"group_size {settings['group_size']} does not divide its {linear.in_features} inputs"
    return None


def make(linear: nn.Linear, settings: Settings) -> nn.Module:
    """Return a QLinear with frozen int4 weights."""
    _compile_kernels()
    with torch.no_grad():
        module = QLinear.from_module(linear, weights=qint4)
        module.weight_group_size = settings["group_size"]
        module.freeze()
    return module.eval().requires_grad_(False)


def pack(module: Any) -> tuple[Tensors, dict[str, Any]]:
    """Return the layer's state as quanto itself saves it."""
    meta = {
        "shape": [module.out_features, module.in_features],
        "group_size": module.weight_group_size,
        "dtype": str(module.weight.dtype).removeprefix("torch."),
        "bias": module.bias is not None,
    }
    return dict(module.state_dict()), meta


def shapes(rows: int, columns: int, meta: Settings, stored: Shapes) -> Shapes:
    """Return the file's shapes, which only quanto defines, after checking the recorded shape of the layer."""
    if list(meta["shape"]) != [rows, columns]:
        raise ValueError(f"a layer of shape {meta['shape']}; expected [{rows}, {columns}]")
    return {name: shape for name, shape in stored.items() if name != "bias"}


def unpack(tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
    """Return the layer that `pack` packed."""
    _compile_kernels()
    rows, columns = meta["shape"]
    dtype = getattr(torch, meta["dtype"])
    module = QLinear(columns, rows, bias=meta["bias"], weights=qint4, device="meta", dtype=dtype)
    module.weight_group_size = meta["group_size"]
    module = module.to_empty(device=device)
    module.load_state_dict({name: tensor.to(device) for name, tensor in tensors.items()})
    return module.eval().requires_grad_(False)


@cache
def _compile_kernels() -> None:
    """Compile quanto's C++ on first use in an environment. Raises InputError if g++ or ninja is missing."""
    missing = [tool for tool in ("g++", "ninja") if shutil.which(tool) is None]
    if missing:
        raise InputError(
            f"quanto int4 compiles C++ on first use and found no {' and no '.join(missing)}; install it "
            "(g++ from the system, ninja with pip), or use format nf4"
        )
    folders = [Path(get_extension(name).build_directory) for name in EXTENSIONS if is_extension_available(name)]
    with kernels.building(folders):
        torch.ops.quanto.unpack(torch.zeros(4, dtype=torch.uint8), 4)
