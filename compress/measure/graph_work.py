"""The work of one batch of an exported graph, as `compress.measure.work` counts that of a torch model.

ONNX       one batch runs under onnxruntime without optimization, whose profile has the shapes of every operator
OpenVINO   the graph is reshaped to the batch: every product then has fixed shapes; constants are its weights
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compress.base.files import passing
from compress.measure.work import MULTIPLIES, Work, attention
from compress.model.runtimes.graph import OnnxModel
from compress.model.runtimes.openvino import OpenVinoModel

PRODUCTS = {"MatMul", "Gemm", "MatMulInteger", "QLinearMatMul", "MatMulNBits"}
CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""ONNX operator -> index of its weight among the inputs."""
ROUNDING = {"QuantizeLinear", "DynamicQuantizeLinear"}
INTEGER = {"MatMulInteger", "QLinearMatMul", "ConvInteger", "QLinearConv"}
CHAIN = ("Convert", "Subtract", "Multiply", "Reshape", "Transpose")
"""OpenVINO's operators between a stored weight and the product that uses it."""
HALF_BYTES = 2
GGML_PRODUCTS = {"F32": "float32", "F16": "float32", "Q8_0": "int8", "Q4_0": "int8"}
"""Type of a weight in GGUF -> number format in which llama.cpp multiplies by it on a CPU."""


def onnx_work(model: OnnxModel, batch: Mapping[str, torch.Tensor]) -> Work:
    """Return the operations of a batch; an ONNX graph keeps no cache, so the bytes that it reads are not asked for."""
    on_gpu = model.place.device.on_gpu
    real = "float16" if model.place.half else "tf32" if on_gpu else "float32"
    operations, unknown = defaultdict[str, float](float), set[str]()
    for name, inputs, (output, *_) in _executed(model.path, model.feeds((), batch)):
        if name in PRODUCTS:
            inner = math.prod(inputs[0]) // output[0] if name == "Gemm" else inputs[0][-1]
            operations["int8" if name in INTEGER else real] += 2 * math.prod(output) * inner
        elif name in CONVOLUTIONS:
            weight = inputs[CONVOLUTIONS[name]]
            operations["int8" if name in INTEGER else real] += 2 * math.prod(output) * math.prod(weight[1:])
        elif name not in ROUNDING and MULTIPLIES.search(name):
            unknown.add(name)  # DequantizeLinear too: its product may be fused to one of integers
    return Work(dict(operations), 0.0, tuple(sorted(unknown)))


def _executed(path: Path, feeds: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, list[Any], list[Any]]]:
    """Yield name, shapes of inputs and shapes of outputs of every operator that a batch runs."""
    import onnxruntime

    with passing("profile") as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "trace")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        session.run(None, {name: tensor.cpu().numpy() for name, tensor in feeds.items()})
        events = json.loads(Path(session.end_profiling()).read_text())
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            about = event["args"]
            inputs, outputs = (
                [next(iter(each.values())) for each in about.get(f"{side}_type_shape", ())]
                for side in ("input", "output")
            )
            if outputs:
                yield about.get("op_name", event["name"]), inputs, outputs


def openvino_work(model: OpenVinoModel, feeds: Mapping[str, torch.Tensor], integer: bool) -> Work:
    """Return the work of a graph for inputs of these shapes, after a cache that is empty.

    `integer`: its kernels multiply integer weights as integers; else they expand them to floating point.
    """
    graph = model.graph()
    graph.reshape({port: list(feeds[port.get_any_name()].shape) for port in graph.inputs})
    real = "bfloat16" if model.bf16 else "float32"
    operations, unknown = defaultdict[str, float](float), set[str]()
    for node in graph.get_ops():
        kind = node.get_type_name()
        shapes = [value.get_partial_shape() for value in node.input_values()]
        if kind == "ScaledDotProductAttention" and shapes[0].is_static:
            tokens = shapes[0][2].get_length()
            sides = (torch.Size([*shapes[0].to_shape()[:2], tokens, shape[3].get_length()]) for shape in shapes[:3])
            operations[real] += attention(*sides)
        elif kind in ("MatMul", "Convolution", "GroupConvolution"):
            output = node.get_output_partial_shape(0)
            if output.is_dynamic or shapes[1].is_dynamic or shapes[0].is_dynamic:
                unknown.add(f"{kind} of unknown shape")
                continue
            stored = _origin(node.input_value(1)).get_element_type()
            name = "int8" if integer and stored.is_integral() else real
            operations[name] += 2 * math.prod(output.to_shape()) * _inner(node, kind, shapes)
        elif MULTIPLIES.search(kind) or kind in ("LSTMSequence", "GRUSequence", "RNNSequence"):
            unknown.add(kind)
    rows = next(iter(feeds.values())).shape[0]
    return Work(dict(operations), sum(_bytes_read(graph, rows, model.bf16)), tuple(sorted(unknown)))


def _inner(node: Any, kind: str, shapes: Sequence[Any]) -> int:
    """Return the multiply-adds of one output."""
    if kind == "MatMul":
        return int(shapes[0].to_shape()[-2 if node.get_attributes()["transpose_a"] else -1])
    return math.prod(shapes[1].to_shape()[1 if kind == "Convolution" else 2 :])


def _origin(value: Any) -> Any:
    """Return the node that stores a weight."""
    node = value.get_node()
    while node.get_type_name() in CHAIN:
        node = node.input_value(0).get_node()
    return node


def _bytes_read(graph: Any, rows: int, bf16: bool) -> Iterator[float]:
    """Yield the bytes that one token of each of `rows` texts reads of every stored weight and scale.

    Floating-point weights are kept in bf16 where the CPU computes in it, scales of integers as they are stored. Of a
    table that is only gathered from, one row a text is read.
    """
    fixed: dict[str, bool] = {}
    for node in graph.get_ops():
        if node.get_type_name() != "Constant":
            continue
        real = node.get_element_type().is_real()
        users = list(_users(node, partial(_is_fixed, known=fixed)))
        targets = [target.get_node() for target in node.output(0).get_target_inputs()]
        compressed = any(target.get_type_name() == "Convert" for target in targets)
        scales = any(target.get_type_name() == "Multiply" and _is_fixed(target, fixed) for target in targets)
        if not users or not (real or compressed):
            continue  # shapes and axes
        size = float(node.get_byte_size())
        if bf16 and real and not scales and node.get_element_type().size == 2 * HALF_BYTES:
            size /= 2
        gathered = all(user.get_node().get_type_name() == "Gather" and user.get_index() == 0 for user in users)
        first = node.get_output_shape(0)[0] if len(node.get_output_shape(0)) else 1
        yield size * min(rows, first) / first if gathered else size


def gguf_read_bytes(file: Path, texts: int) -> float:
    """Return the bytes of a GGUF file's weights that llama.cpp reads for the next token of every text.

    A file without an output layer multiplies by the embedding, and reads it whole; otherwise one row for each text.
    """
    from gguf import GGUFReader

    tensors = {tensor.name: (float(tensor.n_bytes), tensor.shape) for tensor in GGUFReader(file).tensors}
    total = sum(size for size, _ in tensors.values())
    if "output.weight" not in tensors:
        return total
    embedding, shape = tensors["token_embd.weight"]
    return total - embedding * max(0.0, 1 - texts / float(max(shape)))


def gguf_work(file: Path, config: Any, texts: int, length: int) -> Work:
    """Return the operations by which llama.cpp reads prompts [texts, length] up to the logits of their last tokens.

    Products with quantized weights round their inputs and are of int8; those with F32 and F16 weights, and attention,
    are of float32. The bytes are not counted.
    """
    from gguf import GGMLQuantizationType, GGUFReader

    tensors = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    head = "output.weight" if "output.weight" in tensors else "token_embd.weight"
    operations, unknown = defaultdict[str, float](float), set[str]()
    for name, tensor in tensors.items():
        if name != head and not (name.startswith("blk.") and len(tensor.shape) == 2):
            continue
        kind = GGML_PRODUCTS.get(GGMLQuantizationType(tensor.tensor_type).name)
        if kind is None:
            unknown.add(f"products with {GGMLQuantizationType(tensor.tensor_type).name}")
            continue
        operations[kind] += 2.0 * math.prod(map(int, tensor.shape)) * texts * (1 if name == head else length)
    heads = config.num_attention_heads
    query = torch.Size((texts, heads, length, getattr(config, "head_dim", None) or config.hidden_size // heads))
    operations["float32"] += config.num_hidden_layers * attention(query, query, query)
    return Work(dict(operations), 0.0, tuple(sorted(unknown)))


def _users(node: Any, is_fixed: Any) -> Iterator[Any]:
    """Yield the inputs that use a constant, after the operators that expand it."""
    for target in node.output(0).get_target_inputs():
        consumer = target.get_node()
        if consumer.get_type_name() in CHAIN and is_fixed(consumer):
            yield from _users(consumer, is_fixed)
        else:
            yield target


def _is_fixed(node: Any, known: dict[str, bool]) -> bool:
    """Return whether a node depends on constants alone."""
    name = node.get_friendly_name()
    if name not in known:
        inputs = [value.get_node() for value in node.input_values()]
        known[name] = node.get_type_name() == "Constant" or (
            bool(inputs) and node.get_type_name() in CHAIN and all(_is_fixed(each, known) for each in inputs)
        )
    return known[name]
