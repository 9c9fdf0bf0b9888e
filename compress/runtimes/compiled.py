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

TORCHAO: dict[str, bool] = {
    "coordinate_descent_tuning": True,
    "coordinate_descent_check_all_directions": True,
}
"""What torchao recommends for its formats (`recommended_inductor_config_setter`) and torch still heeds. It sets them
for the whole process, which would change other models of a session; here they are one model's."""
GRAPHS: dict[str, bool] = {"triton.cudagraphs": True}


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
    options: dict[str, Any] = {}
    if device.type == "cuda":
        options |= TORCHAO if _holds_torchao(model) else {}
        options |= GRAPHS if fixed else {}
    return torch.compile(model, dynamic=not fixed, options=options or None)


def _holds_torchao(model: Any) -> bool:
    return any(type(p).__module__.startswith("torchao.") or hasattr(p, "tensor_data_names") for p in model.parameters())
