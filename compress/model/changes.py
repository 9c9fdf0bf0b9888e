"""Effect of a step on a model: the changed layers, and the changed share of its parameters.

    before = weights(model)      one entry per parameter: count, kind and fingerprint (type, shape, sum)
    change(step, before, ...)    unchanged: the same fingerprint under the same name, or the same parameter renamed

Packed weights count as the number of weights that they represent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.model.bundle import matches_any
from compress.model.convolutions import CONVOLUTIONS, LowRankConvolution
from compress.model.layers import Borrowing, LowRankLinear, WeightLayer
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.stacked import Stack
from compress.model.packing.tied import TiedHead
from compress.model.runtimes.graph import GraphModel
from compress.records.result import BY_DESIGN, Shares
from compress.spec.steps import HEADS

MANY = 1 / 3
"""A step that leaves more than this share of the parameters gets a note; parameters left by design do not count."""
Entries = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Weight:
    """One parameter of a model."""

    count: int
    kind: str
    owner: str
    """Name of the module that holds it."""
    layer: str
    """Kind of layer whose weight it is: linear, convolution, embedding, or empty."""
    experts: bool
    """Whether it is a stack of experts."""
    identity: int
    look: tuple[str, ...]
    """Type, shape and sum: a fingerprint that differs after a step changed it."""


def weights(model: Any) -> dict[str, Weight]:
    """Return every parameter by name; an exported graph has none.

    Tied parameters have their first name, and a packed layer is one parameter.
    """
    if isinstance(model, GraphModel):
        return {}
    modules = dict(model.named_modules())
    head = getattr(model, "get_output_embeddings", lambda: None)()
    entries: dict[str, Weight] = {}
    for name, parameter in model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        module = modules[owner]
        kind = "head" if module is head else _kind(name, module, parameter)
        layer = _layer(module) if parameter.dim() > 1 else ""
        experts = hasattr(module, "is_transposed") and parameter.dim() == 3
        size = _count(module, leaf, parameter)
        entries[name] = Weight(size, kind, owner, layer, experts, id(parameter), _look(parameter))
    for name, module in modules.items():
        if isinstance(module, LowRankLinear | LowRankConvolution | Borrowing) and f"{name}.second.bias" in entries:
            entries[f"{name}.bias"] = entries.pop(f"{name}.second.bias")  # the dense layer's own
        if isinstance(module, GroupedLinear):
            entries |= _packed(name, module)
    return entries


def _packed(name: str, module: GroupedLinear) -> dict[str, Weight]:
    """Return weight and bias of a grouped layer, which stores them as buffers."""
    size, experts = module.in_features * module.out_features, isinstance(module, Stack)
    look = type(module).__name__, str(module.bits), str(int(module.packed.sum(dtype=torch.int64)))
    kind, layer = ("experts", "") if experts else ("linear layers", "linear")
    if isinstance(module, TiedHead):
        kind, layer = "embeddings", "embedding"
    entries = {f"{name}.weight": Weight(size, kind, name, layer, experts, id(module), look)}
    if module.bias is not None:
        bias = Weight(module.bias.numel(), "norms and biases", name, "", False, id(module.bias), _look(module.bias))
        entries[f"{name}.bias"] = bias
    return entries


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
    if matches_any(name, HEADS):
        return "head"
    if type(module) in (nn.Linear, Conv1D):
        return "linear layers"
    return "convolutions" if isinstance(module, CONVOLUTIONS) else type(module).__name__


def _count(module: nn.Module, leaf: str, parameter: torch.Tensor) -> int:
    """Return the number of weights that a parameter represents: a packed element holds several."""
    sizes = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if leaf == "weight" and not parameter.is_floating_point() and all(isinstance(size, int) for size in sizes):
        return int(sizes[0] * sizes[1])  # type: ignore[operator]
    return parameter.numel()


def _look(parameter: torch.Tensor) -> tuple[str, ...]:
    plain = parameter.data
    if plain.is_meta:  # on disk: a changed one is another object
        return str(plain.dtype), str(tuple(plain.shape)), str(id(parameter))
    if type(plain) is not torch.Tensor:  # packed by a library: cannot be summed
        return type(plain).__name__, str(tuple(plain.shape)), str(id(parameter))
    return str(plain.dtype), str(tuple(plain.shape)), repr(float(plain.detach().double().sum()))


@dataclass(frozen=True)
class Change:
    """Effect of a step on a model."""

    layers: int
    """Linear layers and convolutions, including those recorded under another name (stacks of experts)."""
    shares: Shares | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """Format for readers: 74 layers changed, 93 % of the parameters; unchanged: embeddings 7 %."""
        return f"{self.layers} layers changed" + (f", {self.shares}" if self.shares else "")


def change(step: Any, before: Mapping[str, Weight], earlier: Entries, model: Any, layers: Entries) -> Change:
    """Return the effect of a step on a model with these weights and, from earlier steps, these entries."""
    recorded = {name for name, entry in layers.items() if name and entry != earlier.get(name)}
    if isinstance(model, GraphModel):
        changed = _in_graph(before, {name: layers[name] for name in recorded})
    else:
        changed = _changed(before, weights(model))
    owners = {before[name].owner for name in changed if before[name].layer in ("linear", "convolution")}
    shares = _shares(before, changed)
    return Change(len(recorded | owners), shares, tuple(_notes(step, shares, before, changed)))


def _changed(before: Mapping[str, Weight], after: Mapping[str, Weight]) -> set[str]:
    """Return names, before the step, of the parameters that were changed or removed."""
    remaining = {(weight.identity, weight.look) for weight in after.values()}
    return {
        name
        for name, weight in before.items()
        if (weight.identity, weight.look) not in remaining and (name not in after or after[name].look != weight.look)
    }


def _in_graph(before: Mapping[str, Weight], layers: Entries) -> set[str]:
    """Return names of the parameters that an exported graph stores in another format, per its layers' entries."""
    by_nncf = any(e.get("format") == "int8_static" and e.get("backend") != "onnxruntime" for e in layers.values())
    also = ("embedding",) if by_nncf else ()  # nncf quantizes them as well
    return {
        name
        for name, weight in before.items()
        if (weight.owner in layers and name.endswith(".weight")) or weight.layer in also
    }


def _shares(before: Mapping[str, Weight], changed: set[str]) -> Shares | None:
    """Return the share of the changed parameters, and of the others by kind; None if there are no parameters."""
    total = sum(weight.count for weight in before.values())
    if not total:
        return None
    left: dict[str, int] = {}
    for name, weight in before.items():
        if name not in changed:
            left[weight.kind] = left.get(weight.kind, 0) + weight.count
    return Shares(1 - sum(left.values()) / total, {kind: count / total for kind, count in left.items()})


def _notes(step: Any, share: Shares | None, before: Mapping[str, Weight], changed: set[str]) -> Iterator[str]:
    """Yield a note for a step that changed nothing, or one for all linear layers that left much unchanged."""
    if share is None:
        return
    if not changed:
        yield f"{step.method}: changed no parameter of the model"
    elif share.missed > MANY and _takes_every_layer(step):
        missed = [name for name, weight in before.items() if name not in changed and weight.kind not in BY_DESIGN]
        largest = max(missed, key=lambda name: before[name].count)
        experts = any(before[name].experts for name in missed)
        advice = "; for experts, use quantize with backend torch, or prune unstructured" if experts else ""
        yield (
            f"{step.method}: changed only {share}. The largest unchanged one is {largest}; this step changes plain "
            f"linear layers selected by include and exclude{advice}"
        )


def _takes_every_layer(step: Any) -> bool:
    """Return whether a step applies to all weights of the chosen layers, not to one structure."""
    return step.method in ("quantize", "lowrank") or getattr(step, "structure", "") == "unstructured"
