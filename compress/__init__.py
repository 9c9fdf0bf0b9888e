"""Compress a Hugging Face model, measure what that did to accuracy, latency and energy, and read one Pareto table.

    from compress import Recipe, run
    run(Recipe.load("bert_int8"))

Names load on first use, so that reading results never imports torch.
"""

# isort: off
from compress.startup import end_at_once, is_command

if is_command():  # Ctrl-C has its exit code from the first statement on
    end_at_once()

# isort: on
from importlib import import_module
from typing import TYPE_CHECKING, Any

from compress.telemetry import switch_off

__version__ = "0.1.0"

switch_off()  # before any library is imported that would send

if TYPE_CHECKING:
    from compress.harness import run
    from compress.pareto import front
    from compress.recipe import Measure, Recipe
    from compress.report.collection import Results, results
    from compress.result import Result
    from compress.steps import Cast, Distill, LowRank, Prune, Quantize
    from compress.transform import apply, load
    from compress.workloads import Workload

_WHERE = {
    "Recipe": "compress.recipe",
    "Measure": "compress.recipe",
    "Workload": "compress.workloads",
    "Result": "compress.result",
    "Results": "compress.report.collection",
    "results": "compress.report.collection",
    "Cast": "compress.steps",
    "Prune": "compress.steps",
    "Quantize": "compress.steps",
    "LowRank": "compress.steps",
    "Distill": "compress.steps",
    "apply": "compress.transform",
    "load": "compress.transform",
    "run": "compress.harness",
    "front": "compress.pareto",
}

__all__ = [
    "Cast", "Distill", "LowRank", "Measure", "Prune", "Quantize", "Recipe", "Result", "Results",
    "Workload", "apply", "front", "load", "results", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "energy":  # `with compress.energy.meter():` after `import compress` alone
        return import_module("compress.energy")
    if name not in _WHERE:
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
    from compress.quiet import quiet_notices

    quiet_notices()
    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
