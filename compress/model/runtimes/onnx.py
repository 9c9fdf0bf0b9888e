"""Exported graphs: a transformers model as an ONNX file, and such a file with int8 products.

    model --export--> model.onnx --quantize_graph--> model.onnx, either one opened as an OnnxModel

The graph has one output, `logits`; its dimensions `batch` and `sequence` are dynamic. Attention is exported in its
plain form. torch's fused attention exports extra nodes against fully masked rows, which cost a quarter of the speed.
"""

import ast
import contextlib
import inspect
import io
import logging
import shutil
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from compress.base.config import InputError
from compress.base.console import bar
from compress.base.device import CPU
from compress.base.devices import device_of
from compress.base.errors import innermost
from compress.base.files import scratch
from compress.base.memory import free_bytes
from compress.data import positions
from compress.model.outputs import logits_of
from compress.model.runtimes import unsigned
from compress.model.runtimes.graph import OnnxModel
from compress.model.runtimes.providers import Place
from compress.model.runtimes.signature import variable
from compress.model.runtimes.unsigned import EXTERNAL_BYTES

FILE = "model.onnx"
NO_PRODUCT = "onnxruntime: the exported graph has none of the chosen layers as a product; widen include"
EXPORT_TIMES = 5.4
"""Memory of an export, checked graph and quantized copy included, in fp32 weights: 6.3 GB for 0.29 billion."""
OF_MODEL, WEIGHT = "model.", ".weight"
"""Beginning and end of a weight's name in a graph."""
TOKENS, SAMPLES = 11, 6007  # of a traced text, and of sound; lengths that real batches are unlikely to have


class _Logits(nn.Module):
    """The model with positional inputs and logits as its only output, for the exporter to trace."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], constants: Mapping[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.names = names
        self.constants = dict(constants)

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        return logits_of(self.model(**dict(zip(self.names, args, strict=True)), **self.constants))


def export(model: Any, folder: Path, batch: Mapping[str, torch.Tensor]) -> Path:
    """Export `model` as an ONNX file in `folder`, in its own precision, batch and sequence dynamic; return its path.

    The graph takes the inputs that `batch` has and no others. Raises InputError for a model that the exporter cannot
    trace.
    """
    if problem := unexportable(model):
        raise InputError(problem)
    inputs = example_inputs(model, batch)
    shapes = tuple(variable(value.dim()) for value in inputs.values())
    accepted = inspect.signature(model.forward).parameters
    constants = {name: value for name, value in (("use_cache", False),) if name in accepted}
    path = folder / FILE
    with bar("exporting", None), plain_attention(model), quietly(), torch.no_grad():
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
            reason = innermost(error)
            raise InputError(
                f"onnxruntime: {type(model).__name__} cannot be exported to ONNX ({reason}); use another runtime"
            ) from error
        assert program is not None
        program.save(str(path), external_data=_bytes(model) > EXTERNAL_BYTES)
    return path


def unexportable(model: nn.Module) -> str | None:
    """Return why a model, or its empty skeleton, cannot be exported; None if no reason is visible before export."""
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        for kind in kinds.values() if isinstance(kinds, Mapping) else [kinds]:
            if isinstance(kind, str) and "dynamic" in kind:
                return (
                    f"rope_type {kind}: its frequencies depend on the length of each batch, which ONNX cannot express; "
                    "use runtime eager or compile"
                )
    return None


def memory_problem(model: nn.Module) -> str | None:
    """Return why the memory that is free does not suffice to export a model, or its empty skeleton; None if it does."""
    size = 4 * sum(p.numel() for p in model.parameters())
    held = sum(p.numel() * p.element_size() for p in model.parameters() if not p.is_meta)
    needed, free = EXPORT_TIMES * size - held, free_bytes()
    if free is None or needed <= free:
        return None
    return (
        f"exporting the model takes about {needed / 1e9:.1f} GB ({EXPORT_TIMES} times its {size / 1e9:.1f} GB of fp32 "
        f"weights{', which are loaded' if held else ''}), and {free / 1e9:.1f} GB are free; quantize with backend "
        "torch, under runtime eager, which needs no export"
    )


def exported(
    model: Any, batch: Mapping[str, torch.Tensor], runtime: str = "onnxruntime", device: torch.device | None = None
) -> OnnxModel:
    """Return the model as a graph for a runtime on a device, in a temporary folder that lasts as long as the object.

    `compress.model.runtimes.check` compares it with the model. Raises InputError for a model that is neither in fp32
    nor, on a GPU, in fp16.
    """
    half = _is_half(model, on_gpu=device is not None and device.type == "cuda")
    if problem := memory_problem(model):
        raise InputError(f"{runtime}: {problem}")
    folder = scratch("onnx")
    try:
        # traced on the CPU for every target: a graph does not depend on the device
        file = export(model.cpu(), folder, batch)
        place = Place(runtime, CPU if device is None else device_of(device), half)
        return OnnxModel(file, model.config, temporary=True, place=place)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _is_half(model: Any, on_gpu: bool) -> bool:
    """Return True for a model in fp16, False for fp32. Raises InputError for others, and for fp16 on the CPU."""
    dtypes = {p.dtype for p in model.parameters()}
    if dtypes == {torch.float16} and on_gpu:
        return True
    if dtypes == {torch.float32}:
        return False
    types = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
    expected = "float32 or float16; cast to fp16" if on_gpu else "float32; remove the cast step"
    raise InputError(f"onnxruntime: the model holds {types}; expected {expected}, or use another runtime")


def quantize_graph(model: OnnxModel, layers: Collection[str], per_channel: bool) -> OnnxModel:
    """Return another graph in which the products of these layers are int8 with dynamic activations.

        x --DynamicQuantizeLinear--> uint8 --MatMulInteger(int8 weight)--> int32 --scales--> float

    A CPU without VNNI multiplies uint8 by int8 in 16 bits, which saturate: there the weights are stored as uint8.
    """
    from onnxruntime.quantization import quantize_dynamic

    def write(graph: Any, chosen: Sequence[str], file: str, settings: Mapping[str, Any]) -> None:
        split = [name for each in chosen for name in (each, f"{each}_MatMul")]  # a Gemm is split
        quantize_dynamic(graph, file, nodes_to_quantize=split, per_channel=per_channel, **settings)

    return rewritten(model, layers, ("MatMul", "Gemm"), "rounding the graph's weights", write)


Write = Callable[[Any, Sequence[str], str, Mapping[str, Any]], None]
"""(graph, names of its products to round, file to write, settings common to onnxruntime's quantizers) -> None."""


def rewritten(
    model: OnnxModel, layers: Collection[str], products: Collection[str], label: str, write: Write
) -> OnnxModel:
    """Return another graph, which `write` makes, with int8 weights in the `products` (operators) of these layers.

    Raises InputError if the graph has none of them.
    """
    import onnx
    from onnxruntime.quantization import QuantType

    graph = onnx.load(str(model.path))
    del graph.graph.value_info[:]  # names in the exporter's shapes break the quantizer's shape inference
    chosen = [n.name for n in graph.graph.node if n.op_type in products and layer_of(n) in layers]
    if not chosen:
        raise InputError(NO_PRODUCT)
    large = sum(file.stat().st_size for file in model.path.parent.iterdir()) > EXTERNAL_BYTES
    settings = {
        "reduce_range": False,  # all 8 bits: nothing overflows on a CPU with VNNI
        "weight_type": QuantType.QInt8,
        "use_external_data_format": large,
    }
    folder = scratch("onnx")
    try:
        with bar(label, None), quietly():
            write(graph, chosen, str(folder / FILE), settings)
        if unsigned.needed(folder / FILE):
            unsigned.store(folder / FILE, folder / FILE, large)
        return OnnxModel(folder / FILE, model.config, temporary=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def layer_of(node: Any) -> str:
    """Return the name of the module that an exported node came from; empty for nodes outside any.

    A convolution with a folded batch norm came from both; it has the convolution's name, whose weight it multiplies.
    """
    if node.op_type == "Conv" and node.input[1].endswith(WEIGHT) and node.input[1].startswith(OF_MODEL):
        return str(node.input[1]).removeprefix(OF_MODEL).removesuffix(WEIGHT)
    for item in node.metadata_props:
        if item.key == "pkg.torch.onnx.name_scopes":
            scopes = cast(list[str], ast.literal_eval(item.value))
            return scopes[-2].removeprefix("model").removeprefix(".") if len(scopes) > 1 else ""
    return ""


def example_inputs(model: Any, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return inputs like those of `batch`, on the model's device: 2 images, 2 waveforms, or 2 texts of few tokens."""
    device = next(model.parameters()).device
    limit = positions.limit(model) or 0
    length = min(TOKENS, limit) if limit > 0 else TOKENS
    value = {"input_ids": 5, "attention_mask": 1}
    return {
        name: torch.zeros(2, *given.shape[1:], dtype=given.dtype, device=device)
        if given.dim() > 2
        else torch.full(
            (2, SAMPLES if given.is_floating_point() else length), value.get(name, 0), dtype=given.dtype, device=device
        )
        for name, given in batch.items()
    }


def _bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


@contextlib.contextmanager
def plain_attention(model: Any) -> Iterator[None]:
    """Put the model in eval mode with plain (eager) attention, and restore it at the end.

    Parts keep settings of their own: a detector's backbone has no other attention than this.
    """
    configs = {id(m.config): m.config for m in model.modules() if hasattr(m, "config")}.values()  # the model's first
    before = [(config, config._attn_implementation) for config in configs if hasattr(config, "_attn_implementation")]
    training = model.training
    model.eval()
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        for config, attention in before:
            config._attn_implementation = attention
        model.train(training)


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Silence torch.onnx, onnxscript and the quantizers of onnxruntime and nncf: their bars, advice and warnings.

    They report operators that are not in the model.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
