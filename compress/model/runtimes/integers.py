"""Grouped layers in OpenVINO graphs: the very integers, expanded inside the product by the runtime's own kernels.

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


def insert(products: Mapping[str, list[Any]], layers: Mapping[str, GroupedLinear]) -> None:
    """Let products read the integers of their layers. `products`: layer -> nodes of the graph that multiply by it.

    Raises InputError for a layer without a product, and for stacks of experts.
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


def _weight(layer: GroupedLinear) -> Any:
    """Return the node of the expanded weight [out, in]."""
    import openvino
    import openvino.opset13 as ops

    rows, groups = layer.scale.shape
    ints = unpacked(layer.packed, layer.bits).to(torch.uint8).numpy()
    shape = [rows, groups, layer.in_features // groups] if groups > 1 else [rows, layer.in_features]
    per_group = [rows, groups, 1] if groups > 1 else [rows, 1]
    zero = layer.zero.float()
    if layer.bits in (4, 8) and bool((zero == 2 ** (layer.bits - 1)).all()):
        values = ops.convert(_constant(ints, shape, layer.bits, signed=True), openvino.Type.f32)
        return _scaled(values, layer, per_group)
    whole = bool((zero == zero.round()).all() and zero.min() >= 0 and zero.max() < 2 ** max(4, layer.bits))
    stored_zero = _constant(zero.to(torch.uint8).numpy(), per_group, layer.bits) if whole else None
    values = ops.convert(_constant(ints, shape, layer.bits), openvino.Type.f32)
    if stored_zero is not None:
        shifted = ops.subtract(values, ops.convert(stored_zero, openvino.Type.f32))
    else:
        shifted = ops.subtract(values, ops.constant(zero.numpy().reshape(per_group)))
    return _scaled(shifted, layer, per_group)


def _scaled(values: Any, layer: GroupedLinear, per_group: list[int]) -> Any:
    """Return the node of the weight [out, in] from integers minus zeros."""
    import openvino.opset13 as ops

    scaled = ops.multiply(values, ops.constant(layer.scale.float().numpy().reshape(per_group)))
    if len(per_group) == 2:
        return scaled
    shape = ops.constant([layer.out_features, layer.in_features], dtype=np.int64)
    return ops.reshape(scaled, shape, special_zero=False)


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
