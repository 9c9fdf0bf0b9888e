"""Metrics through `evaluate`'s Metric interface, from local modules: nothing is fetched.

A metric is a name of this package or the path of a Python file with a class derived from `evaluate.Metric`. It is
given those per-example outcomes that its features ask for: `predictions` and `references` for classification, `nll`,
`tokens` and `bytes` for language modelling.
"""

import contextlib
import hashlib
import importlib.util
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from compress.config import InputError
from compress.metrics.foreign import IMPORT_S, MADE_S, guarded
from compress.reading import expanded

NAMES = ("accuracy", "f1", "matthews_correlation", "perplexity")
LOWER = frozenset({"perplexity"})
"""Those of them of which less is better."""
MADE: dict[str, dict[str, list[float]]] = {
    "classes": {"prediction": [0, 1, 1, 0], "reference": [0, 1, 0, 1]},
    "language": {"nll": [2.0, 3.0], "tokens": [2, 3], "bytes": [7, 9]},
}
FEATURE_OF = {"prediction": "predictions", "reference": "references"}


def compute(metric: str, outcomes: Mapping[str, list[float]], limit_s: float | None = None) -> float:
    """The metric of these per-example outcomes; `limit_s` of processor time for a file of the user's."""
    given = {FEATURE_OF.get(name, name): values for name, values in outcomes.items()}
    with tempfile.TemporaryDirectory() as folder:  # evaluate makes its cache folder even when it keeps all in memory
        with contextlib.nullcontext() if metric in NAMES else guarded(f"metric {metric}"):
            scorer = _class(metric)(keep_in_memory=True, cache_dir=folder)
        wanted = set(scorer.features)
        if not wanted <= set(given):
            raise InputError(
                f"metric {metric}: needs {', '.join(sorted(wanted))}; the task gives {', '.join(sorted(given))}"
            )
        chosen = {name: values for name, values in given.items() if name in wanted}
        with contextlib.nullcontext() if metric in NAMES else guarded(f"metric {metric}", limit_s):
            result = scorer.compute(**chosen)
    return _single(metric, result)


def check(metric: str, task: str) -> None:
    """Computes a metric of a few made outcomes. Raises InputError when it does not load, fit the task, or compute."""
    compute(metric, MADE["language" if task == "causal-lm" else "classes"], MADE_S)
    higher_is_better(metric)


def higher_is_better(metric: str) -> bool:
    """Whether a larger value is a better one; a module of the user's says so in `higher_is_better`, default True."""
    if metric in NAMES:  # without its module: importing `evaluate` takes seconds, and reading results does not need it
        return metric not in LOWER
    return bool(getattr(_module(metric), "higher_is_better", True))


def digest(metric: str) -> str:
    """16 hex digits of the metric's source."""
    return hashlib.sha256(file_of(metric).read_bytes()).hexdigest()[:16]


def file_of(metric: str) -> Path:
    """The Python file of a metric. Raises InputError when there is none."""
    if metric in NAMES:
        return Path(__file__).parent / f"{metric}.py"
    path = expanded(metric)
    if path.suffix == ".py" and path.is_file():
        return path
    raise InputError(
        f"metric {metric}: unknown; expected one of {', '.join(NAMES)} or the path of a Python file that exists"
    )


def _module(metric: str) -> ModuleType:
    path = file_of(metric)
    return _load(path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest())


@lru_cache(maxsize=32)
def _load(path: Path, content: str) -> ModuleType:
    """The module in a file; `content` makes an edited file load again."""
    spec = importlib.util.spec_from_file_location(f"compress_metric_{path.stem}_{content[:8]}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"metric {path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    with guarded(f"metric {path}: cannot be imported", IMPORT_S):
        spec.loader.exec_module(module)
    return module


def _class(metric: str) -> Any:
    """The one class in the module that is an `evaluate.Metric`."""
    import evaluate

    module = _module(metric)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, evaluate.Metric) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise InputError(f"metric {metric}: has {len(found)} classes derived from evaluate.Metric; expected one")
    return found[0]


def _single(metric: str, result: Any) -> float:
    """The value named like the metric's file, or the only one there is."""
    if result is not None and not isinstance(result, Mapping):
        raise InputError(f"metric {metric}: returned a {type(result).__name__}; expected a mapping of names to values")
    values = dict(result or {})
    name = file_of(metric).stem
    if name not in values and len(values) == 1:
        name = next(iter(values))
    if name not in values:
        raise InputError(f"metric {metric}: returned {sorted(values)}; expected one value, or one named {name!r}")
    try:
        return float(values[name])
    except (TypeError, ValueError, OverflowError):
        said = f"a {type(values[name]).__name__}"
        raise InputError(f"metric {metric}: {name} is {said}; expected a number") from None
