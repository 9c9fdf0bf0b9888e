"""Quantized layers, one file per library: made from a linear layer, packed into tensors, and unpacked again.

    nn.Linear --make--> library's module --pack--> tensors + meta (safetensors, JSON) --unpack--> library's module

`pack` returns the same tensors before and after a forward pass, and `unpack` needs only what `pack` returned.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import torch
from torch import nn

from compress.base.config import InputError
from compress.base.device import DeviceKind

Settings = Mapping[str, Any]
Tensors = dict[str, torch.Tensor]
Shapes = dict[str, tuple[int, ...]]


class Backend(Protocol):
    """The plain functions that every file of this folder defines."""

    def refuse(self, linear: nn.Linear, settings: Settings, kind: DeviceKind) -> str | None:
        """Return why a layer of this shape and dtype cannot be quantized on cpu or cuda; None if it can."""

    def make(self, linear: nn.Linear, settings: Settings) -> nn.Module:
        """Return the quantized layer, on the given layer's device."""

    def pack(self, module: nn.Module) -> tuple[Tensors, dict[str, Any]]:
        """Return plain tensors and JSON-able settings from which `unpack` rebuilds the layer."""

    def shapes(self, rows: int, columns: int, meta: Settings, stored: Shapes) -> Shapes:
        """Return shapes of a packed layer's tensors, without bias; the layer is [rows, columns].

        `found` are the shapes in the file.
        """

    def unpack(self, tensors: Tensors, meta: Settings, device: torch.device) -> nn.Module:
        """Return the quantized layer rebuilt from `pack`'s output."""


PACKAGES = {
    "bitsandbytes": ("compress.model.packing.bnb", "bitsandbytes"),
    "torchao": ("compress.model.packing.ao", "torchao"),
    "quanto": ("compress.model.packing.quanto", "optimum-quanto"),
    "torch": ("compress.model.packing.grouped", "torch"),
}


def backend_of(name: str) -> Backend:
    """Return the backend's module. Raises InputError if its library is not installed."""
    module, package = PACKAGES[name]
    try:
        backend: Any = import_module(module)
    except ImportError as error:
        raise InputError(f"backend {name}: {error}; pip install {package}") from error
    typed: Backend = backend
    return typed


def settings_of(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return the entries of layers that are quantized by a weight backend, by layer name."""
    return {name: entry for name, entry in layers.items() if name and entry.get("backend") in PACKAGES}
