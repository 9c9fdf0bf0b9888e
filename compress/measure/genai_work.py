"""The work of a language model's graph under onnxruntime-genai, from the operators and weights of its file.

    GroupQueryAttention(MatMulNBits(norm(x), integers, scales), cache)      integers and scales are read once a step
    Gather(embedding, ids)                                                  one row for each text

Its graph has no shapes at a prompt: operations come from the widths of its weights and the heads of its attention.
"""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from compress.measure.work import MULTIPLIES, Work, attention

ROUNDS_FROM = 4
"""`accuracy_level` of MatMulNBits from which inputs are rounded to 8 bits, and integers multiplied."""
BY_ROW = {("Gather", 0), ("GroupQueryAttention", 7), ("GroupQueryAttention", 8)}
"""Operators and their inputs of which single rows are read: embeddings, and tables of the rotation."""


def genai_work(file: Path, width: int, texts: int, length: int) -> Work:
    """Return the operations of prompts [texts, length], and the bytes of weights that a step of all texts reads.

    `width`: that of attention's heads. The logits of all tokens are computed.
    """
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    shapes = {each.name: tuple(each.dims) for each in graph.initializer}
    sizes = {each.name: _bytes(each) for each in graph.initializer}
    origin = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    operations, unknown, reads = defaultdict[str, float](float), set[str](), dict[str, float]()
    for node in graph.node:
        given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        for place, name in enumerate(node.input):
            stored = origin.get(name, name)
            if stored in sizes and node.op_type != "Transpose":
                rows = min(1.0, texts / max(shapes[stored])) if (node.op_type, place) in BY_ROW else 1.0
                reads[stored] = max(reads.get(stored, 0.0), sizes[stored] * rows)
        if node.op_type == "MatMulNBits":
            kind = "int8" if given.get("accuracy_level", 0) >= ROUNDS_FROM else "float32"
            operations[kind] += 2.0 * given["N"] * given["K"] * texts * length
        elif node.op_type in ("MatMul", "Gemm") and origin.get(node.input[1], node.input[1]) in shapes:
            weight = shapes[origin.get(node.input[1], node.input[1])]
            operations["float32"] += 2.0 * math.prod(weight) * texts * length
        elif node.op_type == "GroupQueryAttention":
            query = torch.Size((texts, int(given["num_heads"]), length, width))
            operations["float32"] += attention(query, query, query)
        elif MULTIPLIES.search(node.op_type):
            unknown.add(node.op_type)
    return Work(dict(operations), sum(reads.values()), tuple(sorted(unknown)))


def _bytes(weight: Any) -> float:
    """Return the bytes of a stored weight."""
    import onnx

    kind = onnx.helper.tensor_dtype_to_np_dtype(weight.data_type)
    return float(math.prod(weight.dims) * kind.itemsize)
