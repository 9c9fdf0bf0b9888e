"""What a step changed of a model: which layers, and which share of its parameters.

    before = weights(model)      one entry a parameter: how many numbers, of what kind, and what they look like
    change(step, before, ...)    a parameter is left where its name, or itself under another name, looks as before

Packed weights count as many parameters as the numbers they stand for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.model.layers import Borrowing, LowRankLinear, WeightLayer
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.stacked import Stack
from compress.model.runtimes.graph import GraphModel
from compress.records.result import BY_DESIGN, Shares
from compress.spec.steps import HEADS

MANY = 1 / 3
"""The share of the parameters, but for those left by design, from which on what a step left is noted."""
CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d
Entries = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Weight:
    """One parameter of a model."""

    count: int
    kind: str
    owner: str
    """Name of the module that holds it."""
    layer: str
    """Which layer's weight it is: linear, convolution, embedding, or empty."""
    experts: bool
    """Whether it is a stack of experts."""
    identity: int
    look: tuple[str, ...]
    """Type, shape and sum: another one where a step changed it."""


def weights(model: Any) -> dict[str, Weight]:
    """Every parameter by name, tied ones under their first, packed layers as one each; none of an exported graph."""
    if isinstance(model, GraphModel):
        return {}
    modules = dict(model.named_modules())
    head = getattr(model, "get_output_embeddings", lambda: None)()
    found: dict[str, Weight] = {}
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        module = modules[owner]
        kind = "head" if module is head else _kind(name, module, parameter)
        layer = _layer(module) if parameter.dim() > 1 else ""
        experts = hasattr(module, "is_transposed") and parameter.dim() == 3
        size = _count(module, leaf, parameter)
        found[name] = Weight(size, kind, owner, layer, experts, id(parameter), _look(parameter))
    for name, module in modules.items():
        if isinstance(module, LowRankLinear | Borrowing) and f"{name}.second.bias" in found:
            found[f"{name}.bias"] = found.pop(f"{name}.second.bias")  # the dense layer's own
        if isinstance(module, GroupedLinear):
            found |= _packed(name, module)
    return found


def _packed(name: str, module: GroupedLinear) -> dict[str, Weight]:
    """Weight and bias of a layer of our own format, which holds them as buffers."""
    size, experts = module.in_features * module.out_features, isinstance(module, Stack)
    look = type(module).__name__, str(module.bits), str(int(module.packed.sum(dtype=torch.int64)))
    kind, layer = ("experts", "") if experts else ("linear layers", "linear")
    found = {f"{name}.weight": Weight(size, kind, name, layer, experts, id(module), look)}
    if module.bias is not None:
        bias = Weight(module.bias.numel(), "norms and biases", name, "", False, id(module.bias), _look(module.bias))
        found[f"{name}.bias"] = bias
    return found


def _layer(module: nn.Module) -> str:
    if isinstance(module, WeightLayer):
        return "linear"
    if isinstance(module, nn.Embedding):
        return "embedding"
    return "convolution" if isinstance(module, CONVOLUTIONS) else ""


def _kind(name: str, module: nn.Module, parameter: torch.Tensor) -> str:
    if isinstance(module, nn.Embedding | nn.EmbeddingBag) or "embed" in name.lower():
        return "embeddings"
    if parameter.dim() < 2:
        return "norms and biases"
    if any(fnmatchcase(name, pattern) for pattern in HEADS):
        return "head"
    if type(module) in (nn.Linear, Conv1D):
        return "linear layers"
    return "convolutions" if isinstance(module, CONVOLUTIONS) else type(module).__name__


def _count(module: nn.Module, leaf: str, parameter: torch.Tensor) -> int:
    """Numbers that a parameter stands for: a packed weight holds several in one element."""
    sizes = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if leaf == "weight" and not parameter.is_floating_point() and all(isinstance(size, int) for size in sizes):
        return int(sizes[0] * sizes[1])  # type: ignore[operator]
    return parameter.numel()


def _look(parameter: torch.Tensor) -> tuple[str, ...]:
    plain = parameter.data
    if type(plain) is not torch.Tensor:  # packed by a library: cannot be summed
        return type(plain).__name__, str(tuple(plain.shape)), str(id(parameter))
    return str(plain.dtype), str(tuple(plain.shape)), repr(float(plain.detach().double().sum()))


@dataclass(frozen=True)
class Change:
    """What a step changed."""

    layers: int
    """Linear layers and convolutions; those that the step recorded under another name (stacks of experts) included."""
    shares: Shares | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """As a person reads it: 74 layers changed, 93 % of the parameters; left: embeddings 7 %."""
        return f"{self.layers} layers changed" + (f", {self.shares}" if self.shares else "")


def change(step: Any, before: Mapping[str, Weight], earlier: Entries, model: Any, layers: Entries) -> Change:
    """What a step made of the model that had these weights and, from earlier steps, these entries."""
    recorded = {name for name, entry in layers.items() if name and entry != earlier.get(name)}
    if isinstance(model, GraphModel):
        changed = _in_graph(before, {name: layers[name] for name in recorded})
    else:
        changed = _changed(before, weights(model))
    owners = {before[name].owner for name in changed if before[name].layer in ("linear", "convolution")}
    found = _shares(before, changed)
    return Change(len(recorded | owners), found, tuple(_notes(step, found, before, changed)))


def _changed(before: Mapping[str, Weight], after: Mapping[str, Weight]) -> set[str]:
    """Names, before, of the parameters that are another now, or gone."""
    still = {(weight.identity, weight.look) for weight in after.values()}
    return {
        name
        for name, weight in before.items()
        if (weight.identity, weight.look) not in still and (name not in after or after[name].look != weight.look)
    }


def _in_graph(before: Mapping[str, Weight], layers: Entries) -> set[str]:
    """Names of the parameters that an exported graph holds in another format, as its layers record it."""
    static = any(entry.get("format") == "int8_static" for entry in layers.values())
    too = ("convolution", "embedding") if static else ()  # nncf takes them as well
    return {
        name
        for name, weight in before.items()
        if (weight.owner in layers and name.endswith(".weight")) or weight.layer in too
    }


def _shares(before: Mapping[str, Weight], changed: set[str]) -> Shares | None:
    """The shares of these parameters and of the others by kind; None where nothing is known of them."""
    total = sum(weight.count for weight in before.values())
    if not total:
        return None
    left: dict[str, int] = {}
    for name, weight in before.items():
        if name not in changed:
            left[weight.kind] = left.get(weight.kind, 0) + weight.count
    return Shares(1 - sum(left.values()) / total, {kind: count / total for kind, count in left.items()})


def _notes(step: Any, found: Shares | None, before: Mapping[str, Weight], changed: set[str]) -> Iterator[str]:
    """A note on a step that changed nothing, and on one for all linear layers that left much of the model."""
    if found is None:
        return
    if not changed:
        yield f"{step.method}: changed no parameter of the model"
    elif found.missed > MANY and _takes_every_layer(step):
        missed = [name for name, weight in before.items() if name not in changed and weight.kind not in BY_DESIGN]
        largest = max(missed, key=lambda name: before[name].count)
        experts = any(before[name].experts for name in missed)
        advice = "; experts are taken by quantize with backend torch, and by prune unstructured" if experts else ""
        yield (
            f"{step.method}: changed only {found}. The largest that it left is {largest}; it takes plain linear layers "
            f"that include and exclude choose{advice}"
        )


def _takes_every_layer(step: Any) -> bool:
    """Whether a step is meant for all weights of the chosen layers, not for one structure."""
    return step.method in ("quantize", "lowrank") or getattr(step, "structure", "") == "unstructured"
