"""Exported graphs: a transformers model as an ONNX file, and such a file with int8 products.

    model --export--> model.onnx --quantize_graph--> model.onnx, either one opened as an OnnxModel

The graph has one output, `logits`; batch size and sequence length stay dynamic. Attention is exported in its plain
form: the export of torch's fused attention guards against fully masked rows with extra nodes that cost a quarter of the
speed.
"""

import ast
import contextlib
import inspect
import io
import logging
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from compress.base.config import InputError
from compress.base.console import bar
from compress.base.errors import innermost
from compress.base.files import scratch
from compress.data import positions
from compress.model.runtimes import unsigned
from compress.model.runtimes.graph import OnnxModel
from compress.model.runtimes.providers import Place
from compress.model.runtimes.unsigned import EXTERNAL_BYTES

FILE = "model.onnx"
TOKENS = 11  # of a traced text; no length that real batches are likely to have


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


def export(model: Any, folder: Path, batch: Mapping[str, torch.Tensor]) -> Path:
    """The path of `model` as an ONNX file in `folder`, in the model's own precision, batch and sequence dynamic.

    The graph takes the inputs that `batch` has and no others. Raises InputError for a model that the exporter cannot
    trace.
    """
    if problem := unexportable(model):
        raise InputError(problem)
    inputs = example_inputs(model, batch)
    dynamic = torch.export.Dim.DYNAMIC
    shapes = tuple({0: dynamic, 1: dynamic} if value.dim() == 2 else {0: dynamic} for value in inputs.values())
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
            reason = innermost(error)
            raise InputError(
                f"onnxruntime: {type(model).__name__} cannot be exported to ONNX ({reason}); take another runtime"
            ) from error
        assert program is not None
        program.save(str(path), external_data=_bytes(model) > EXTERNAL_BYTES)
    return path


def unexportable(model: nn.Module) -> str | None:
    """Return why no graph of a model, or of its empty skeleton, can be made, or None as far as that shows."""
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        for kind in kinds.values() if isinstance(kinds, Mapping) else [kinds]:
            if isinstance(kind, str) and "dynamic" in kind:
                return (
                    f"rope_type {kind}: its frequencies depend on the length of each batch, and ONNX cannot hold that; "
                    "take runtime eager or compile"
                )
    return None


def exported(
    model: Any, batch: Mapping[str, torch.Tensor], runtime: str = "onnxruntime", device: torch.device | None = None
) -> OnnxModel:
    """The model as a graph in a temporary folder, which lasts as long as the object, for a runtime on a device.

    `compress.model.runtimes.check` compares it with the model. Raises InputError for a model that is neither in
    fp32 nor, on a GPU, in fp16.
    """
    half = _is_half(model, on_gpu=device is not None and device.type == "cuda")
    folder = scratch("onnx")
    try:
        # traced on the CPU, whatever it is for: a graph knows no device
        file = export(model.cpu(), folder, batch)
        return OnnxModel(file, model.config, temporary=True, place=Place(runtime, str(device or "cpu"), half))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _is_half(model: Any, on_gpu: bool) -> bool:
    """Whether a model is in fp16 and not in fp32. Raises InputError for all others, and for fp16 on the CPU."""
    dtypes = {p.dtype for p in model.parameters()}
    if dtypes == {torch.float16} and on_gpu:
        return True
    if dtypes == {torch.float32}:
        return False
    held = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
    expected = "float32 or float16; cast to fp16" if on_gpu else "float32; leave out the cast step"
    raise InputError(f"onnxruntime: the model holds {held}; expected {expected}, or take another runtime")


def quantize_graph(model: OnnxModel, layers: Collection[str], per_channel: bool) -> OnnxModel:
    """Another graph in which the products of these layers are int8 with dynamic activations.

    x --DynamicQuantizeLinear--> uint8 --MatMulInteger(int8 weight)--> int32 --scales--> float

    A CPU without VNNI multiplies uint8 by int8 in 16 bits, which saturate: there the weights are stored as uint8.
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
        if unsigned.needed(folder / FILE):
            unsigned.store(folder / FILE, folder / FILE, large)
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


def example_inputs(model: Any, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Inputs like those of `batch`, on the model's device: 2 images, or 2 texts of a few tokens."""
    device = next(model.parameters()).device
    limit = positions.limit(model) or 0
    length = min(TOKENS, limit) if limit > 0 else TOKENS
    value = {"input_ids": 5, "attention_mask": 1}
    return {
        name: torch.zeros(2, *given.shape[1:], dtype=given.dtype, device=device)
        if given.dim() > 2
        else torch.full((2, length), value.get(name, 0), dtype=given.dtype, device=device)
        for name, given in batch.items()
    }


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
