"""Size of a model: parameters, non-zeros, bytes on disk and in memory."""

from pathlib import Path
from typing import Any

import torch

from compress.model.manifest import INTEGERS


def parameter_counts(model: Any) -> tuple[int, int]:
    """Return the parameters and non-zero parameters of a module.

    Tied weights count once. Packed 4-bit weights count as the numbers they encode.
    """
    seen: dict[int, torch.Tensor] = {id(p): _numbers(p) for p in model.parameters()}
    total = sum(p.numel() for p in seen.values())
    nonzero = sum(int(torch.count_nonzero(p)) for p in seen.values())
    return total, nonzero


def _numbers(parameter: Any) -> torch.Tensor:
    """Return a parameter, or the dequantized numbers of one that bitsandbytes packs two to a byte."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return parameter.detach()
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(parameter.data, state)


def stored_bytes(folder: Path) -> int:
    """Return the bytes of the weight files in a folder. Raises FileNotFoundError without any: unknown is not 0.

    Integers beside a graph are not counted: the model runs without them.
    """
    files = [
        f
        for f in folder.rglob("*")
        if f.is_file()
        and f.name.endswith((".safetensors", ".onnx", ".data", ".bin", ".gguf"))
        and f.relative_to(folder).parts[0] != INTEGERS
    ]
    if not files:
        raise FileNotFoundError(f"{folder}: holds no weights")
    return sum(f.stat().st_size for f in files)


def weight_bytes(model: Any) -> int:
    """Return the bytes of parameters and buffers in memory, tied tensors counted once."""
    seen = {t.data_ptr(): t for t in (*model.parameters(), *model.buffers()) if t.numel()}
    return sum(t.numel() * t.element_size() for t in seen.values())
