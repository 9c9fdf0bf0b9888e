"""Fewer layers: those that stay move up, and keep what they know of their old place.

    layers    0  1  2  3                       kept 1, 3
    places       0     1     in config (layer types), in the cache's index, in the names of layers
    scaling     1/2   1/4    of GPT-2's scale_attn_by_inverse_layer_idx: trained with, so it stays

What a layer derives from its place is read off two empty models, of the configuration before and after. What differs
goes into the artifact's manifest, since the configuration would make it anew.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from compress.base.config import InputError
from compress.model.architectures import architecture_of, layers_path

PER_LAYER = ("layer_types", "attention_layers", "mlp_layer_types", "no_rope_layers")
"""Config fields that are lists with one value per layer, as transformers names them."""


def keep_layers(model: Any, kept: tuple[int, ...], step: str = "distill") -> dict[str, dict[str, Any]]:
    """Keeps these transformer layers, in place, and tells config and the layers themselves their new places.

    Returns the attributes that the configuration no longer gives, per module, as the manifest takes them. Raises
    InputError, with nothing changed, where the configuration would make other layers in those places.
    """
    names = architecture_of(model, step)
    path = layers_path(model, names)
    fewer = _with_layers(model.config, names.depth, kept)
    before, after = _empty(model, model.config), _empty(model, fewer)
    attributes: dict[str, dict[str, Any]] = {}
    for place, index in enumerate(kept):
        old, new = (each.get_submodule(f"{path}.{i}") for each, i in ((before, index), (after, place)))
        if _structure(old) != _structure(new):
            raise InputError(
                f"{step}: {model.config.model_type} builds layer {place} otherwise than layer {index}, which would "
                "take its place; keep layers from the first one on"
            )
        for child, known in _derived(old, new).items():
            module = model.get_submodule(f"{path}.{index}{child and '.'}{child}")
            held = {key: getattr(module, key) for key in known if hasattr(module, key)}
            if held:
                attributes[f"{path}.{place}{child and '.'}{child}"] = {"attributes": held}
    _move_up(model, path, kept, before, after)
    for name in (names.depth, *PER_LAYER):
        if hasattr(model.config, name):
            setattr(model.config, name, getattr(fewer, name))
    return attributes


def _with_layers(config: Any, depth: str, kept: tuple[int, ...]) -> Any:
    """A copy of the configuration for these layers alone."""
    fewer = copy.deepcopy(config)
    setattr(fewer, depth, len(kept))
    for name in PER_LAYER:
        if isinstance(values := getattr(config, name, None), list | tuple):
            setattr(fewer, name, [values[index] for index in kept])
    return fewer


def _empty(model: Any, config: Any) -> Any:
    """A model of the same class without memory."""
    with torch.device("meta"):
        return type(model)(copy.deepcopy(config))


def _structure(layer: nn.Module) -> dict[str, Any]:
    modules: dict[str, Any] = {name: type(module) for name, module in layer.named_modules()}
    return modules | {f"{name} shape": tuple(p.shape) for name, p in layer.named_parameters()}


def _derived(old: nn.Module, new: nn.Module) -> dict[str, list[str]]:
    """Per module of a layer, the plain attributes that differ between two places."""
    others = dict(new.named_modules())
    found = {name: _changed(module, others[name]) for name, module in old.named_modules()}
    return {name: keys for name, keys in found.items() if keys}


def _changed(old: nn.Module, new: nn.Module) -> list[str]:
    """Names of plain attributes that differ; `layer_idx` is the place itself."""
    ours, theirs = _plain(old), _plain(new)
    return [key for key in ours if key != "layer_idx" and key in theirs and ours[key] != theirs[key]]


def _plain(module: nn.Module) -> Mapping[str, Any]:
    return {k: v for k, v in vars(module).items() if not k.startswith("_") and isinstance(v, int | float | str | None)}


def _move_up(model: Any, path: str, kept: tuple[int, ...], before: Any, after: Any) -> None:
    """Puts the kept layers in their new places; the module that holds them learns what follows from fewer layers."""
    parent, _, child = path.rpartition(".")
    owner, empty = model.get_submodule(parent), after.get_submodule(parent)
    for key in _changed(
        before.get_submodule(parent), empty
    ):  # DistilBERT counts its layers there, Qwen notes whether any has a window
        setattr(owner, key, getattr(empty, key))
    layers = model.get_submodule(path)
    setattr(owner, child, nn.ModuleList([layers[index] for index in kept]))
    for place, layer in enumerate(getattr(owner, child)):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place  # the key/value cache is indexed by it
