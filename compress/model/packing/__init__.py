"""Quantized layers, one file per library: made from a linear layer, taken apart into tensors, put together again.

    nn.Linear --make--> library's module --pack--> tensors + meta (safetensors, JSON) --unpack--> library's module

`pack` gives the same tensors before and after a forward pass, and `unpack` needs nothing but what `pack` gave.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import nn

from compress.base.config import InputError

Settings = Mapping[str, Any]
Tensors = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]


class Backend(Protocol):
    """What a file of this folder defines, as plain functions."""

    def refuse(self, linear: nn.Linear, settings: Settings, device: str) -> str | None:
        """Why a layer of this shape and dtype cannot be quantized so on cpu or cuda; None when it can."""

    def make(self, linear: nn.Linear, settings: Settings) -> nn.Module:
        """The quantized layer, on the device of the one given."""

    def pack(self, module: nn.Module) -> tuple[Tensors, dict[str, Any]]:
        """Plain tensors and JSON-able settings from which `unpack` rebuilds the layer."""

    def shapes(self, rows: int, columns: int, meta: Settings, found: Shapes) -> Shapes:
        """Shapes of the tensors that a packed layer [rows, columns] has, bias apart, where `found` are in the file."""

    def unpack(self, tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
        """The quantized layer again."""


PACKAGES = {
    "bitsandbytes": ("compress.model.packing.bnb", "bitsandbytes"),
    "torchao": ("compress.model.packing.ao", "torchao"),
    "quanto": ("compress.model.packing.quanto", "optimum-quanto"),
    "torch": ("compress.model.packing.grouped", "torch"),
}


def backend_of(name: str) -> Backend:
    """The backend's file. Raises InputError when its library is not installed."""
    module, package = PACKAGES[name]
    try:
        backend: Any = import_module(module)
    except ImportError as error:
        raise InputError(f"backend {name}: {error}; pip install {package}") from error
    found: Backend = backend
    return found


def settings_of(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The entries of layers that a weight backend holds, by layer name."""
    return {name: entry for name, entry in layers.items() if name and entry.get("backend") in PACKAGES}
