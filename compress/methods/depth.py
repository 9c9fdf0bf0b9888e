"""Remove layers: the kept ones move up, and keep the values derived from their old position.

    layers    0  1  2  3                       kept 1, 3
    places       0     1     in config (layer types), in the cache's index, in the names of layers
    scaling     1/2   1/4    of GPT-2's scale_attn_by_inverse_layer_idx: trained with, so it stays

Two empty models, built from the configurations before and after, show which attributes depend on the position. Those
that differ go into the artifact's manifest, because the configuration would recompute them.
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
    """Keep these transformer layers, in place, and update config and layers to their new positions.

    Returns, per module, the attributes that the configuration no longer yields, as manifest entries. Raises InputError,
    before anything changes, if the configuration builds layers of another structure at those positions.
    """
    names = architecture_of(model, step)
    path = layers_path(model, names)
    fewer = _with_layers(model.config, names.depth, kept)
    before, after = _empty(model, model.config), _empty(model, fewer)
    attributes: dict[str, dict[str, Any]] = {}
    for place, index in enumerate(kept):
        old, new = (empty.get_submodule(f"{path}.{i}") for empty, i in ((before, index), (after, place)))
        if _structure(old) != _structure(new):
            raise InputError(
                f"{step}: {model.config.model_type} gives layer {place} another structure than layer {index}, which "
                "would move there; keep the first layers only"
            )
        for child, keys in _derived(old, new).items():
            module = model.get_submodule(f"{path}.{index}{child and '.'}{child}")
            values = {key: getattr(module, key) for key in keys if hasattr(module, key)}
            if values:
                attributes[f"{path}.{place}{child and '.'}{child}"] = {"attributes": values}
    _move_up(model, path, kept, before, after)
    for name in (names.depth, *PER_LAYER):
        if hasattr(model.config, name):
            setattr(model.config, name, getattr(fewer, name))
    return attributes


def _with_layers(config: Any, depth: str, kept: tuple[int, ...]) -> Any:
    """Return a copy of the configuration with these layers only."""
    fewer = copy.deepcopy(config)
    setattr(fewer, depth, len(kept))
    for name in PER_LAYER:
        if isinstance(values := getattr(config, name, None), list | tuple):
            setattr(fewer, name, [values[index] for index in kept])
    return fewer


def _empty(model: Any, config: Any) -> Any:
    """Return a model of the same class on the meta device."""
    with torch.device("meta"):
        return type(model)(copy.deepcopy(config))


def _structure(layer: nn.Module) -> dict[str, Any]:
    modules: dict[str, Any] = {name: type(module) for name, module in layer.named_modules()}
    return modules | {f"{name} shape": tuple(p.shape) for name, p in layer.named_parameters()}


def _derived(old: nn.Module, new: nn.Module) -> dict[str, list[str]]:
    """Return, per module of a layer, the plain attributes that differ between two positions."""
    others = dict(new.named_modules())
    differing = {name: _changed(module, others[name]) for name, module in old.named_modules()}
    return {name: keys for name, keys in differing.items() if keys}


def _changed(old: nn.Module, new: nn.Module) -> list[str]:
    """Return the names of plain attributes that differ, except `layer_idx`, which is the position itself."""
    old_values, new_values = _plain(old), _plain(new)
    return [
        key for key in old_values if key != "layer_idx" and key in new_values and old_values[key] != new_values[key]
    ]


def _plain(module: nn.Module) -> Mapping[str, Any]:
    return {k: v for k, v in vars(module).items() if not k.startswith("_") and isinstance(v, int | float | str | None)}


def _move_up(model: Any, path: str, kept: tuple[int, ...], before: Any, after: Any) -> None:
    """Move the kept layers to their new positions, and update the parent's attributes that depend on depth."""
    parent, _, child = path.rpartition(".")
    owner, empty = model.get_submodule(parent), after.get_submodule(parent)
    for key in _changed(
        before.get_submodule(parent), empty
    ):  # DistilBERT's layer count, Qwen's flag for sliding windows
        setattr(owner, key, getattr(empty, key))
    for name in dict(before.named_buffers()).keys() - dict(after.named_buffers()).keys():
        if not name.startswith(f"{path}."):  # Gemma 3's rotary frequencies of a kind of layer that is gone
            holder, _, key = name.rpartition(".")
            del model.get_submodule(holder)._buffers[key]
    layers = model.get_submodule(path)
    setattr(owner, child, nn.ModuleList([layers[index] for index in kept]))
    for place, layer in enumerate(getattr(owner, child)):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = place  # the key/value cache is indexed by it
