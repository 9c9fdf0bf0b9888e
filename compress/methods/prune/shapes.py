"""Parameter shapes and groups of convolutions before and after a cut, as entries of the artifact's manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.model.convolutions import CONVOLUTIONS

Shapes = dict[str, tuple[int, ...]]


def parameter_shapes(model: nn.Module) -> Shapes:
    """Return the shape of every parameter by name, tied ones under each of their names."""
    return {name: tuple(p.shape) for name, p in model.named_parameters(remove_duplicate=False)}


def shape_changes(before: Shapes, model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return manifest entries of all modules whose parameters changed shape.

    `shape` is the weight's, as stored. `parameters` holds those of bare parameters (a ViT's class token), and of a bias
    with more than one dimension (a global response norm). `attributes` are the plain numbers that a Conv1D computes
    with.
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
        elif leaf != "bias" or len(shape) > 1:
            entry.setdefault("parameters", {})[leaf] = list(shape)
        if isinstance(module, Conv1D):
            entry["attributes"] = {"nf": module.nf, "nx": module.nx}
    return changed


@dataclass(frozen=True)
class Arrangement:
    """What a cut of channels changes in a model."""

    shapes: Shapes
    groups: Mapping[str, int]
    """Convolution -> its groups."""


def arrangement(model: nn.Module) -> Arrangement:
    """Return the shapes of all parameters, and the groups of all convolutions."""
    groups = {name: module.groups for name, module in model.named_modules() if isinstance(module, CONVOLUTIONS)}
    return Arrangement(parameter_shapes(model), groups)


def changes_since(before: Arrangement, model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return the entries of `shape_changes`, with the groups of convolutions whose number of groups changed."""
    changed = shape_changes(before.shapes, model)
    for name, groups in arrangement(model).groups.items():
        if groups != before.groups[name]:
            changed.setdefault(name, {})["attributes"] = {"groups": groups}
    return changed
