"""Build an artifact's empty model and fill it: first the structure, then the saved tensors.

    config.json --from_config on meta--> skeleton --low-rank layers, quantized layers--> structure --tensors--> model

Nothing is initialised or computed. Every parameter and buffer comes from the file, including those that a plain
checkpoint omits and recomputes. Shapes follow the tensors, so pruned layers need no description.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.base.config import InputError
from compress.data.empty import empty_model
from compress.model.convolutions import CONVOLUTIONS, LowRankConvolution
from compress.model.layers import Borrowing, LowRankLinear
from compress.model.packing import backend_of, settings_of
from compress.model.packing.stacked import index_by_expert
from compress.model.packing.tied import TiedHead
from compress.model.sharing import aliases, merged, swap

ALIGNED = 64
"""Bytes of a cache line, at whose multiples torch allocates."""
Layers = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Contents:
    """A model as plain tensors: what `fill` needs in addition to the configuration and the layers."""

    tensors: dict[str, torch.Tensor]
    packing: dict[str, dict[str, Any]]
    """Quantized layer -> its backend's settings."""
    tied: dict[str, str]
    """Parameter -> the one whose memory it shares, which holds the tensor."""
    same: dict[str, str] = field(default_factory=dict)
    """Another name of a module -> its first name, which holds its tensors."""


def empty_copy(model: Any) -> Any:
    """Return a model of the same actual structure on the meta device, even if its configuration differs."""
    memo = {id(tensor): _without_memory(tensor) for _, tensor in state(model)}
    return copy.deepcopy(model, dict(memo))


def _without_memory(tensor: torch.Tensor) -> torch.Tensor:
    empty = torch.empty_like(tensor, device="meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def is_plain(model: Any, task: str, layers: Layers) -> bool:
    """Return whether `from_pretrained` alone rebuilds this model: its config yields the same modules and shapes."""
    if settings_of(layers):
        return False
    skeleton = _built(model, task)
    if _structure(skeleton) != _structure(model):
        return False
    modules = dict(skeleton.named_modules())
    return all(
        getattr(modules[name], key, None) == value
        for name, entry in layers.items()
        for key, value in entry.get("attributes", {}).items()
    )


def unlike_plain(model: Any, task: str) -> str | None:
    """Return the first module or parameter that `from_pretrained` would build differently; None if it builds all."""
    built, actual = _structure(_built(model, task)), _structure(model)
    names = (name for name in (*actual, *built) if actual.get(name) != built.get(name))
    return next((name.removeprefix("module ") for name in names), None)


def _built(model: Any, task: str) -> Any:
    """Return the empty model that the configuration yields."""
    trusted = hasattr(model.config, "auto_map")  # its code was trusted when the model was loaded
    return merged(empty_model(model.config, task, trust_remote_code=trusted))


def _structure(model: nn.Module) -> dict[str, Any]:
    """Return module types, parameter shapes and first names; for buffers recomputed at loading also their types."""
    saved = set(model.state_dict())
    modules: dict[str, Any] = {f"module {name}": type(module).__name__ for name, module in model.named_modules()}
    first: dict[int, str] = {}
    shapes = {
        name: (tuple(p.shape), first.setdefault(id(p), name))
        for name, p in model.named_parameters(remove_duplicate=False)
    }
    buffers = {
        name: tuple(b.shape) if name in saved else (tuple(b.shape), b.dtype)
        for name, b in model.named_buffers(remove_duplicate=False)
    }
    return modules | shapes | buffers


def contents(model: nn.Module, layers: Layers) -> Contents:
    """Return all tensors of a model on the CPU: quantized layers packed by their backends, shared ones once."""
    same = {name: owner for name, owner in aliases(model).items() if not _is_tied(model, name)}
    tensors: dict[str, torch.Tensor] = {}
    packing: dict[str, dict[str, Any]] = {}
    for name, entry in settings_of(layers).items():
        parts, packing[name] = backend_of(entry["backend"]).pack(model.get_submodule(name))
        tensors |= {f"{name}.{key}": tensor for key, tensor in parts.items()}
    owners: dict[int, str] = {}
    tied: dict[str, str] = {}
    embeddings = [meta["embedding"] for meta in packing.values() if "embedding" in meta]
    skipped = tuple(f"{name}." for name in (*packing, *embeddings, *same))
    for name, tensor in state(model):
        if name.startswith(skipped):
            continue
        owner = owners.setdefault(id(tensor), name)
        if owner == name:
            tensors[name] = tensor
        else:
            tied[name] = owner
    return Contents({name: _portable(tensor) for name, tensor in tensors.items()}, packing, tied, same)


def _is_tied(model: nn.Module, name: str) -> bool:
    """Return whether a module is a head in few bits that is its model's embedding too: its packing records that."""
    return isinstance(model.get_submodule(name), TiedHead)


def state(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield name and tensor of every parameter and buffer, shared ones under each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def _portable(tensor: torch.Tensor) -> torch.Tensor:
    """Return a contiguous CPU tensor that shares no memory with other tensors."""
    portable = tensor.detach().cpu().contiguous()
    whole = portable.untyped_storage().nbytes() == portable.numel() * portable.element_size()
    return portable if whole else portable.clone()


def fill(model: Any, layers: Layers, stored: Contents, device: torch.device) -> Any:
    """Return the skeleton with its structure changed per `layers` and every tensor in place on `device`.

    Raises InputError if tensors and structure do not match.
    """
    remaining = dict(stored.tensors)
    for name, owner in stored.same.items():
        swap(model, name, model.get_submodule(owner))
    lenders = {name: entry.get("borrows") for name, entry in layers.items() if entry.get("kind") == "lowrank"}
    for name, lender in sorted(lenders.items(), key=lambda item: item[1] is not None):  # lenders first
        dense = model.get_submodule(name)
        if isinstance(dense, CONVOLUTIONS):
            entry = layers[name]
            swap(model, name, LowRankConvolution.like(dense, int(entry["rank"]), entry["decomposition"], "meta"))
            continue
        low_rank = _thin(name, remaining)
        swap(model, name, low_rank if lender is None else Borrowing(model.get_submodule(lender), low_rank.second))
    for name, entry in settings_of(layers).items():
        prefix = f"{name}."
        parts = {key.removeprefix(prefix): remaining.pop(key) for key in list(remaining) if key.startswith(prefix)}
        swap(model, name, made := backend_of(entry["backend"]).unpack(parts, stored.packing[name], device))
        if isinstance(made, TiedHead):
            swap(model, made.embedding, made)
    index_by_expert(model)
    for name, tensor in remaining.items():
        _assign(model, name, tensor.to(device))
    for name, owner in stored.tied.items():
        module, _, key = name.rpartition(".")
        model.get_submodule(module)._parameters[key] = model.get_parameter(owner)
    for name, entry in layers.items():
        for key, value in entry.get("attributes", {}).items():
            setattr(model.get_submodule(name), key, value)
    for module in model.modules():
        match_attributes(module)
        if isinstance(module, CONVOLUTIONS):
            _align(module)
    missing = [name for name, tensor in state(model) if tensor.device.type == "meta"]
    if missing:
        raise InputError(f"the artifact lacks {len(missing)} tensors of the model, first {missing[0]}")
    return model.eval()


def _thin(name: str, tensors: Mapping[str, torch.Tensor]) -> LowRankLinear:
    """Return an empty low-rank layer; the shapes of quantized halves are arbitrary, since the halves are replaced."""
    bias = f"{name}.second.bias" in tensors
    first, second = tensors.get(f"{name}.first.weight"), tensors.get(f"{name}.second.weight")
    rows, rank = second.shape if second is not None and second.dim() == 2 else (1, 1)
    columns = first.shape[1] if first is not None and first.dim() == 2 else 1
    return LowRankLinear(columns, rows, rank, bias=bias, device="meta")


def _assign(model: nn.Module, name: str, tensor: torch.Tensor) -> None:
    module_name, _, key = name.rpartition(".")
    try:
        module = model.get_submodule(module_name)
    except AttributeError:
        raise InputError(f"the artifact holds {name}, which the model does not have") from None
    if key in module._parameters:
        before = module._parameters[key]
        wants_grad = tensor.is_floating_point() and (before is None or before.requires_grad)
        module._parameters[key] = nn.Parameter(tensor, requires_grad=wants_grad)
    elif key in module._buffers:
        module._buffers[key] = tensor
    else:
        raise InputError(f"the artifact holds {name}, which the model does not have")


def _align(module: nn.Module) -> None:
    """Move parameters that lie in a file's memory at any address to memory of their own.

    torch computes a convolution by another kernel there, which rounds otherwise: 4e-9 of a MobileNet's logits.
    """
    for parameter in module.parameters(recurse=False):
        if parameter.device.type == "cpu" and parameter.data_ptr() % ALIGNED:
            parameter.data = parameter.data.clone()


def match_attributes(module: nn.Module) -> None:
    """Set a module's size attributes from its weight, in place."""
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor):
        return
    shape = tuple(weight.shape)
    match module:
        case LowRankLinear():
            pass
        case Conv1D():
            module.nx, module.nf = shape
        case nn.Conv2d():
            module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
        case nn.Embedding():
            module.num_embeddings, module.embedding_dim = shape
        case nn.LayerNorm() | nn.RMSNorm():
            module.normalized_shape = shape
        case nn.BatchNorm2d():
            module.num_features = shape[0]
        case nn.Linear() if type(module) is nn.Linear and len(shape) == 2:
            module.out_features, module.in_features = shape
