"""Graphs in low-bit formats: under onnxruntime, and under OpenVINO with a cache for language models."""

from collections.abc import Collection, Mapping
from typing import Any

from compress.base.config import InputError
from compress.data.tasks import task_of
from compress.methods.calibrate import batches
from compress.model.bundle import Bundle
from compress.model.convolutions import CONVOLUTIONS
from compress.model.layers import WeightLayer
from compress.model.runtimes.calibrated import quantize_calibrated
from compress.model.runtimes.check import checked, checked_with_cache
from compress.model.runtimes.onnx import quantize_graph
from compress.spec.steps import Quantize

STATIC = "quantize int8_static"
"""Name of the step in errors."""
NO_STATIC = f"{STATIC}: the activations of a language model with a cache are not calibrated; use format int8_weight"


def in_onnxruntime(bundle: Bundle, layers: Collection[str], entry: Mapping[str, Any], config: Quantize) -> Any:
    """Return the bundle's model as a graph in which these layers are int8, with dynamic or calibrated scales."""
    graph = checked(bundle, "onnxruntime")
    if entry["format"] != "int8_static":
        return quantize_graph(graph, layers, config.per_channel)
    examples = list(batches(bundle, STATIC, config.sample, batch_size=1))
    return quantize_calibrated(graph, layers, config.per_channel, examples)


def in_openvino(bundle: Bundle, layers: Collection[str], entry: Mapping[str, Any], config: Quantize) -> Any:
    """Return the bundle's model as a graph in which these layers have the entry's format."""
    from compress.model.runtimes import nncf_graphs, openvino, stateful, stateful_export

    others = {n for n, m in bundle.model.named_modules() if isinstance(m, WeightLayer | CONVOLUTIONS)} - set(layers)
    with_cache = task_of(bundle.task).continues
    if entry["format"] == "int8_static":
        if with_cache:
            raise InputError(NO_STATIC)
        examples = list(batches(bundle, STATIC, config.sample, batch_size=1))
        return nncf_graphs.quantize_static(checked(bundle, "openvino"), layers, others, examples)
    size = entry.get("group_size", 0)
    if with_cache:
        graph = checked_with_cache(bundle)
        ignored = stateful_export.names_of(graph, layers, others)
        return nncf_graphs.quantize_weights(graph, ignored, stateful.StatefulModel, config.bits, size)
    onnx_graph = checked(bundle, "openvino")
    ignored = nncf_graphs.names_of(onnx_graph, layers, others)
    return nncf_graphs.quantize_weights(onnx_graph, ignored, openvino.OpenVinoModel, config.bits, size)


def embeds_in_floating_point(graph: Any) -> bool:
    """Return whether a graph of OpenVINO looks rows up in a table of floating-point numbers."""
    import openvino

    for node in openvino.Core().read_model(str(graph.path)).get_ops():
        if node.get_type_name() != "Gather":
            continue
        table = node.input_value(0).get_node()
        while table.get_type_name() in ("Convert", "Multiply", "Subtract", "Reshape"):
            table = table.input_value(0).get_node()
        if table.get_type_name() == "Constant" and table.get_element_type().is_real() and len(table.shape) == 2:
            return True
    return False
