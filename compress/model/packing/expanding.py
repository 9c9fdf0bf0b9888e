"""Grouped layers of a whole model: found by name, and replaced by plain linear layers."""

from collections.abc import Mapping

from torch import nn

from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.sharing import swap


def grouped_layers(model: nn.Module) -> dict[str, GroupedLinear]:
    """Return the layers with grouped integers, by name; stacks of experts are among them."""
    return {name: module for name, module in model.named_modules() if isinstance(module, GroupedLinear)}


def expand(model: nn.Module, layers: Mapping[str, GroupedLinear], empty: bool = False) -> None:
    """Replace these layers by linear layers of the same values, or without values, in place."""
    for name, layer in layers.items():
        linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        if not empty:
            linear.weight = nn.Parameter(layer.dense().to(layer.dtype), requires_grad=False)
        if layer.bias is not None and not empty:
            linear.bias = nn.Parameter(layer.bias, requires_grad=False)
        swap(model, name, linear.eval())
