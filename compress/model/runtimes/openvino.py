"""Exported graphs under OpenVINO: dense, in int8 with calibrated scales, or with low-bit weights (nncf).

    model --export--> model.onnx --> model.xml + model.bin, opened as an OpenVinoModel

Floating-point operators run in bf16 on CPUs with native bf16, as OpenVINO prefers, else in fp32.
"""

import contextlib
import io
import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from compress.base import devices
from compress.base.config import InputError
from compress.base.console import bar
from compress.base.devices import computes_bf16
from compress.base.files import scratch
from compress.model.manifest import Signature
from compress.model.runtimes.graph import GraphModel, OnnxModel, pinned_cores
from compress.model.runtimes.onnx import layer_of
from compress.model.runtimes.signature import name_dimensions, openvino_signature

FILE = "model.xml"
NO_PRODUCT = "openvino: the exported graph has none of the chosen layers as a product; widen include"
HALF_RANGE = 64
"""Largest int8 weight whose products a CPU without VNNI adds exactly: 255 * 64 * 2 = 32,640 fits 16 signed bits."""


class OpenVinoModel(GraphModel):
    """An OpenVINO graph as a module."""

    kind: Literal["onnx", "openvino", "gguf", "genai"] = "openvino"

    def __init__(
        self, path: Path, config: Any, temporary: bool = False, exact: bool = False, rounds_inputs: bool = True
    ) -> None:
        """Open the graph. `temporary`: its folder is deleted with this object. `exact`: in fp32 on every CPU.

        `rounds_inputs`: products with integer weights may round their inputs to 8 bits, as OpenVINO does by default.
        Raises InputError for int8 weights whose products this CPU cannot add.
        """
        super().__init__(path, config, temporary)
        self._largest = _largest_weight(path)
        if self._largest > HALF_RANGE and not devices.has_vnni():
            raise InputError(
                f"{path}: an int8 graph for CPUs with VNNI; without it sums of 16 bits saturate: "
                f"expected weights up to {HALF_RANGE}, got {self._largest}; quantize again here, or for onnxruntime"
            )
        self._rounds_inputs = rounds_inputs and not exact
        self.bf16 = not exact and computes_bf16(torch.device("cpu"))
        self._cache: dict[str, Any] = {"KV_CACHE_PRECISION": "bf16" if self.bf16 else "f32"}  # by default 8 bits
        self._request = self._compiled(profiled=False)

    def graph(self) -> Any:
        """Return the graph to compile."""
        import openvino

        return openvino.Core().read_model(str(self.path))

    def begin(self, request: Any) -> None:
        """Make a request ready for a batch that has nothing to do with the one before."""

    def _compiled(self, profiled: bool) -> Any:
        """Return a request to the graph, compiled for this CPU with as many threads as torch has."""
        import openvino

        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_HYPER_THREADING": True,  # else threads are limited to the physical cores
            "INFERENCE_PRECISION_HINT": "bf16" if self.bf16 else "f32",
            **self._cache,
            **({} if self._rounds_inputs else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}),
            "ENABLE_CPU_PINNING": not pinned_cores(),  # pinned, its threads would share this thread's core
            "PERF_COUNT": profiled,
        }
        with _on_all_cores():
            return openvino.Core().compile_model(self.graph(), "CPU", options).create_infer_request()

    @property
    def input_group(self) -> int:
        """Inputs that share a scale where products with integer weights round them to 8 bits; 0 if none does."""
        return int(self._request.get_compiled_model().get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE"))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in its order."""
        return tuple(port.get_any_name() for port in self._request.model_inputs)

    def run(self, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits for the graph's inputs."""
        return torch.from_numpy(self._request.infer(_arrays(feeds))["logits"])

    def signature(self) -> Signature:
        """Return name, type and shape of its inputs and outputs."""
        return openvino_signature(self._request.model_inputs, self._request.model_outputs)

    def remark(self) -> str:
        """Return a remark if its int8 weights have 7 bits, else an empty string."""
        return "its int8 weights have 7 bits, for CPUs without VNNI" if 0 < self._largest <= HALF_RANGE else ""

    def weights(self) -> Iterator[Any]:
        """Yield every floating-point weight of a product, as an array."""
        import openvino

        for operation in openvino.Core().read_model(str(self.path)).get_ops():
            if operation.get_type_name() in ("MatMul", "Convolution"):
                node = operation.input_value(1).get_node()
                if node.get_type_name() == "Constant" and node.get_element_type().is_real():
                    yield node.data

    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return `operator:kernel` -> seconds, from OpenVINO's own counters of one batch after a warm one."""
        request = self._compiled(profiled=True)
        for _ in range(2):
            self.begin(request)
            request.infer(_arrays(self.feeds((), batch)))
        return last_seconds(request)


def last_seconds(request: Any) -> dict[str, float]:
    """Return `operator:kernel` -> seconds of a profiled request's last call."""
    totals: dict[str, float] = {}
    for node in request.profiling_info:
        if (seconds := node.real_time.total_seconds()) > 0:
            key = f"{node.node_type}:{node.exec_type}"
            totals[key] = totals.get(key, 0.0) + seconds
    return totals


Opened = TypeVar("Opened", bound=OpenVinoModel)


def _largest_weight(path: Path) -> int:
    """Return the largest absolute int8 weight of products whose other input is quantized; 0 without any."""
    import openvino

    largest = 0
    for operation in openvino.Core().read_model(str(path)).get_ops():
        if operation.get_type_name() in ("MatMul", "Convolution", "GroupConvolution"):
            activations, weight = (_origin(operation.input_value(place)) for place in (0, 1))
            integer = weight.get_type_name() == "Constant" and weight.get_element_type() == openvino.Type.i8
            if integer and activations.get_type_name() == "FakeQuantize":
                largest = max(largest, int(abs(weight.data.astype("int16")).max(initial=0)))
    return largest


def _origin(value: Any) -> Any:
    """Return the node that produces a value, before scales and changes of shape."""
    node = value.get_node()
    while node.get_type_name() in ("Convert", "Subtract", "Multiply", "Reshape", "Transpose"):
        node = node.input_value(0).get_node()
    return node


def _arrays(feeds: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in feeds.items()}


@contextlib.contextmanager
def _on_all_cores() -> Iterator[None]:
    """Let new threads use all measured cores: they inherit affinity from this thread, which OpenMP pins."""
    cores = pinned_cores()
    if not cores or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def converted(model: OnnxModel) -> OpenVinoModel:
    """Return the same graph for OpenVINO, in a temporary folder that lasts as long as the object."""
    import openvino

    return saved(openvino.Core().read_model(str(model.path)), model.config, OpenVinoModel)


def quantize_static(
    model: OnnxModel,
    layers: Collection[str],
    others: Collection[str],
    batches: Sequence[Mapping[str, torch.Tensor]],
) -> OpenVinoModel:
    """Return another graph with int8 products, calibrated on these batches (nncf, including SmoothQuant).

    A CPU without VNNI adds products in 16 bits, which saturate: there weights get 7 bits.

    These `layers` and embeddings become int8. The `others` stay in floating point, and so do the products
    inside attention: with int8 scores, OpenVINO 2026.4 computes wrong outputs for texts with as many tokens as a head
    is wide.
    """
    import openvino

    with bar("calibrating the graph", None), _quiet():
        import nncf

        graph = nncf.quantize(
            openvino.Core().read_model(str(model.path)),
            nncf.Dataset(list(batches), lambda batch: _arrays(model.feeds((), batch))),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=None
            if devices.has_vnni()
            else nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            ignored_scope=nncf.IgnoredScope(
                names=[*names_of(model, layers, others), *_products(model, {*layers, *others})], validate=False
            ),
        )
        return saved(graph, model.config, OpenVinoModel)


def _products(model: OnnxModel, weighted: Collection[str]) -> list[str]:
    """Return products outside these layers, as OpenVINO names them: attention scores, and values weighted by them."""
    import onnx

    nodes = onnx.load(str(model.path)).graph.node
    return [n.name for n in nodes if n.op_type == "MatMul" and layer_of(n) not in weighted]


def quantize_weights(
    model: GraphModel, ignored: Collection[str], opened: type[Opened], bits: int, group_size: int
) -> Opened:
    """Return another graph that stores weights of 8 bits (one scale per row) or 4 (one per group), by nncf.

    They are expanded to floating point inside the product. Embeddings and products named `ignored` stay unchanged.
    """
    import openvino

    with bar("rounding the graph's weights", None), _quiet():
        import nncf

        four = {"mode": nncf.CompressWeightsMode.INT4_ASYM, "group_size": group_size, "all_layers": True}
        graph = nncf.compress_weights(
            openvino.Core().read_model(str(model.path)),
            ignored_scope=nncf.IgnoredScope(names=list(ignored), types=["Gather"], validate=False),
            **(four if bits == 4 else {"mode": nncf.CompressWeightsMode.INT8_ASYM}),
        )
        return saved(graph, model.config, opened)


def names_of(model: OnnxModel, layers: Collection[str], others: Collection[str]) -> list[str]:
    """Return products of the `others`, as OpenVINO names them.

    Raises InputError if the graph has none of the `layers`.
    """
    import onnx

    nodes = [n for n in onnx.load(str(model.path)).graph.node if n.op_type in ("MatMul", "Gemm", "Conv")]
    if not any(layer_of(n) in layers for n in nodes):
        raise InputError(NO_PRODUCT)
    dense = [n.name for n in nodes if layer_of(n) in others]
    return [name for n in dense for name in (n, f"{n}/WithoutBiases")]


def saved(graph: Any, config: Any, opened: type[Opened]) -> Opened:
    """Return an OpenVINO graph as a module of this class, in a temporary folder that lasts as long as the object."""
    import openvino

    folder = scratch("openvino")
    try:
        name_dimensions(graph)
        openvino.save_model(graph, str(folder / FILE), compress_to_fp16=False)
        return opened(folder / FILE, config, temporary=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence nncf's own progress bars and advice."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)
