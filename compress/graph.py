"""Exported graphs: a transformers model as an ONNX file, and such a file as a module that answers like the model.

    model --export--> model.onnx --quantize_graph--> model.onnx, either one opened as an OnnxModel

The graph has one output, `logits`; batch size and sequence length stay dynamic. Attention is exported in its plain
form: the export of torch's fused attention guards against fully masked rows with extra nodes that cost a quarter of the
speed.
"""

import ast
import contextlib
import inspect
import io
import json
import logging
import os
import re
import shutil
import warnings
import weakref
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import nn

from compress.config import InputError
from compress.files import passing, scratch
from compress.progress import bar

FILE = "model.onnx"
EXTERNAL_BYTES = 1_800_000_000  # a protobuf holds 2 GiB; beyond this the weights go to a file beside it
TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class GraphModel(nn.Module, ABC):
    """An exported graph as a module: takes a batch of tensors, returns a ModelOutput with logits."""

    kind: Literal["onnx", "openvino"]
    """What an artifact calls it, and the runtime that executes it."""
    inputs: tuple[str, ...]

    def __init__(self, path: Path, config: Any, temporary: bool = False) -> None:
        """`temporary`: the graph's folder goes when this object does."""
        super().__init__()
        if temporary:
            weakref.finalize(self, shutil.rmtree, Path(path).parent, ignore_errors=True)
        self.path = Path(path)
        self.config = config
        self.device = torch.device("cpu")
        self.dtype = torch.float32

    def files(self) -> list[Path]:
        """The graph's files: all that it takes to open it again."""
        return sorted(self.path.parent.glob(f"{self.path.stem}.*"))

    @abstractmethod
    def run(self, feeds: Mapping[str, Any]) -> Any:
        """Logits as an array, of inputs as arrays."""

    @abstractmethod
    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Operator -> seconds, from the runtime's own profile of a few batches."""

    @abstractmethod
    def weights(self) -> Iterator[Any]:
        """Every floating-point weight that a product takes, as an array."""

    def forward(self, *args: torch.Tensor, **batch: torch.Tensor) -> Any:
        """Logits of a batch. Masks that are left out mean: every token counts; labels and the like are ignored."""
        from transformers.utils import ModelOutput

        return ModelOutput(logits=torch.from_numpy(self.run(self.feeds(args, batch))))

    def feeds(self, args: tuple[torch.Tensor, ...], batch: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """The graph's inputs as arrays."""
        batch = {**dict(zip(self.inputs, args, strict=False)), **batch}
        first = batch[self.inputs[0]]
        feeds = {}
        for name in self.inputs:
            value = batch.get(name)
            if value is None:
                value = torch.ones_like(first) if name == "attention_mask" else torch.zeros_like(first)
            feeds[name] = value.detach().numpy()
        return feeds


def pinned_cores() -> list[int]:
    """The cores that OpenMP is pinned to while measuring; none elsewhere."""
    return [int(core) for core in re.findall(r"\{(\d+)\}", os.environ.get("OMP_PLACES", ""))]


class OnnxModel(GraphModel):
    """An ONNX graph under onnxruntime."""

    kind: Literal["onnx", "openvino"] = "onnx"

    def __init__(self, path: Path, config: Any, temporary: bool = False) -> None:
        """Opens the graph. `temporary`: its folder goes when this object does."""
        import onnxruntime

        super().__init__(path, config, temporary)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # as many as torch has, so that comparisons are fair
        cores = pinned_cores()
        if 1 < options.intra_op_num_threads <= len(cores):
            # OpenMP is pinned while measuring; threads made here would all inherit the first one's core
            pins = ";".join(str(core + 1) for core in cores[1 : options.intra_op_num_threads])  # counted from 1
            options.add_session_config_entry("session.intra_op_thread_affinities", pins)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self._options = options
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = tuple(item.name for item in self.session.get_inputs())

    def run(self, feeds: Mapping[str, Any]) -> Any:
        """Logits as an array, of inputs as arrays."""
        return self.session.run(["logits"], feeds)[0]

    def weights(self) -> Iterator[Any]:
        """Every floating-point weight that a product takes, as an array."""
        import onnx

        graph = onnx.load(str(self.path)).graph
        taken = {name for node in graph.node if node.op_type in ("MatMul", "Gemm", "Conv") for name in node.input[1:2]}
        for tensor in graph.initializer:
            if tensor.name in taken and tensor.data_type == onnx.TensorProto.FLOAT:
                yield onnx.numpy_helper.to_array(tensor)

    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Node type -> seconds, from onnxruntime's own trace of three batches."""
        import onnxruntime

        with passing("profile") as folder:
            options = self._options
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "trace")
            try:
                session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
                for _ in range(3):
                    session.run(["logits"], self.feeds((), batch))
                events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text())
            finally:
                options.enable_profiling = False
        spent: dict[str, float] = {}
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                kind = event["args"].get("op_name", event["name"])
                spent[kind] = spent.get(kind, 0.0) + float(event["dur"]) / 1e6
        return spent


class _Logits(nn.Module):
    """The model with positional inputs and logits as its only output: what the exporter traces."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], constants: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.constants = dict(constants)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(**dict(zip(self.names, args, strict=True)), **self.constants).logits
        return logits


def export(model: Any, folder: Path) -> Path:
    """The path of `model` as an ONNX file in `folder`, fp32, batch and sequence dynamic.

    Raises InputError for a model that is not fp32 or that the exporter cannot trace.
    """
    dtypes = {p.dtype for p in model.parameters()}
    if dtypes != {torch.float32}:
        raise InputError(
            f"onnxruntime: the model holds {', '.join(sorted(str(d).removeprefix('torch.') for d in dtypes))}; "
            "expected float32; leave out the cast step, or take another runtime"
        )
    inputs = example_inputs(model)
    sequence = "pixel_values" not in inputs
    dynamic = torch.export.Dim.DYNAMIC
    shapes = tuple({0: dynamic, 1: dynamic} if sequence else {0: dynamic} for _ in inputs)
    accepted = inspect.signature(model.forward).parameters
    constants = {name: value for name, value in (("use_cache", False),) if name in accepted}
    path = folder / FILE
    with bar("exporting", None), plain_attention(model), _quiet(), torch.no_grad():
        wrapper = _Logits(model, tuple(inputs), constants).eval()
        try:
            program = torch.onnx.export(
                wrapper,
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=list(inputs),
                output_names=["logits"],
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise InputError(
                f"onnxruntime: {type(model).__name__} cannot be exported to ONNX ({reason}); take another runtime"
            ) from error
        assert program is not None
        program.save(str(path), external_data=_bytes(model) > EXTERNAL_BYTES)
    return path


def exported(model: Any) -> OnnxModel:
    """The model as a graph in a temporary folder, which lasts as long as the object."""
    folder = scratch("onnx")
    try:
        return OnnxModel(export(model, folder), model.config, temporary=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def quantize_graph(model: OnnxModel, layers: Collection[str], per_channel: bool) -> OnnxModel:
    """Another graph in which the products of these layers are int8 with dynamic activations.

    x --DynamicQuantizeLinear--> uint8 --MatMulInteger(int8 weight)--> int32 --scales--> float
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(str(model.path))
    del graph.graph.value_info[:]  # the exporter's shapes have names that the quantizer's shape inference trips over
    nodes = [n for n in graph.graph.node if n.op_type in ("MatMul", "Gemm") and layer_of(n) in layers]
    if not nodes:
        raise InputError("onnxruntime: the exported graph has none of the chosen layers as a product; widen include")
    large = sum(file.stat().st_size for file in model.path.parent.iterdir()) > EXTERNAL_BYTES
    folder = scratch("onnx")
    try:
        with bar("rounding the graph's weights", None), _quiet():
            quantize_dynamic(
                graph,
                str(folder / FILE),
                nodes_to_quantize=[name for n in nodes for name in (n.name, f"{n.name}_MatMul")],  # a Gemm is split
                per_channel=per_channel,
                reduce_range=False,  # 8 whole bits: nothing overflows where the CPU has VNNI
                weight_type=QuantType.QInt8,
                use_external_data_format=large,
            )
        return OnnxModel(folder / FILE, model.config, temporary=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def layer_of(node: Any) -> str:
    """Name of the module that an exported node came from; empty for nodes outside any."""
    for item in node.metadata_props:
        if item.key == "pkg.torch.onnx.name_scopes":
            scopes = cast(list[str], ast.literal_eval(item.value))
            return scopes[-2].removeprefix("model").removeprefix(".") if len(scopes) > 1 else ""
    return ""


def example_inputs(model: Any) -> dict[str, torch.Tensor]:
    """A batch of the inputs that the model takes, on its device: 2 images, or 2 sequences of 11 tokens."""
    device = next(model.parameters()).device
    if getattr(model, "main_input_name", "") == "pixel_values":
        size = model.config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return {"pixel_values": torch.zeros(2, model.config.num_channels, height, width, device=device)}
    accepted = inspect.signature(model.forward).parameters
    one_type = getattr(model.config, "type_vocab_size", 2) < 2  # RoBERTa takes token types but has only one
    names = [n for n in TEXT_INPUTS if n in accepted and not (n == "token_type_ids" and one_type)]
    value = {"input_ids": 5, "attention_mask": 1, "token_type_ids": 0}
    return {name: torch.full((2, 11), value[name], dtype=torch.int64, device=device) for name in names}


def _bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


@contextlib.contextmanager
def plain_attention(model: Any) -> Iterator[None]:
    """The model in eval mode with attention written out; as it was before at the end."""
    before = model.config._attn_implementation
    training = model.training
    model.eval()
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
        model.train(training)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the chatter of torch.onnx and onnxscript: it speaks of operators that are not in the model."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
