"""Modules and weights that a model holds under several names.

    before   a.q.weight is b.q.weight, in two layers       after `merged`   a.q is b.q, one layer under two names

A step then sees one layer, captures what enters it under all of its names, changes it once, and `swap` puts the changed
layer everywhere. The artifact keeps the other names (`aliases`).
"""

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


def merged(model: Any) -> Any:
    """The model, in place, with one module for all plain linear layers that hold the same weight and bias."""
    first: dict[tuple[type, int, int], nn.Module] = {}
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if type(child) in (nn.Linear, Conv1D) and child._parameters.get("weight") is not None:
                same = type(child), id(child._parameters["weight"]), id(child._parameters.get("bias"))
                parent._modules[key] = first.setdefault(same, child)
    return model


def swap(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` where the submodule (or the bare parameter) `name` was, under every name that it has."""
    parent_name, _, key = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    old = parent._modules.get(key)
    parent._parameters.pop(key, None)
    setattr(parent, key, module)
    for other in list(model.modules()) if old is not None else ():
        for place, child in other._modules.items():
            if child is old:
                other._modules[place] = module


def aliases(model: nn.Module) -> dict[str, str]:
    """Another name of a module -> its first name; of nested ones the outermost only."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        known = first.setdefault(id(module), name)
        if known != name and not any(name.startswith(f"{outer}.") for outer in found):
            found[name] = known
    return found
