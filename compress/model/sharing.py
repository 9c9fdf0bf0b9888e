"""Modules and weights with several names in one model.

    before   a.q.weight is b.q.weight, in two layers       after `merged`   a.q is b.q, one layer under two names

A step then processes one layer: it captures inputs under all of its names and changes it once. `swap` puts the changed
layer under every name. The artifact records the other names (`aliases`).
"""

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


def merged(model: Any) -> Any:
    """Return the model, in place, with one module for all plain linear layers with the same weight and bias."""
    first: dict[tuple[type, int, int], nn.Module] = {}
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if type(child) in (nn.Linear, Conv1D) and child._parameters.get("weight") is not None:
                identity = type(child), id(child._parameters["weight"]), id(child._parameters.get("bias"))
                parent._modules[key] = first.setdefault(identity, child)
    return model


def swap(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the submodule (or the bare parameter) `name` by `module`, under all of its names."""
    parent_name, _, key = name.rpartition(".")
    parent = model.get_submodule(parent_name)
    old = parent._modules.get(key)
    parent._parameters.pop(key, None)
    setattr(parent, key, module)
    for other in list(model.modules()) if old is not None else ():
        for place, child in other._modules.items():
            if child is old:
                other._modules[place] = module


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the submodule `name` by `module`, under this name alone."""
    parent, _, key = name.rpartition(".")
    setattr(model.get_submodule(parent), key, module)


def tied_embeddings(model: nn.Module, layer: nn.Module) -> list[str]:
    """Return the names of the embeddings whose weight is that of a layer; encoder and decoder may have one each.

    The weight decides, not `get_input_embeddings`: transformers has none for some models.
    """
    weight = layer._parameters.get("weight")
    return [
        name
        for name, module in model.named_modules()
        if weight is not None
        and module is not layer
        and module._parameters.get("weight") is weight
        and not isinstance(module, nn.Linear | Conv1D)
    ]


def tied_problem(model: Any, module: nn.Module, name: str, step: str) -> str | None:
    """Return why a step cannot replace a layer: its weight is also an embedding's, which stays. Else None."""
    if not tied_embeddings(model, module):
        return None
    return f"{name}: its weight is tied to the input embedding; exclude it from {step}"


def aliases(model: nn.Module) -> dict[str, str]:
    """Return each module's other names -> its first name; of nested modules only the outermost."""
    first: dict[int, str] = {}
    others: dict[str, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        original = first.setdefault(id(module), name)
        if original != name and not any(name.startswith(f"{outer}.") for outer in others):
            others[name] = original
    return others
