"""What a model weighs: parameters, non-zeros, bytes on disk."""

from pathlib import Path
from typing import Any

import torch


def parameter_counts(model: Any) -> tuple[int, int]:
    """Parameters and non-zero parameters of a dense module, tied weights counted once."""
    seen: dict[int, torch.Tensor] = {id(p): p for p in model.parameters()}
    total = sum(p.numel() for p in seen.values())
    nonzero = sum(int(torch.count_nonzero(p)) for p in seen.values())
    return total, nonzero


def stored_bytes(folder: Path) -> int:
    """Bytes of the files that hold weights. Raises FileNotFoundError when there are none: unknown is not 0."""
    files = [
        f for f in folder.rglob("*") if f.is_file() and f.name.endswith((".safetensors", ".onnx", ".data", ".bin"))
    ]
    if not files:
        raise FileNotFoundError(f"{folder}: holds no weights")
    return sum(f.stat().st_size for f in files)


def weight_bytes(model: Any) -> int:
    """Bytes of parameters and buffers in memory, tied tensors once: what storing them plainly takes."""
    seen = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers()) if t.numel()}
    return sum(t.numel() * t.element_size() for t in seen.values())
