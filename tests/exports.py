"""Equal models are exported once for all tests, which takes seconds each time: both workers and all forked commands.

    class, configuration, inputs, weights --> folder/<their hash>.onnx, made under a lock of its own

What comes out is determined by these. `started` commands export for themselves.
"""

import fcntl
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from compress.model.runtimes import onnx as graph

FOLDER = "COMPRESS_TEST_EXPORTS"
"""The environment variable that names the folder; conftest makes it."""
real = graph.export


def export(model: Any, folder: Path, batch: Any) -> Path:
    """Stands in for compress.model.runtimes.onnx.export: copies the graph of an equal model."""
    kept = Path(os.environ[FOLDER], f"{key(model, batch)}.onnx")
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            made = real(model, folder, batch)
            part = kept.with_suffix(".part")  # a process may be killed while it copies
            shutil.copy(made, part)
            part.replace(kept)
            return made
    return Path(shutil.copy(kept, folder / graph.FILE))


def key(model: Any, batch: Any) -> str:
    """Hash of all that the graph of a model depends on."""
    inputs = [(name, tensor.shape[1:] if tensor.dim() > 2 else "tokens") for name, tensor in batch.items()]
    digest = hashlib.sha256(repr((type(model), model.config.to_json_string(), inputs)).encode())
    for (
        name,
        module,
    ) in model.named_modules():  # the number of heads and the like, which do not follow from the shapes of weights
        plain = {k: v for k, v in vars(module).items() if isinstance(v, int | float | str)}
        digest.update(repr((name, type(module), sorted(plain.items()))).encode())
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def install() -> None:
    """Make this process take the graphs of equal models from the folder."""
    graph.export = export
