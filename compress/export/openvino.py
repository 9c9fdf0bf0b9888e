"""OpenVINO graphs with the artifact's integers, which its products expand.

    integers (i4, u4, i8, u8) --Convert--> [- zeros] --> * scales --Reshape--> [out, in] --MatMul

Language models become graphs with a cache (`compress.model.runtimes.stateful_export`), all others these.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from compress.base.errors import InputError
from compress.export.integers import Integers
from compress.model.bundle import Bundle
from compress.model.packing.grouped_layer import packed
from compress.model.runtimes.check import checked
from compress.model.runtimes.onnx import layer_of

FILE = "openvino_model.xml"
"""The name that OpenVINO's tools expect."""


def graph_of(bundle: Bundle) -> tuple[Any, Callable[[Any], str]]:
    """Return the model as an OpenVINO graph in floating point, and a function from a product to its layer's name."""
    import onnx
    import openvino

    from compress.model.runtimes.openvino import converted

    exported = checked(bundle, "openvino")
    layers = {node.name: layer_of(node) for node in onnx.load(str(exported.path)).graph.node}
    made = converted(exported)  # its file lasts as long as the object
    graph = openvino.Core().read_model(str(made.path)).clone()
    return graph, lambda product: layers.get(product.get_friendly_name().removesuffix("/WithoutBiases"), "")


def write(bundle: Bundle, layers: Mapping[str, Integers], folder: Path) -> None:
    """Write the bundle's model, in floating point, as a graph with the integers of these layers.

    Raises InputError for a layer that is no product of the graph.
    """
    import openvino

    graph, name_of = graph_of(bundle)
    missing = set(layers)
    for product in [op for op in graph.get_ops() if op.get_type_name() == "MatMul"]:
        name = name_of(product)
        if name in layers:
            missing.discard(name)
            _use_integers(product, layers[name])
    if missing:
        raise InputError(
            f"openvino: the exported graph has no product for {sorted(missing)[0]}; use compressed-tensors"
        )
    graph.validate_nodes_and_infer_types()
    openvino.save_model(graph, str(folder / FILE), compress_to_fp16=False)


def _use_integers(product: Any, integers: Integers) -> None:
    """Let a product use the integers instead of its weight."""
    from openvino import opset13

    made = opset13.matmul(product.input_value(0), _weight(integers), False, True)
    made.set_friendly_name(product.get_friendly_name())
    product.output(0).replace(made.output(0))


def _weight(integers: Integers) -> Any:
    """Return the nodes that expand a weight to [out, in] in fp32."""
    import numpy
    import openvino
    from openvino import opset13

    rows, columns = integers.ints.shape
    shape = [rows, columns // integers.group_size, integers.group_size]
    kinds = {(4, True): "i4", (4, False): "u4", (8, True): "i8", (8, False): "u8"}
    kind = getattr(openvino.Type, kinds[integers.bits, integers.symmetric])
    stored = integers.signed & (2**integers.bits - 1) if integers.symmetric else integers.ints
    raw = packed(stored, integers.bits).numpy()
    if integers.bits == 8:
        raw = raw.view("int8" if integers.symmetric else "uint8")
    data = openvino.Tensor(raw, shape, kind)
    weight = opset13.convert(opset13.constant(data, shared_memory=False), numpy.float32)
    if not integers.symmetric:
        weight = opset13.subtract(weight, opset13.constant(_per_group(integers.zero)))
    weight = opset13.multiply(weight, opset13.constant(_per_group(integers.scale)))
    return opset13.reshape(weight, opset13.constant(numpy.array([rows, columns], dtype=numpy.int64)), False)


def _per_group(values: torch.Tensor) -> Any:
    return values.float()[..., None].contiguous().numpy()
