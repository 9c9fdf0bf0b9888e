"""Runtimes, which execute a finished model. `eager` is plain torch.

`finish` converts a bundle to the form that its runtime saves (a graph for onnxruntime, tensorrt and openvino; a
file for llama.cpp, a folder for
onnxruntime-genai). `prepare` makes a loaded model ready for measurement under a runtime.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.base.devices import computes_bf16, device_of
from compress.data.tasks import task_of
from compress.model.bundle import Bundle
from compress.model.packing.expanding import grouped_layers
from compress.model.runtimes import providers
from compress.model.runtimes.check import checked, checked_with_cache, rounded_inputs
from compress.model.runtimes.graph import GraphModel
from compress.model.runtimes.padded import Padded
from compress.model.runtimes.sparse import take_sparse_kernels
from compress.spec.formats import GRAPHS, PLAIN_RUNTIMES

if TYPE_CHECKING:
    from compress.model.manifest import Manifest

IN_LLAMA_CPP = "llama.cpp: keys and values in fp16; inputs of quantized products rounded to 8 bits"
IN_GENAI = "onnxruntime-genai: keys and values in fp32; inputs of quantized products rounded to 8 bits"
IN_BF16 = "openvino: computed in bf16, which this CPU supports natively"
MAY_ROUND = "tensorrt: fp32 products may be computed in TF32, which TensorRT allows by default"


def finish(bundle: Bundle, runtime: str) -> Bundle:
    """Return the bundle in the form that `runtime` executes, with `auto` resolved to a runtime's name.

    A model that no step has quantized uses eager for auto. Raises InputError for a runtime that cannot execute it.
    """
    if isinstance(bundle.model, GraphModel):
        graph_runtime = GRAPHS[bundle.model.kind][0]
        if runtime not in ("auto", graph_runtime):
            raise InputError(f"runtime {runtime}: the model is a graph; expected runtime {graph_runtime}")
        remarks = _remarks(bundle, bundle.model)
        return replace(bundle, runtime=graph_runtime, notes=(*bundle.notes, *remarks))
    resolved = str(bundle.layers.get("", {}).get("runtime", "eager")) if runtime == "auto" else runtime
    kind = device_of(bundle.device).kind
    allowed = PLAIN_RUNTIMES[kind]
    if resolved not in allowed:
        raise InputError(f"runtime {resolved} does not exist on {kind}; expected one of {', '.join(allowed)}")
    if resolved in GRAPHS["onnx"]:
        providers.check(resolved, kind)
        graph = checked(bundle, resolved).eval()
        rounded = resolved == "tensorrt" and not graph.place.half
        remarks = (MAY_ROUND,) if rounded else ()
        return replace(bundle, model=graph, runtime=resolved, notes=(*bundle.notes, *remarks))
    if resolved == "openvino":
        from compress.model.runtimes.openvino import converted

        opened: GraphModel
        if task_of(bundle.task).continues:
            opened = checked_with_cache(bundle).eval()
            integers = replace(bundle, runtime="eager") if grouped_layers(bundle.model) else None
        else:
            opened, integers = converted(checked(bundle, resolved)).eval(), bundle.integers
        notes = (*bundle.notes, *_remarks(bundle, opened))
        return replace(bundle, model=opened, runtime=resolved, notes=notes, integers=integers)
    if resolved == "llama.cpp":
        from compress.model.runtimes.llama_check import checked_in_llama_cpp

        in_llama_cpp = checked_in_llama_cpp(bundle).eval()
        integers = replace(bundle, runtime="eager") if grouped_layers(bundle.model) else None
        return replace(
            bundle, model=in_llama_cpp, runtime=resolved, notes=(*bundle.notes, IN_LLAMA_CPP), integers=integers
        )
    if resolved == "onnxruntime-genai":
        from compress.model.runtimes.genai_build import checked_in_genai

        built = checked_in_genai(bundle).eval()
        integers = replace(bundle, runtime="eager") if grouped_layers(bundle.model) else None
        notes = (*bundle.notes, IN_GENAI)
        return replace(bundle, model=built, runtime=resolved, notes=notes, integers=integers)
    return replace(bundle, runtime=resolved)


def _remarks(bundle: Bundle, graph: GraphModel) -> tuple[str, ...]:
    """Return remarks on the numbers that a graph computes in, beside those of its weights."""
    in_bf16 = IN_BF16 if graph.kind == "openvino" and computes_bf16(bundle.device) else None
    return tuple(filter(None, (in_bf16, rounded_inputs(bundle, graph))))


def prepare(
    model: Any,
    runtime: str,
    attention: str = "auto",
    padded_to: int | None = None,
    layers: Mapping[str, Mapping[str, Any]] | None = None,
    kv_cache: str = "auto",
) -> Any:
    """Return the module to run under `runtime`, with this attention: compiled for compile, else the model itself.

    `padded_to`: every batch of texts is padded to this many tokens. `layers`: entries of changed layers, which select
    kernels. `kv_cache`: int8 or int4 rounds the cache of a language model, static allocates it in full. Raises
    InputError for an attention implementation that the model or this machine does not have, and for a model whose cache
    cannot be rounded or static.
    """
    take_sparse_kernels(model, layers or {})
    if attention != "auto":
        take_attention(model, attention)
    if kv_cache != "auto":
        from compress.model.cache_settings import with_cache

        return with_cache(model, kv_cache, runtime)
    if runtime == "compile" and not isinstance(model, GraphModel):
        from compress.model.runtimes.compiled import compile_model

        model = compile_model(model, fixed=padded_to is not None)
    return model if padded_to is None else Padded(model, padded_to)


def runnable_artifact(model: Any, runtime: str, manifest: "Manifest") -> Any:
    """Apply `prepare` to a loaded artifact, with the settings in its manifest."""
    extra = manifest.extra
    attention, cache = (str(extra.get(name, "auto")) for name in ("attention", "kv_cache"))
    return prepare(model, runtime, attention, extra.get("padded_to"), manifest.layers, cache)


def take_attention(model: Any, attention: str) -> None:
    """Set the attention implementation and verify it, because transformers only warns if it is not available."""
    place = f"attention {attention}"
    if isinstance(model, GraphModel):
        raise InputError(f"{place}: {GRAPHS[model.kind][0]} has its own attention; remove attention")
    try:
        model.set_attn_implementation(attention)
    except (ImportError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{place}: {type(model).__name__} does not support it here ({reason})") from None
    if (actual := model.config._attn_implementation) != attention:
        raise InputError(f"{place}: {type(model).__name__} supports only {actual}; remove attention")
