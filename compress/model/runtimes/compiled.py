"""torch.compile: the same model with its operators fused by inductor.

Shapes are dynamic: batches of an evaluation differ in length, and compiling again for each would take minutes. One
compiled model then serves both evaluation and timing, so that what is judged is what is timed. Under fixed padding they
differ in batch size only: then each shape is compiled by itself, and a GPU replays it as one CUDA graph.

What torch would leave uncompiled with no more than a warning is an error here: a row named `compile` is compiled.
"""

import os
import shutil
from typing import Any

import torch
import torch._dynamo

from compress.base.config import InputError

VARIANTS = 256
"""Compiled forms of one function, for all models and shapes of a process together: models of transformers enter through
one and the same function. By itself torch stops at 8, and runs whatever comes after that as it is."""
TUNING: dict[str, bool] = {"autotune_local_cache": False}
"""Kernels are tuned in the process that runs them. Another one's choice would be inherited from a disk cache, and the
processes that find out memory make theirs while others keep the device busy."""
GRAPHS: dict[str, bool] = {"triton.cudagraphs": True, "triton.cudagraph_or_error": True}


def compile_model(model: Any, fixed: bool = False) -> Any:
    """The model, compiled on its first batch; `fixed`: for each shape anew, on a GPU as CUDA graphs.

    From then on, a function of which this process needs more than 256 compiled variants raises. Raises InputError when
    the machine has no C++ compiler for it.
    """
    device = next(model.parameters()).device
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if not any(name and shutil.which(name) for name in compilers):
        raise InputError(
            "runtime compile: torch.compile needs a C++ compiler and found none; install g++, or take eager"
        )
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, VARIANTS)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, VARIANTS)
    limits.fail_on_recompile_limit_hit = True
    options: dict[str, Any] | None = (TUNING | (GRAPHS if fixed else {})) if device.type == "cuda" else None
    return torch.compile(model, dynamic=not fixed, options=options)
