"""Models whose weights are pickles: never opened, not even where their code is trusted, and what to do instead."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from compress.data.tasks import task_of

WEIGHTS = "*.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
"""Weights that can run code when they are opened."""
OF_TRAINERS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler", "adapter_")
"""How the names of pickles begin that training leaves beside the weights."""


def in_folder(path: Path) -> list[str]:
    """The pickles of a model's folder."""
    names = {file.name for pattern in PICKLES for file in path.glob(pattern)}
    return sorted(name for name in names if not name.startswith(OF_TRAINERS))


def conversion(model: str, task: str, pickles: Sequence[str]) -> str:
    """What to do with a model whose weights are pickles."""
    declared = task_of(task)
    parts = (declared.auto_model, declared.auto_processor)
    new = f"{Path(model).name}-safetensors"
    each = f"getattr(t, n).from_pretrained({model!r}).save_pretrained({new!r})"
    line = f"import transformers as t; [{each} for n in {parts!r}]"
    return (
        f"has its weights as pickles only ({', '.join(pickles[:2])}), which can run code when they are opened; "
        f"expected {WEIGHTS}; if you trust who made them, convert them with: python -c {shlex.quote(line)}; and give "
        f"{new} as the model"
    )
