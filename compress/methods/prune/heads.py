"""Attention heads: a key/value head is removed together with all query heads that share it.

    grouped-query attention, 2 query heads per key/value head, key/value head 1 removed:

    q_proj rows     [ q0 q1 | q2 q3 | q4 q5 | q6 q7 ]   ->   [ q0 q1 | q4 q5 | q6 q7 ]
    k_proj, v_proj  [  k0   |  k1   |  k2   |  k3   ]   ->   [  k0   |  k2   |  k3   ]
    o_proj columns  [ q0 q1 | q2 q3 | q4 q5 | q6 q7 ]   ->   [ q0 q1 | q4 q5 | q6 q7 ]

Without sharing, a group is one head. If query, key and value are one matrix (GPT-2), its outputs are concatenated.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.base.config import InputError
from compress.methods.capture import Inputs
from compress.methods.layerwise import change_layers
from compress.methods.prune.importance import Part, Structures, allocated, most_important
from compress.methods.prune.scoring import scores
from compress.methods.prune.shapes import parameter_shapes, shape_changes
from compress.methods.prune.targets import in_parameters
from compress.model.architectures import Layer, separate_layers
from compress.model.bundle import Bundle, matches
from compress.model.families import Architecture
from compress.model.layers import keep_inputs, keep_outputs, matrix, output_dim
from compress.spec.steps import Prune


@dataclass(frozen=True)
class Attention:
    """The projections of one layer's attention, and the split of their features into heads."""

    layer: Layer
    groups: int
    """Key/value heads."""
    shared: int
    """Query heads per key/value head."""
    head_size: int
    """Features per head."""

    @property
    def fused(self) -> bool:
        """Return whether query, key and value are one layer."""
        names = self.layer.architecture
        return names.query == names.key


def heads(bundle: Bundle, config: Prune) -> Bundle:
    """Return the bundle with `fraction` of the attention parameters of every chosen layer removed, in whole groups."""
    model = bundle.model
    layers = separate_layers(model, "prune heads")
    chosen = [read_attention(layer) for layer in layers if matches(layer.child(layer.architecture.query), config)]
    if not chosen:
        raise InputError(
            f"prune heads: no attention layer matches; the first is {layers[0].child(layers[0].architecture.query)}"
        )
    fewest = min(attention.groups for attention in chosen)
    config = in_parameters(bundle, config, heads, [index / fewest for index in range(1, fewest)])
    kept = [_groups_to_keep(attention, config.fraction) for attention in chosen]
    sets = [structures(attention) for attention in chosen]
    outputs = [a.layer.child(a.layer.architecture.output) for a in chosen]
    scored = scores(bundle, config, sets, outputs)
    if config.allocation == "global":
        kept = allocated(scored, sum(kept))
    before = parameter_shapes(model)
    cuts = dict(zip(outputs, zip(chosen, scored, kept, strict=True), strict=True))

    def change(name: str, _inputs: Inputs | None) -> None:
        attention, score, count = cuts[name]
        keep_groups(attention, most_important(score, count))

    change_layers(bundle, "prune heads", None, outputs, change, "prune")
    attributes = {}
    for attention, count in zip(chosen, kept, strict=True):
        changed = _set_attributes(attention, count)
        if changed:
            attributes[attention.layer.child(attention.layer.architecture.attention)] = {"attributes": changed}
    if len(chosen) == len(layers) and len({(k, a.shared) for k, a in zip(kept, chosen, strict=True)}) == 1:
        _update_config(model.config, chosen[0], kept[0])
    removed, total = sum(a.groups - k for a, k in zip(chosen, kept, strict=True)), sum(a.groups for a in chosen)
    unit = "key/value groups" if chosen[0].shared > 1 else "heads"
    note = f"prune: {removed} of {total} {unit} removed ({removed / total:.1%})"
    return bundle.changed(model, {**shape_changes(before, model), **attributes}, note)


def read_attention(layer: Layer) -> Attention:
    """Return how a layer's attention is split into heads, from its shapes."""
    names = layer.architecture
    projections = [layer.get(path) for path in (names.query, names.key, names.value, names.output)]
    for path, module in zip((names.query, names.key, names.value, names.output), projections, strict=True):
        if not isinstance(module, nn.Linear | Conv1D):
            raise InputError(
                f"{layer.child(path)}: a {type(module).__name__}; expected a plain linear layer: prune heads first"
            )
    head_size = int(getattr(layer.get(names.attention), names.head_size))
    queries = matrix(projections[3]).shape[1] // head_size  # o_proj's inputs are the query heads' features
    groups = queries if names.query == names.key else matrix(projections[1]).shape[0] // head_size
    return Attention(layer, groups, queries // groups, head_size)


def structures(attention: Attention) -> Structures:
    """Return the parts of each group: its rows of q, k and v with their biases, and its columns of o."""
    names, layer = attention.layer.architecture, attention.layer
    output: Any = layer.get(names.output)
    parts = [Part(output.weight, 1 - output_dim(output))]
    for position, path in enumerate((names.query, names.key, names.value)):
        module: Any = layer.get(path)
        length = matrix(module).shape[0] // 3 if attention.fused else None
        start = position * length if length else 0
        parts.append(Part(module.weight, output_dim(module), start, length))
        if module.bias is not None:
            parts.append(Part(module.bias, 0, start, length))
    for module in _positions(layer):
        parts.extend(Part(p, 0) for p in (module.weight, module.bias) if p is not None)
    return Structures(tuple(parts), attention.groups)


def _positions(layer: Layer) -> list[Any]:
    """Return the attention's projections of positions that this model has."""
    modules = dict(layer.module.named_modules())
    return [modules[path] for path in layer.architecture.positions if path in modules]


def keep_groups(attention: Attention, kept: torch.Tensor) -> None:
    """Keep these groups (ascending indices) in the layer's four projections, in place."""
    names, layer = attention.layer.architecture, attention.layer
    query_features = _features(kept, attention.shared * attention.head_size)
    key_features = _features(kept, attention.head_size)
    if attention.fused:
        width = attention.groups * attention.head_size
        keep_outputs(layer.get(names.query), torch.cat([query_features + i * width for i in range(3)]))
    else:
        keep_outputs(layer.get(names.query), query_features)
        keep_outputs(layer.get(names.key), key_features)
        keep_outputs(layer.get(names.value), key_features)
    for module in _positions(layer):
        keep_outputs(module, query_features)
    keep_inputs(layer.get(names.output), query_features)


def _features(kept: torch.Tensor, size: int) -> torch.Tensor:
    """Return indices of the features of the kept groups, `size` features each."""
    return (kept[:, None] * size + torch.arange(size, device=kept.device)).flatten()


def _groups_to_keep(attention: Attention, fraction: float) -> int:
    kept = attention.groups - round(fraction * attention.groups)
    if kept in (0, attention.groups):
        amount = "less than half a group" if kept else "all groups"
        raise InputError(
            f"{attention.layer.child(attention.layer.architecture.attention)}: fraction {fraction} of "
            f"{attention.groups} heads (or key/value groups) is {amount}; use a multiple of {1 / attention.groups:.3f}"
        )
    return kept


def _set_attributes(attention: Attention, groups: int) -> dict[str, int]:
    """Update the attention module's own counts, and return those that it has."""
    names: Architecture = attention.layer.architecture
    count = groups * attention.shared
    values = {names.head_count: count, names.head_features: count * attention.head_size}
    changed = {name: value for name, value in values.items() if name}
    for name, value in changed.items():
        setattr(attention.layer.get(names.attention), name, value)
    return changed


def _update_config(config: Any, attention: Attention, groups: int) -> None:
    """Write uniform head counts into config, if it can hold them.

    The config must store the head size apart from the hidden size. Even then, transformers requires that the number of
    heads divides the hidden size.
    """
    fields = attention.layer.architecture.config_heads
    if config.hidden_size % (groups * attention.shared):
        return
    for name, value in zip(fields, (groups * attention.shared, groups), strict=False):
        setattr(config, name, value)
    if fields:
        config.head_dim = attention.head_size
