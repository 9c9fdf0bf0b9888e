"""Products of ONNX graphs with integers: onnxruntime's MatMulNBits, which expands the blocks of a row itself."""

from collections.abc import Mapping
from typing import Any

import torch

from compress.model.packing.grouped_layer import packed
from compress.model.packing.integers import Integers

DOMAIN = "com.microsoft"
"""Where onnxruntime's own operators are."""


def product_with(node: Any, integers: Integers, name: str = "", **settings: int) -> tuple[Any, list[Any]]:
    """Return the product that replaces `node`, a MatMul or Gemm, and the initializers of a layer's integers.

    `name` is that of the initializers, by default the node's. `settings` are further attributes of MatMulNBits.
    """
    tensors = _initializers(name or node.name, integers)
    return _product(node, integers, tensors, **settings), list(tensors.values())


def put(graph: Any, place: int, node: Any, made: Any, tensors: list[Any]) -> None:
    """Replace a node of an ONNX graph, the one at `place`, by another with its initializers, in place."""
    graph.initializer.extend(tensors)
    graph.node.remove(node)
    graph.node.insert(place, made)


def drop_unused(graph: Any) -> None:
    """Remove initializers that no node of an ONNX graph uses any more, in place."""
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


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


def _product(node: Any, integers: Integers, tensors: Mapping[str, Any], **settings: int) -> Any:
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
        **settings,
    )
    made.metadata_props.extend(node.metadata_props)
    return made
