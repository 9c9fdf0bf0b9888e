"""The structure of an empty model while its blocks come and go: modules that steps replace, shapes that they cut."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from compress.methods.stream.blocks import empty
from compress.model.layers import Borrowing, LowRankLinear
from compress.model.packing.stacked import Stack
from compress.model.sharing import swap
from compress.model.skeleton import match_attributes, state
from compress.model.store import Store

Holders = Mapping[str, tuple[nn.Module, nn.Module | None]]
"""Name of a layer, or of a parameter -> the module above it, and the layer's module (None for a parameter)."""


def holder(model: nn.Module, name: str) -> tuple[nn.Module, nn.Module | None]:
    """Return the module above a layer, and the layer's own module; None for a bare parameter."""
    owner, _, key = name.rpartition(".")
    above = model.get_submodule(owner)
    return above, above._modules.get(key)


def release(model: nn.Module, before: Holders) -> None:
    """Free the weights of layers that were replaced; their biases may live on in the new layers."""
    for name, (_, module) in before.items():
        if module is not None and model.get_submodule(name) is not module:
            empty(p for key, p in module._parameters.items() if p is not None and key == "weight")


def restore(model: nn.Module, name: str, above: nn.Module, module: nn.Module | None) -> None:
    """Put an empty layer, or parameter, back in the place of its packed form."""
    if module is not None:
        swap(model, name, module)
        _renew(module)
        return
    key = name.rpartition(".")[2]
    stack = above._modules.pop(key)
    assert isinstance(stack, Stack)
    rows, columns = stack.out_features // stack.experts, stack.in_features
    shape = (columns, rows) if stack.transposed else (rows, columns)
    above._parameters[key] = _hollow((stack.experts, *shape), torch.float32)


def _renew(module: nn.Module) -> None:
    """Give a module new empty parameters."""
    for key, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[key] = _hollow(parameter.shape, parameter.dtype)


def _hollow(shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=dtype, device="meta"), requires_grad=False)


def follow(
    model: nn.Module, shapes: Mapping[str, tuple[int, ...]], records: Mapping[str, Any], packing: Mapping[str, Any]
) -> None:
    """Give a block the structure of its written tensors: low-rank layers, cut shapes, new parameters where changed."""
    ranks = {name: record for name, record in records.items() if isinstance(record, dict)}
    for name, record in ranks.items():
        if f"{name}.second.weight" in shapes:
            _make_thin(model, name, record.get("borrows"), shapes)
    for name in packing:
        module = holder(model, name)[1]
        if module is not None:
            _renew(module)
    for name, shape in shapes.items():
        owner, _, key = name.rpartition(".")
        if not name.startswith(tuple(f"{layer}." for layer in packing)):
            module = model.get_submodule(owner)
            if (parameter := module._parameters.get(key)) is not None:
                _substitute(model, parameter, _hollow(shape, parameter.dtype))
                match_attributes(module)


def _substitute(model: nn.Module, old: nn.Parameter, new: nn.Parameter) -> None:
    """Put a parameter in the place of another, under all of its names."""
    for module in model.modules():
        for key, parameter in module._parameters.items():
            if parameter is old:
                module._parameters[key] = new


def _make_thin(model: nn.Module, name: str, lender: str | None, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Put an empty low-rank layer in the place of a dense one, unless it is there already."""
    if isinstance(model.get_submodule(name), LowRankLinear | Borrowing):
        return
    rows, rank = shapes[f"{name}.second.weight"]
    columns = shapes[f"{lender or name}.first.weight"][1]
    bias = f"{name}.second.bias" in shapes
    thin = LowRankLinear(columns, rows, rank, bias=bias, device="meta")
    if lender is None:
        swap(model, name, thin)
    else:
        lending = model.get_submodule(lender)
        assert isinstance(lending, LowRankLinear)
        swap(model, name, Borrowing(lending, thin.second))


@contextmanager
def without_values(model: Any) -> Iterator[None]:
    """Have all buffers of an empty model on the meta device too, and attention in plain operators."""
    held = [(m, key, buffer) for m in model.modules() for key, buffer in m._buffers.items() if buffer is not None]
    attention = model.config._attn_implementation
    for module, key, buffer in held:
        module._buffers[key] = torch.empty_like(buffer, device="meta")
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(attention)
        for module, key, buffer in held:
            module._buffers[key] = buffer
        for parameter in model.parameters():
            parameter.requires_grad_(False)


def first_names(model: nn.Module) -> dict[int, str]:
    """Return the first name of every parameter and buffer, by identity."""
    names: dict[int, str] = {}
    for name, tensor in state(model):
        names.setdefault(id(tensor), name)
    return names


def changed_tensors(store: Store, current: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose values differ from those that are stored."""
    return {name: tensor for name, tensor in current.items() if not _same(store, name, tensor)}


def _same(store: Store, name: str, tensor: torch.Tensor) -> bool:
    place = store.tensors.get(name)
    if place is None or place.shape != tuple(tensor.shape):
        return False
    return torch.equal(place.read().to(tensor.dtype), tensor)
