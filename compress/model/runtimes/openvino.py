"""Exported graphs under OpenVINO: dense, or as `nncf_graphs` rounds them.

    model --export--> model.onnx --> model.xml + model.bin, opened as an OpenVinoModel

Floating-point operators run in bf16 on CPUs with native bf16, as OpenVINO prefers, else in fp32.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from compress.base import devices
from compress.base.config import InputError
from compress.base.devices import computes_bf16
from compress.base.files import scratch
from compress.model.agreement import NONE, Agreement
from compress.model.manifest import Signature
from compress.model.runtimes.graph import GraphModel, OnnxModel, pinned_cores
from compress.model.runtimes.signature import name_dimensions, openvino_signature

FILE = "model.xml"
COMPRESSED = "FullyConnectedCompressed"
"""OpenVINO's operator for a product with integer weights and floating-point inputs."""
ROUNDED = 1e-5
"""Change of the logits, as a share of their spread, that only rounded inputs cause: both graphs are one without."""
LITTLE = 32
"""Tokens of the one text whose logits show whether inputs are rounded: those of whole batches may fill the memory."""
HALF_RANGE = 64
"""Largest int8 weight whose products a CPU without VNNI adds exactly: 255 * 64 * 2 = 32,640 fits 16 signed bits."""


class OpenVinoModel(GraphModel):
    """An OpenVINO graph as a module."""

    kind: Literal["onnx", "openvino", "gguf", "genai"] = "openvino"

    def __init__(self, path: Path, config: Any, temporary: bool = False, exact: bool = False) -> None:
        """Open the graph. `temporary`: its folder is deleted with this object. `exact`: in fp32 on every CPU.

        Raises InputError for int8 weights whose products this CPU cannot add.
        """
        super().__init__(path, config, temporary)
        self._largest = _largest_weight(path)
        if self._largest > HALF_RANGE and not devices.has_vnni():
            raise InputError(
                f"{path}: an int8 graph for CPUs with VNNI; without it sums of 16 bits saturate: "
                f"expected weights up to {HALF_RANGE}, got {self._largest}; quantize again here, or for onnxruntime"
            )
        self._rounds_inputs = not exact
        self.bf16 = not exact and computes_bf16(torch.device("cpu"))
        self._cache: dict[str, Any] = {"KV_CACHE_PRECISION": "bf16" if self.bf16 else "f32"}  # by default 8 bits
        self._request = self._compiled(profiled=False)

    def graph(self) -> Any:
        """Return the graph to compile."""
        import openvino

        return openvino.Core().read_model(str(self.path))

    def begin(self, request: Any) -> None:
        """Make a request ready for a batch that has nothing to do with the one before."""

    def _compiled(self, profiled: bool, rounds_inputs: bool = True) -> Any:
        """Return a request to the graph, compiled for this CPU with as many threads as torch has."""
        import openvino

        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_HYPER_THREADING": True,  # else threads are limited to the physical cores
            "INFERENCE_PRECISION_HINT": "bf16" if self.bf16 else "f32",
            **self._cache,
            **({} if self._rounds_inputs and rounds_inputs else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}),
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
        return torch.from_numpy(self._request.infer(arrays(feeds))["logits"])

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
        counters = Counters(self._compiled(profiled=True))
        for _ in range(2):
            counters.start()
            self.begin(counters.request)
            counters.request.infer(arrays(self.feeds((), batch)))
            counters.count(1)
        seconds = counters.seconds()
        del counters  # a graph holds all weights
        return self.with_inputs(seconds, batch)

    def with_inputs(self, seconds: Mapping[str, float], batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return `operator:kernel` -> seconds, where products that round their inputs to 8 bits are `inputs_i8`.

        OpenVINO names their kernels by the type that inputs have before: the batch's logits with and without show it.
        """
        products = {name for name in seconds if name.startswith(f"{COMPRESSED}:")}
        little = {name: value[:1, :LITTLE] if value.dim() == 2 else value[:1] for name, value in batch.items()}
        found = self.rounding(little) if products else NONE
        if not found.difference > ROUNDED * max(found.spread, 0.0):
            return dict(seconds)
        others = {name: spent for name, spent in seconds.items() if name not in products}
        return {**others, f"{COMPRESSED}:inputs_i8": sum(seconds[name] for name in products)}

    def rounding(self, batch: Mapping[str, torch.Tensor]) -> Agreement:
        """Return the agreement of a batch's logits with those of the same graph when its products round no inputs."""
        if not self.input_group:
            return NONE
        found = []
        for rounds_inputs in (False, True):
            with self.aside(self._compiled(profiled=False, rounds_inputs=rounds_inputs)):
                found.append(self(**batch).logits.float().clone())
        return NONE.joined(*found)

    @contextlib.contextmanager
    def aside(self, request: Any) -> Iterator[None]:
        """Compute with another request; the own one, and what it remembers, are as before afterwards."""
        own, self._request = self._request, request
        try:
            yield
        finally:
            self._request = own


class Counters:
    """OpenVINO's counters of a profiled request. Each is the mean of all calls so far, in whole microseconds."""

    def __init__(self, request: Any) -> None:
        """Count the calls of this request, which has had none."""
        self.request = request
        self._calls = 0
        self._before: dict[str, float] = {}

    def start(self) -> None:
        """Let `seconds` begin here."""
        self._before = {name: total for name, (_, total) in self._totals().items()}

    def count(self, calls: int) -> None:
        """State that the request was called so often."""
        self._calls += calls

    def seconds(self) -> dict[str, float]:
        """Return `operator:kernel` -> seconds of the calls since `start`.

        A node is off by up to a microsecond for each call since the graph was opened.
        """
        found: dict[str, float] = {}
        for name, (kernel, total) in self._totals().items():
            if (spent := total - self._before.get(name, 0.0)) > 0:
                found[kernel] = found.get(kernel, 0.0) + spent
        return found

    def _totals(self) -> dict[str, tuple[str, float]]:
        """Return node -> its `operator:kernel` and the seconds of all calls."""
        if not self._calls:
            return {}
        nodes = self.request.profiling_info
        return {n.node_name: (f"{n.node_type}:{n.exec_type}", n.real_time.total_seconds() * self._calls) for n in nodes}


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


def arrays(feeds: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the inputs of a graph as arrays."""
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
