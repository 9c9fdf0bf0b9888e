"""ONNX graphs with the artifact's integers: products become onnxruntime's MatMulNBits.

    x --MatMul(weight)--> y        becomes        x --MatMulNBits(integers, scales, zeros)--> y

MatMulNBits expands blocks of a row inside the product. It is an operator of onnxruntime (domain com.microsoft).
"""

from collections.abc import Mapping
from pathlib import Path

from compress.base.errors import InputError
from compress.model.packing.integers import Integers
from compress.model.packing.products import DOMAIN, drop_unused, product_with, put
from compress.model.runtimes.onnx import layer_of
from compress.model.runtimes.unsigned import EXTERNAL_BYTES


def with_integers(source: Path, layers: Mapping[str, Integers], target: Path) -> None:
    """Write the graph `source` as `target`, with the products of these layers on their integers.

    Raises InputError for a layer that is no product of the graph.
    """
    import onnx

    graph_model = onnx.load(str(source))
    graph, missing = graph_model.graph, set(layers)
    for index, node in enumerate(list(graph.node)):
        name = layer_of(node)
        if node.op_type not in ("MatMul", "Gemm") or name not in layers:
            continue
        missing.discard(name)
        replacement, tensors = product_with(node, layers[name], name)
        put(graph, index, node, replacement, tensors)
    if missing:
        raise InputError(f"onnx: the exported graph has no product for {sorted(missing)[0]}; use compressed-tensors")
    drop_unused(graph)
    graph_model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    external = sum(tensor.ByteSize() for tensor in graph.initializer) > EXTERNAL_BYTES
    onnx.save(graph_model, str(target), save_as_external_data=external, location=f"{target.name}.data")
