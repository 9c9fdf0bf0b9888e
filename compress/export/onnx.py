"""ONNX graphs with the artifact's integers: products become onnxruntime's MatMulNBits.

    x --MatMul(weight)--> y        becomes        x --MatMulNBits(integers, scales, zeros)--> y

MatMulNBits expands blocks of a row inside the product. It is an operator of onnxruntime (domain com.microsoft).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from compress.base.errors import InputError
from compress.model.packing.grouped_layer import packed
from compress.model.packing.integers import Integers
from compress.model.runtimes.onnx import layer_of
from compress.model.runtimes.unsigned import EXTERNAL_BYTES

DOMAIN = "com.microsoft"


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
        tensors = _initializers(name, layers[name])
        graph.initializer.extend(tensors.values())
        replacement = _product(node, layers[name], tensors)
        graph.node.remove(node)
        graph.node.insert(index, replacement)
    if missing:
        raise InputError(f"onnx: the exported graph has no product for {sorted(missing)[0]}; use compressed-tensors")
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph_model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    external = sum(tensor.ByteSize() for tensor in kept) > EXTERNAL_BYTES
    onnx.save(graph_model, str(target), save_as_external_data=external, location=f"{target.name}.data")


def _initializers(name: str, integers: Integers) -> dict[str, Any]:
    """Return integers [out, blocks, bytes], scales [out, blocks] and, unless symmetric, zeros, by their input."""
    import onnx

    rows, columns = integers.ints.shape
    blocks = columns // integers.group_size
    arrays = {
        "B": packed(integers.ints, integers.bits).view(rows, blocks, -1),
        "scales": integers.scale.float(),
    }
    if not integers.symmetric:
        per_byte = 8 // integers.bits
        zeros = torch.nn.functional.pad(integers.zero.to(torch.int64), (0, -blocks % per_byte)).view(rows, -1, per_byte)
        arrays["zero_points"] = (zeros << (integers.bits * torch.arange(per_byte))).sum(-1).to(torch.uint8)
    return {
        key: onnx.numpy_helper.from_array(array.contiguous().numpy(), f"{name}.{key}") for key, array in arrays.items()
    }


def _product(node: Any, integers: Integers, tensors: Mapping[str, Any]) -> Any:
    import onnx

    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    zeros = tensors["zero_points"].name if "zero_points" in tensors else ""
    inputs = [node.input[0], tensors["B"].name, tensors["scales"].name, zeros, "", bias]
    while not inputs[-1]:
        inputs.pop()
    made = onnx.helper.make_node(
        "MatMulNBits",
        inputs,
        list(node.output),
        name=node.name,
        domain=DOMAIN,
        K=integers.ints.shape[1],
        N=integers.ints.shape[0],
        bits=integers.bits,
        block_size=integers.group_size,
    )
    made.metadata_props.extend(node.metadata_props)
    return made
