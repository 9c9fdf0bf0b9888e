"""Grouped layers in OpenVINO graphs: the very integers, multiplied by the runtime's own kernels.

    ints [out, groups, group] --> float --> - zero --> * scale --> [out, in] --> product
                                                                    input * (1 / input_scale) --^

Integers of 4 bits and fewer are stored in 4 bits, others in 8.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from compress.base.config import InputError
from compress.model.packing.grouped_layer import GroupedLinear, unpacked
from compress.model.packing.stacked import Stack
from compress.model.packing.tied import TiedHead


def insert(products: Mapping[str, list[Any]], layers: Mapping[str, GroupedLinear]) -> None:
    """Let products and lookups read the integers of their layers.

    `products`: layer -> nodes of the graph that multiply by it, and embedding -> nodes that look its rows up. Raises
    InputError for a layer without a product, and for stacks of experts.
    """
    import openvino.opset13 as ops

    for name, layer in layers.items():
        if isinstance(layer, Stack):
            raise InputError(f"openvino: {name} holds experts, which its graphs cannot keep in few bits; use eager")
        if not products.get(name):
            raise InputError(f"openvino: the exported graph has no product of {name}; use runtime eager")
        weight = _weight(layer)
        for node in products[name]:
            inputs = node.input_value(0)
            if layer.input_scale is not None:
                inputs = ops.multiply(inputs, ops.constant((1 / layer.input_scale.float()).numpy())).output(0)
            made = ops.matmul(inputs, weight, False, True)
            made.set_friendly_name(node.get_friendly_name())
            node.output(0).replace(made.output(0))
        if isinstance(layer, TiedHead):
            _insert_rows(products.get(layer.embedding, []), layer)


def _insert_rows(lookups: list[Any], layer: TiedHead) -> None:
    """Let lookups read rows of integers and expand these alone. Raises InputError without any lookup."""
    import openvino.opset13 as ops

    if not lookups:
        raise InputError(f"openvino: the exported graph has no lookup of {layer.embedding}; use runtime eager")
    for node in lookups:
        made = _weight(layer, node.input_value(1))
        if layer.input_scale is not None:
            made = ops.multiply(made, ops.constant((1 / layer.input_scale.float()).numpy()))
        made.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(made.output(0))


def _weight(layer: GroupedLinear, ids: Any = None) -> Any:
    """Return the node of the expanded weight [out, in]; with `ids` [batch, tokens], of their rows alone."""
    import openvino
    import openvino.opset13 as ops

    def rows_of(constant: Any) -> Any:
        return constant if ids is None else ops.gather(constant, ids, ops.constant(0))

    rows, groups = layer.scale.shape
    ints = unpacked(layer.packed, layer.bits).to(torch.uint8).numpy()
    shape = [rows, groups, layer.in_features // groups] if groups > 1 else [rows, layer.in_features]
    per_group = [rows, groups, 1] if groups > 1 else [rows, 1]
    zero, signed = layer.zero.float(), _is_signed(layer)
    values = ops.convert(rows_of(_constant(ints, shape, layer.bits, signed)), openvino.Type.f32)
    if not signed:
        whole = bool((zero == zero.round()).all() and zero.min() >= 0 and zero.max() < 2 ** max(4, layer.bits))
        if whole:
            stored_zero = rows_of(_constant(zero.to(torch.uint8).numpy(), per_group, layer.bits))
            values = ops.subtract(values, ops.convert(stored_zero, openvino.Type.f32))
        else:
            values = ops.subtract(values, rows_of(ops.constant(zero.numpy().reshape(per_group))))
    scaled = ops.multiply(values, rows_of(ops.constant(layer.scale.float().numpy().reshape(per_group))))
    if groups == 1:
        return scaled
    target = [layer.out_features, layer.in_features] if ids is None else [0, 0, layer.in_features]
    return ops.reshape(scaled, ops.constant(target, dtype=np.int64), special_zero=ids is not None)


def _is_signed(layer: GroupedLinear) -> bool:
    """Return whether all zeros are the middle of a grid whose integers OpenVINO stores with a sign."""
    return layer.bits in (4, 8) and bool((layer.zero == 2 ** (layer.bits - 1)).all())


def _constant(values: np.ndarray, shape: list[int], bits: int, signed: bool = False) -> Any:
    """Return integers as a constant of 4 bits, or 8 if they have more; `signed`: minus the middle of their range."""
    import openvino
    import openvino.opset13 as ops

    flat = np.ascontiguousarray(values).reshape(-1)
    if bits > 4:
        if signed:
            return ops.constant((flat.astype(np.int16) - 128).astype(np.int8).reshape(shape), dtype=np.int8)
        return ops.constant(flat.reshape(shape), dtype=np.uint8)
    flat = (flat - 8) & 15 if signed else flat
    pairs = np.zeros(flat.size + flat.size % 2, dtype=np.uint8)
    pairs[: flat.size] = flat
    kind = openvino.Type.i4 if signed else openvino.Type.u4
    tensor = openvino.Tensor(kind, openvino.Shape(shape))  # a constant shares its memory
    tensor.data.reshape(-1)[:] = pairs[0::2] | (pairs[1::2] << 4)  # the first of two is in the low bits
    return ops.constant(tensor)
