"""Empty models on the meta device, built from a configuration without weights."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from compress.base.config import InputError
from compress.base.errors import as_input_error
from compress.data.tasks import task_of

SOME_MODULES, MODULES_PER_TENSOR = 1000, 10  # BERT has 1.2 modules per tensor, models with shared layers more
MOST_MODULES = 100_000  # a mixture of 61 layers with 256 experts each has 64,000

ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function", "activation", "ffn_act", "feed_forward_act")
"""Fields of a configuration that name an activation."""


def auto_class(task: str) -> Any:
    """Return the transformers Auto class of a task."""
    declared = task_of(task)
    return declared.auto(declared)


def empty_model(config: Any, task: str, trust_remote_code: bool = False, tensors: int | None = None) -> Any:
    """Return the model that a configuration describes, on the meta device (without memory), in eval mode.

    Raises InputError if it describes no model, or far more modules than the stored `tensors` can fill.
    """
    auto_name = task_of(task).auto_model
    sentence = "no {} can be made from its config.json ({})"
    unbuildable = as_input_error(lambda reason: sentence.format(auto_name, _cause(config) or reason))
    with unbuildable, torch.device("meta"), few_modules(tensors):
        model = auto_class(task).from_config(copy.deepcopy(config), trust_remote_code=trust_remote_code)
    return model.eval()


def unfilled_model(config: Any, task: str, trust_remote_code: bool = False) -> Any:
    """Return the same model with its buffers computed in memory, as loading computes them; parameters have none."""
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        model = auto_class(task).from_config(
            copy.deepcopy(config), trust_remote_code=trust_remote_code, dtype=torch.float32
        )
    model.tie_weights()
    return model.eval()


def _cause(config: Any) -> str | None:
    """Return the error text for an activation that transformers does not have, or None."""
    from transformers.activations import ACT2FN

    named = {field: getattr(config, field, None) for field in ACTIVATIONS}
    unknown = [field for field, name in named.items() if isinstance(name, str) and name not in ACT2FN]
    return f"{unknown[0]}: {named[unknown[0]]!r}; expected an activation such as gelu" if unknown else None


@contextlib.contextmanager
def few_modules(tensors: int | None = None) -> Iterator[None]:
    """Raise InputError for an implausible number of modules: ten million layers would take minutes to build."""
    count, most = 0, MOST_MODULES if tensors is None else SOME_MODULES + MODULES_PER_TENSOR * tensors

    def count_module(_owner: nn.Module, _name: str, _module: nn.Module | None) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise InputError(f"config.json describes a model of over {most} modules; check its numbers of layers")

    hook = register_module_module_registration_hook(count_module)
    try:
        yield
    finally:
        hook.remove()
