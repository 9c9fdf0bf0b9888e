"""Parameter shapes before and after a cut, as entries of the artifact's manifest."""

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D


def parameter_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by name, tied ones under each of their names."""
    return {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}


def shape_changes(before: dict[str, tuple[int, ...]], model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return manifest entries of all modules whose parameters changed shape.

    `shape` is the weight's, as stored. `parameters` holds those of bare parameters (a ViT's class token). `attributes`
    are the plain numbers that a Conv1D computes with.
    """
    changed: dict[str, dict[str, Any]] = {}
    for name, shape in parameter_shapes(model).items():
        if before.get(name) == shape:
            continue
        owner, _, leaf = name.rpartition(".")
        entry = changed.setdefault(owner, {})
        module = model.get_submodule(owner)
        if leaf == "weight":
            entry["shape"] = list(shape)
        elif leaf != "bias":
            entry.setdefault("parameters", {})[leaf] = list(shape)
        if isinstance(module, Conv1D):
            entry["attributes"] = {"nf": module.nf, "nx": module.nx}
    return changed
