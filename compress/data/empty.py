"""Empty models on the meta device, made from a configuration without their weights."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from compress.base.config import InputError
from compress.base.errors import blamed
from compress.data.tasks import task_of

SOME_MODULES, MODULES_PER_TENSOR = 1000, 10  # BERT has 1.2 modules a tensor, one whose layers share weights has more
MOST_MODULES = 100_000  # a mixture of 61 layers with 256 experts each has 64,000

ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function", "activation", "ffn_act", "feed_forward_act")
"""Fields of a configuration that name an activation."""


def auto_class(task: str) -> Any:
    """The transformers Auto class of a task."""
    import transformers

    return getattr(transformers, task_of(task).auto_model)


def empty_model(config: Any, task: str, trust_remote_code: bool = False, tensors: int | None = None) -> Any:
    """The architecture that a configuration describes, without memory (meta device), in eval mode.

    Raises InputError where a configuration describes none, or far more modules than the stored `tensors` can fill.
    """
    auto = task_of(task).auto_model
    unmade = blamed(lambda reason: f"no {auto} can be made from its config.json ({_cause(config) or reason})")
    with unmade, torch.device("meta"), few_modules(tensors):
        model = auto_class(task).from_config(copy.deepcopy(config), trust_remote_code=trust_remote_code)
    return model.eval()


def _cause(config: Any) -> str | None:
    """Return a sentence about an activation that transformers does not have, where a configuration names one."""
    from transformers.activations import ACT2FN

    named = {field: getattr(config, field, None) for field in ACTIVATIONS}
    unknown = [field for field, name in named.items() if isinstance(name, str) and name not in ACT2FN]
    return f"{unknown[0]}: {named[unknown[0]]!r}; expected an activation such as gelu" if unknown else None


@contextlib.contextmanager
def few_modules(tensors: int | None = None) -> Iterator[None]:
    """Raise InputError for a model of more modules than any has: ten million layers would take minutes to build."""
    count, most = 0, MOST_MODULES if tensors is None else SOME_MODULES + MODULES_PER_TENSOR * tensors

    def counted(_owner: nn.Module, _name: str, _module: nn.Module | None) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise InputError(f"config.json describes a model of over {most} modules; look at its numbers of layers")

    hook = register_module_module_registration_hook(counted)
    try:
        yield
    finally:
        hook.remove()
