"""Runtimes: what executes a finished model. `eager` is torch as it comes.

`finish` brings a bundle into the form that its runtime saves (a graph for onnxruntime, tensorrt and openvino);
`prepare` makes a loaded model ready to be measured under one.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.base.devices import computes_bf16
from compress.model.bundle import Bundle
from compress.model.runtimes import providers
from compress.model.runtimes.check import checked
from compress.model.runtimes.graph import GraphModel
from compress.model.runtimes.padded import Padded
from compress.model.runtimes.sparse import take_sparse_kernels
from compress.spec.formats import GRAPHS, PLAIN_RUNTIMES, DeviceType

if TYPE_CHECKING:
    from compress.model.manifest import Manifest

MAY_ROUND = "tensorrt: products of fp32 may be computed in TF32, as TensorRT allows by itself"


def finish(bundle: Bundle, runtime: str) -> Bundle:
    """The bundle in the form that `runtime` executes, with the runtime resolved by name.

    A model that no step has quantized takes eager for auto. Raises InputError for a runtime that cannot execute it.
    """
    if isinstance(bundle.model, GraphModel):
        own = GRAPHS[bundle.model.kind][0]
        if runtime not in ("auto", own):
            raise InputError(f"runtime {runtime}: the model is a graph of {own}; expected that")
        return replace(bundle, runtime=own)
    settled = str(bundle.layers.get("", {}).get("runtime", "eager")) if runtime == "auto" else runtime
    device: DeviceType = "cuda" if bundle.device.type == "cuda" else "cpu"
    allowed = PLAIN_RUNTIMES[device]
    if settled not in allowed:
        raise InputError(
            f"runtime {settled} does not exist on {bundle.device.type}; expected one of {', '.join(allowed)}"
        )
    if settled in GRAPHS["onnx"]:
        providers.check(settled, device)
        graph = checked(bundle, settled).eval()
        rounded = settled == "tensorrt" and not graph.place.half
        remarks = (MAY_ROUND,) if rounded else ()
        return replace(bundle, model=graph, runtime=settled, notes=(*bundle.notes, *remarks))
    if settled == "openvino":
        from compress.model.runtimes.openvino import converted

        note = "openvino: computed in bf16, as this CPU does natively" if computes_bf16(bundle.device) else None
        model = converted(checked(bundle, settled)).eval()
        return replace(bundle, model=model, runtime=settled, notes=(*bundle.notes, *([note] if note else [])))
    return replace(bundle, runtime=settled)


def prepare(
    model: Any,
    runtime: str,
    attention: str = "auto",
    padded_to: int | None = None,
    layers: Mapping[str, Mapping[str, Any]] | None = None,
) -> Any:
    """The module to run under `runtime`: compiled for compile, else the model itself, with its attention computed so.

    `padded_to`: every batch of texts is padded to so many tokens. `layers`: what steps made of them, for kernels that
    ask for it. Raises InputError for an implementation of attention that the model or this machine does not have.
    """
    take_sparse_kernels(model, layers or {})
    if attention != "auto":
        take_attention(model, attention)
    if runtime == "compile" and not isinstance(model, GraphModel):
        from compress.model.runtimes.compiled import compile_model

        model = compile_model(model, fixed=padded_to is not None)
    return model if padded_to is None else Padded(model, padded_to)


def runnable_artifact(model: Any, runtime: str, manifest: "Manifest") -> Any:
    """`prepare` for a loaded artifact: as its manifest says that it is to be run."""
    extra = manifest.extra
    return prepare(model, runtime, str(extra.get("attention", "auto")), extra.get("padded_to"), manifest.layers)


def take_attention(model: Any, attention: str) -> None:
    """Has the model compute attention so. transformers only warns where it cannot, so what came of it is looked at."""
    place = f"attention {attention}"
    if isinstance(model, GraphModel):
        raise InputError(f"{place}: {GRAPHS[model.kind][0]} computes attention in its own way; leave it out")
    try:
        model.set_attn_implementation(attention)
    except (ImportError, ValueError) as error:
        told = str(error).strip().splitlines()[0]
        raise InputError(f"{place}: {type(model).__name__} cannot have it here ({told})") from None
    if (found := model.config._attn_implementation) != attention:
        raise InputError(f"{place}: {type(model).__name__} keeps {found}; it has no other; leave attention out")
