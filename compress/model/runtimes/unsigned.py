"""Signed int8 weights with uint8 activations, which x86 CPUs without VNNI multiply wrongly.

    uint8 x int8    pairs of products are added in 16 bits, which saturate beyond 32,767; 255 * 127 * 2 = 64,770
    uint8 x uint8   onnxruntime adds in 32 bits on every CPU

Adding 128 to the weights and to their zero points changes no result: (w + 128) - (z + 128) = w - z.
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

import contextlib
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from compress.base.files import passing

EXTERNAL_BYTES = 1_800_000_000  # a protobuf holds 2 GiB; beyond this the weights go to a separate file
PRODUCTS: dict[str, tuple[int, int, int]] = {
    "MatMulInteger": (2, 1, 3),
    "MatMulIntegerToFloat": (4, 1, 5),
    "DynamicQuantizeMatMul": (-1, 1, 3),
    "QLinearMatMul": (2, 3, 5),
    "QGemm": (2, 3, 5),
    "QLinearConv": (2, 3, 5),
}
"""Operator -> inputs: zero point of activations (-1: computed inside, for uint8), weight, zero point of the weight."""
FLOATS = ("MatMul", "Gemm", "Conv")
"""Operators that onnxruntime turns into those above if their inputs come from DequantizeLinear."""
REMARK = "its int8 weights were stored signed and opened unsigned, which changes no result: this CPU has no VNNI"


def weights(graph: Any) -> dict[tuple[int, int], int]:
    """Return (node, input of a weight) -> input of its zero point, for signed weights with unsigned activations.

    `graph`: an onnx.GraphProto; the values of its weights are not needed.
    """
    from onnx import TensorProto

    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    floats = {name for node in graph.node if node.op_type in FLOATS for name in node.input}
    zero_points = {}
    for number, node in enumerate(graph.node):
        if node.op_type == "DequantizeLinear" and floats.intersection(node.output):
            activations, weight, zero = -1, 0, 2
        elif node.op_type in PRODUCTS:
            activations, weight, zero = PRODUCTS[node.op_type]
        else:
            continue
        signed = 0 <= activations < len(node.input) and types.get(node.input[activations]) == TensorProto.INT8
        if types.get(node.input[weight]) == TensorProto.INT8 and not signed:
            zero_points[number, weight] = zero
    return zero_points


def store(source: Path, target: Path, large: bool) -> None:
    """Write a graph with unsigned weights. `large`: its weights in a separate file."""
    import onnx

    model = onnx.load(str(source))
    graph = model.graph
    zero_points = weights(graph)
    slots = {(number, place) for (number, weight), zero in zero_points.items() for place in (weight, zero)}
    other_uses = set(_names(graph, slots))  # an embedding that is also a product's weight stays signed as an embedding
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    shifted: dict[str, str] = {}
    for (number, weight), zero in zero_points.items():
        inputs = graph.node[number].input
        inputs.extend([""] * (zero + 1 - len(inputs)))
        if not inputs[zero]:  # an absent zero point means 0
            inputs[zero] = f"{inputs[weight]}_zero"
            tensors.setdefault(inputs[zero], onnx.numpy_helper.from_array(np.zeros((), np.int8), inputs[zero]))
        for place in (weight, zero):
            name = inputs[place]
            if name not in shifted:
                values = (onnx.numpy_helper.to_array(tensors[name]).astype(np.int16) + 128).astype(np.uint8)
                shifted[name] = f"{name}_unsigned" if name in other_uses else name
                tensors[shifted[name]] = onnx.numpy_helper.from_array(values, shifted[name])
            inputs[place] = shifted[name]
    del graph.initializer[:]
    graph.initializer.extend(tensors.values())
    options = {"save_as_external_data": True, "location": f"{target.name}.data"} if large else {}
    target.with_name(f"{target.name}.data").unlink(missing_ok=True)  # onnx would append to it
    onnx.save_model(model, str(target), **options)


def _names(graph: Any, slots: Container[tuple[int, int]] = ()) -> Iterator[str]:
    """Yield names of all values that a graph and its subgraphs use, except these inputs of its nodes."""
    for number, node in enumerate(graph.node):
        yield from (name for place, name in enumerate(node.input) if (number, place) not in slots)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _names(attribute.g)
    yield from (item.name for item in graph.output)


def needed(path: Path) -> bool:
    """Return whether a graph has weights that this CPU would multiply wrongly."""
    import onnx

    from compress.base.devices import has_vnni

    return not has_vnni() and bool(weights(onnx.load(str(path), load_external_data=False).graph))


@contextlib.contextmanager
def readable(path: Path) -> Iterator[Path]:
    """Yield a graph that this CPU multiplies correctly: the same file, or a temporary copy with unsigned weights."""
    if not needed(path):
        yield path
        return
    with passing("onnx") as folder:
        total_bytes = sum(file.stat().st_size for file in path.parent.iterdir() if file.is_file())
        store(path, folder / path.name, total_bytes > EXTERNAL_BYTES)
        yield folder / path.name
