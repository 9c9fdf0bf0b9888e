"""torch.compile: the same model with its operators fused by inductor.

Shapes are dynamic: batches of an evaluation differ in length, and compiling again for each would take minutes. One
compiled model then serves both evaluation and timing, so that what is judged is what is timed. Under fixed padding they
differ in batch size only: then each shape is compiled by itself, and a GPU replays it as one CUDA graph.
"""

import os
import shutil
from typing import Any

import torch

from compress.config import InputError


def compile_model(model: Any, fixed: bool = False) -> Any:
    """The model, compiled on its first batch; `fixed`: for each shape anew, on a GPU as CUDA graphs.

    Raises InputError when the machine has no C++ compiler for it.
    """
    device = next(model.parameters()).device
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if not any(name and shutil.which(name) for name in compilers):
        raise InputError(
            "runtime compile: torch.compile needs a C++ compiler and found none; install g++, or take eager"
        )
    if device.type == "cuda" and _holds_torchao(model):
        from torchao.quantization.utils import recommended_inductor_config_setter

        recommended_inductor_config_setter()  # fuses scales into the int8 products
    if not fixed:
        return torch.compile(model, dynamic=True)
    return torch.compile(model, dynamic=False, mode="reduce-overhead" if device.type == "cuda" else None)


def _holds_torchao(model: Any) -> bool:
    return any(type(p).__module__.startswith("torchao.") or hasattr(p, "tensor_data_names") for p in model.parameters())
