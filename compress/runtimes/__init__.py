"""Runtimes: what executes a finished model. `eager` is torch as it comes.

`finish` brings a bundle into the form that its runtime saves (a graph for onnxruntime); `prepare` makes a loaded model
ready to be measured under one.
"""

from dataclasses import replace
from typing import Any

from compress.bundle import Bundle
from compress.config import InputError
from compress.formats import PLAIN_RUNTIMES
from compress.graph import OnnxModel, exported


def finish(bundle: Bundle, runtime: str) -> Bundle:
    """The bundle in the form that `runtime` executes, with the runtime resolved by name.

    A model that no step has quantized takes eager for auto. Raises InputError for a runtime that cannot execute it.
    """
    if isinstance(bundle.model, OnnxModel):
        if runtime not in ("auto", "onnxruntime"):
            raise InputError(f"runtime {runtime}: the model is an ONNX graph; expected onnxruntime")
        return replace(bundle, runtime="onnxruntime")
    settled = str(bundle.layers.get("", {}).get("runtime", "eager")) if runtime == "auto" else runtime
    allowed = PLAIN_RUNTIMES["cuda" if bundle.device.type == "cuda" else "cpu"]
    if settled not in allowed:
        raise InputError(
            f"runtime {settled} does not exist on {bundle.device.type}; expected one of {', '.join(allowed)}"
        )
    if settled == "onnxruntime":
        return replace(bundle, model=exported(bundle.model).eval(), runtime=settled)
    return replace(bundle, runtime=settled)


def prepare(model: Any, runtime: str) -> Any:
    """The module to run under `runtime`: compiled for compile, else the model itself."""
    if isinstance(model, OnnxModel) or runtime != "compile":
        return model
    from compress.runtimes.compiled import compile_model

    return compile_model(model)
