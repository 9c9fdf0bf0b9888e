"""Grouped layers of a whole model: found by name, and replaced by plain linear layers."""

from collections.abc import Mapping

from torch import nn

from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.tied import TiedHead
from compress.model.sharing import put, swap


def grouped_layers(model: nn.Module) -> dict[str, GroupedLinear]:
    """Return the layers with grouped integers, by name; stacks of experts are among them.

    A tied head has the name of the head, not of the embedding.
    """
    found: dict[int, tuple[str, GroupedLinear]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, GroupedLinear) and not (isinstance(module, TiedHead) and name == module.embedding):
            found.setdefault(id(module), (name, module))
    return dict(found.values())


def expand(model: nn.Module, layers: Mapping[str, GroupedLinear], empty: bool = False) -> None:
    """Replace these layers by linear layers of the same values, or without values, in place.

    A tied head becomes a head and an embedding with one parameter.
    """
    for name, layer in layers.items():
        linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        if not empty:
            linear.weight = nn.Parameter(layer.dense().to(layer.dtype), requires_grad=False)
        if layer.bias is not None and not empty:
            linear.bias = nn.Parameter(layer.bias, requires_grad=False)
        swap(model, name, linear.eval())
        if isinstance(layer, TiedHead):
            embedding = nn.Embedding(layer.out_features, layer.in_features, device="meta")
            embedding.weight = linear.weight
            put(model, layer.embedding, embedding.eval())
