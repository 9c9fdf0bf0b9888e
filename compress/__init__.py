"""Compress a Hugging Face model, and measure the change in accuracy, latency and energy.

    from compress import Recipe, run
    run(Recipe.load("bert_int8"))

Names load on first use, so that reading results never imports torch.
"""

# isort: off
from compress.base.startup import end_at_once, is_command

if is_command():  # Ctrl-C ends with its exit code from the first statement on
    end_at_once()

# isort: on
from importlib import import_module
from typing import TYPE_CHECKING, Any

from compress.base.telemetry import switch_off
from compress.base.version import __version__ as __version__

switch_off()  # before any library with telemetry is imported

if TYPE_CHECKING:
    from compress.data.workload import Workload
    from compress.harness.run import run
    from compress.harness.transform import apply, load
    from compress.records.result import Result
    from compress.report.collection import Results, front, results
    from compress.spec.measure import Measure
    from compress.spec.recipe import Recipe
    from compress.spec.steps import Cast, Distill, LowRank, Prune, Quantize

_MODULES = {
    "Recipe": "compress.spec.recipe",
    "Measure": "compress.spec.measure",
    "Workload": "compress.data.workload",
    "Result": "compress.records.result",
    "Results": "compress.report.collection",
    "results": "compress.report.collection",
    "Cast": "compress.spec.steps",
    "Prune": "compress.spec.steps",
    "Quantize": "compress.spec.steps",
    "LowRank": "compress.spec.steps",
    "Distill": "compress.spec.steps",
    "apply": "compress.harness.transform",
    "load": "compress.harness.transform",
    "run": "compress.harness.run",
    "front": "compress.report.collection",
}

__all__ = [
    "Cast", "Distill", "LowRank", "Measure", "Prune", "Quantize", "Recipe", "Result", "Results",
    "Workload", "apply", "front", "load", "results", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "energy":  # `with compress.energy.meter():` after `import compress` alone
        return import_module("compress.energy")
    if name not in _MODULES:
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
    from compress.base.quiet import quiet_notices

    quiet_notices()
    import_module("compress.report.html")  # registers how results appear in notebooks
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
