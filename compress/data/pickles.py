"""Models with pickled weights: never opened, even with trusted code. Errors explain how to convert them."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from compress.data.tasks import task_of

WEIGHTS = "*.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
"""File patterns of weights that can run code when opened."""
OF_TRAINERS = ("training_args", "optimizer", "scheduler", "rng_state", "scaler", "adapter_")
"""Name prefixes of pickles that training writes next to the weights."""


def in_folder(path: Path) -> list[str]:
    """Return the names of the pickled weights in a model's folder."""
    names = {file.name for pattern in PICKLES for file in path.glob(pattern)}
    return sorted(name for name in names if not name.startswith(OF_TRAINERS))


def conversion(model: str, task: str, pickles: Sequence[str]) -> str:
    """Return the error text for a model with pickled weights, with the command that converts them."""
    declared = task_of(task)
    parts = (declared.auto_model, declared.auto_processor)
    target = f"{Path(model).name}-safetensors"
    call = f"getattr(t, n).from_pretrained({model!r}).save_pretrained({target!r})"
    line = f"import transformers as t; [{call} for n in {parts!r}]"
    return (
        f"has its weights as pickles only ({', '.join(pickles[:2])}), which can run code when they are opened; "
        f"expected {WEIGHTS}; if you trust their author, convert them with: python -c {shlex.quote(line)}; and use "
        f"{target} as the model"
    )
