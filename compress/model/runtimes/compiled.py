"""torch.compile: the same model with its operators fused by inductor.

Shapes are dynamic, because evaluation batches differ in length, and compiling for each would take minutes. One compiled
model serves both evaluation and timing, so both measure the same code. Under fixed padding batches differ in size only:
then each shape is compiled separately, and a GPU replays it as one CUDA graph.

Where torch would only warn and run uncompiled, this module raises an error: a row named `compile` is compiled.
"""

import os
import shutil
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo

from compress.base.config import InputError

VARIANTS = 256
"""Most compiled variants of one function, over all models and shapes of a process.

All transformers models enter through the same function. torch's default limit is 8, after which it runs uncompiled.
"""
TUNING: dict[str, bool] = {"autotune_local_cache": False}
"""Kernels are tuned in the process that runs them, not read from a disk cache.

The cache may hold choices of the processes that measure memory, tuned while others kept the device busy.
"""
GRAPHS: dict[str, bool] = {"triton.cudagraphs": True, "triton.cudagraph_or_error": True}
Compiler = str | Callable[..., Any]
"""A backend of torch.compile: the compiler that receives the captured graphs."""


def compile_model(model: Any, fixed: bool = False, backend: Compiler = "inductor") -> Any:
    """Return the model, compiled on its first batch; `fixed`: once per shape, on a GPU as CUDA graphs.

    From then on, a function with more than 256 compiled variants in this process raises an error. Raises InputError if
    no C++ compiler is installed.
    """
    return torch.compile(model, dynamic=not fixed, backend=backend, options=_options(model, fixed))


def compile_step(model: Any, windows: bool, backend: Compiler = "inductor") -> Any:
    """Return a language model, compiled for single tokens after a static cache; on a GPU as CUDA graphs.

    The whole step is one graph: an operator that cannot be part of it raises torch's error. Each shape of the cache is
    compiled separately. `windows`: layers with a window count their tokens in a Python integer, a variable of the
    graph; lengths that differ between caches then become variables too, and a full window has a graph of its own.
    Limits and errors are those of `compile_model`.
    """
    dynamic = None if windows else False  # None: what has changed once is a variable from then on
    return torch.compile(model, fullgraph=True, dynamic=dynamic, backend=backend, options=_options(model, fixed=True))


def _options(model: Any, fixed: bool) -> dict[str, Any] | None:
    """Raise torch's limits and return the options of a compilation. Raises InputError without a C++ compiler."""
    device = next(model.parameters()).device
    compilers = (os.environ.get("CXX"), "g++", "clang++")
    if not any(name and shutil.which(name) for name in compilers):
        raise InputError(
            "runtime compile: torch.compile needs a C++ compiler and found none; install g++, or use eager"
        )
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, VARIANTS)
    limits.accumulated_recompile_limit = max(limits.accumulated_recompile_limit, VARIANTS)
    limits.fail_on_recompile_limit_hit = True
    return (TUNING | (GRAPHS if fixed else {})) if device.type == "cuda" else None
