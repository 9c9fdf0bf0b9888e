"""Methods transform a bundle; measurement happens elsewhere.

`compress.spec.steps` holds the configurations that a recipe can contain. `TRANSFORMS` maps each method to its function.
A new method is a configuration there, a verb in its own file here, and one row.
"""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from compress.base.config import Config
from compress.base.devices import release_memory
from compress.spec.steps import Layers

if TYPE_CHECKING:
    from compress.model.bundle import Bundle

TRANSFORMS: dict[str, str] = {
    "cast": "compress.methods.cast:cast",
    "prune": "compress.methods.prune:prune",
    "quantize": "compress.methods.quantize:quantize",
    "lowrank": "compress.methods.lowrank:lowrank",
    "distill": "compress.methods.distill:distill",
}


def transform(method: str) -> Callable[["Bundle", Any], "Bundle"]:
    """Return the function of a method."""
    module, _, name = TRANSFORMS[method].partition(":")
    verb: Callable[[Bundle, Any], Bundle] = getattr(import_module(module), name)
    return verb


def apply_step(bundle: "Bundle", step: Config) -> "Bundle":
    """Return the bundle after one step; layers with settings of their own come last."""
    verb = transform(getattr(step, "method"))  # noqa: B009
    for part in step.parts if isinstance(step, Layers) else (step,):
        bundle = verb(bundle, part)
    if getattr(step, "method") == "distill":  # noqa: B009
        release_memory()  # Trainer, its optimizer and the teacher form reference cycles, which only the collector frees
    return bundle
