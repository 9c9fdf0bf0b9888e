"""Metrics through `evaluate`'s Metric interface, from local modules: nothing is fetched.

A metric is a name of this package or the path of a Python file with a class derived from `evaluate.Metric`. It is
given those per-example outcomes that its features ask for: `predictions` and `references` for classification, `nll`,
`tokens` and `bytes` for language modelling. Its module may state

    higher_is_better = False     less is better; unset: more is
    scale = 100                  the whole that points are hundredths of (1 for a fraction); unset: losses are relative
    def whole(outcomes, classes) what is decided once on the whole test split: keywords of `_compute` on every resample
"""

import hashlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from compress.analysis.metrics import foreign
from compress.analysis.metrics.foreign import IMPORT_S as IMPORT_S
from compress.analysis.metrics.foreign import MADE_S as MADE_S
from compress.analysis.metrics.foreign import guarded
from compress.base.config import InputError
from compress.base.files import passing
from compress.base.reading import content, exists, expanded, irregular
from compress.records.result import UNITS, Unit

NAMES = tuple(UNITS)
LOWER = frozenset({"perplexity"})
"""Those of them of which less is better."""
MADE: dict[str, dict[str, list[float]]] = {
    "classes": {"prediction": [0, 1, 1, 0], "reference": [0, 1, 0, 1]},
    "language": {"nll": [2.0, 3.0], "tokens": [2, 3], "bytes": [7, 9]},
}
MOST_BYTES = 16_000_000
"""Of the source of a metric."""
FEATURE_OF = {"prediction": "predictions", "reference": "references"}
Score = Callable[[Mapping[str, np.ndarray]], float]
"""The metric of some examples, by columns; nan where it is undefined."""


def compute(metric: str, outcomes: Mapping[str, Sequence[float]], settings: Mapping[str, Any] | None = None) -> float:
    """Return the metric of these per-example outcomes; nan if it is undefined.

    `settings`: what `whole` returned for the whole test split; unset: these outcomes are the whole.
    """
    settings = whole(metric, outcomes) if settings is None else settings
    with _scorer(metric, outcomes) as (scorer, given):
        with guarded(f"metric {metric}"):
            result = scorer.compute(**given, **settings)
        return _single(metric, result)


def resampler(metric: str, outcomes: Mapping[str, Sequence[float]], settings: Mapping[str, Any]) -> Score:
    """The same metric of resamples of these outcomes: its own `_compute`, without a table of evaluate's for each."""
    with _scorer(metric, outcomes) as (scorer, given):
        asked = {name: str(getattr(scorer.features[name], "dtype", "float64")) for name in given}
    types = {name: kind if kind in np.sctypeDict else "float64" for name, kind in asked.items()}

    def score(columns: Mapping[str, np.ndarray]) -> float:
        values = {FEATURE_OF.get(name, name): column for name, column in columns.items()}
        cast = {name: values[name].astype(kind).tolist() for name, kind in types.items()}
        try:
            with guarded(f"metric {metric}"):
                result = scorer._compute(**cast, **settings)
            return _single(metric, result)
        except InputError:  # a resample may lack a class: the metric is undefined there
            return math.nan

    return score


@contextmanager
def _scorer(metric: str, outcomes: Mapping[str, Sequence[float]]) -> Iterator[tuple[Any, dict[str, Sequence[float]]]]:
    """An instance of the metric, and those of the outcomes that its features ask for."""
    given = {FEATURE_OF.get(name, name): values for name, values in outcomes.items()}
    with passing("metric") as folder:  # evaluate makes its cache folder even when it keeps all in memory
        with guarded(f"metric {metric}"):
            scorer = _class(metric)(keep_in_memory=True, cache_dir=str(folder))
        wanted = set(scorer.features)
        if not wanted <= set(given):
            raise InputError(
                f"metric {metric}: needs {', '.join(sorted(wanted))}; the task gives {', '.join(sorted(given))}"
            )
        yield scorer, {name: values for name, values in given.items() if name in wanted}


def check(metric: str, task: str, labels: Sequence[int] | None = None) -> None:
    """Raises InputError when a metric does not load, fit the task, or have a value on a test split of these labels.

    It is computed of a few made outcomes, and of right answers and of others to the labels. A user's file is
    tried by a child first.
    """
    if metric in NAMES:
        trial(metric, task)
    elif found := foreign.problem(str(file_of(metric)), digest(metric), task):
        raise InputError(found)
    if not labels or metric in NAMES:
        return
    references = [float(label) for label in labels]
    values: list[float] = []
    problem = "is not a finite number"
    for predictions in (references, references[1:] + references[:1]):
        try:
            values.append(compute(metric, {"prediction": predictions, "reference": references}))
        except InputError as error:
            problem = str(error).removeprefix(f"metric {metric}: ")
    if not any(map(math.isfinite, values)):
        raise InputError(
            f"metric {metric}: {problem} on this test split, whatever the model answers ({len(references)} labels of "
            f"{len(set(references))} classes); take another split or metric"
        )


def trial(metric: str, task: str) -> None:
    """Compute a metric of a few made outcomes. Raises InputError if it does not load, fit the task, or state sense."""
    compute(metric, MADE["language" if task == "causal-lm" else "classes"])
    higher_is_better(metric)
    scale(metric)


def whole(metric: str, outcomes: Mapping[str, Sequence[float]], classes: int | None = None) -> dict[str, Any]:
    """What a metric decides once on the whole test split; `classes`: how many the model has, where that is known."""
    if metric in NAMES and metric != "f1":  # without its module
        return {}
    decide = getattr(module_of(metric), "whole", None)
    if decide is None:
        return {}
    with guarded(f"metric {metric}: whole"):
        return dict(decide(outcomes, classes))


def unit(metric: str) -> Unit:
    """What differences of a metric are in: points where it has a scale, else percent of the reference's value."""
    return UNITS[metric] if metric in NAMES else "percent" if scale(metric) is None else "points"


def scale(metric: str) -> float | None:
    """The value that is the whole of a metric; a module of the user's states it in `scale`. None: it has no such."""
    if metric in NAMES:
        return 1.0 if UNITS[metric] == "points" else None
    found = getattr(module_of(metric), "scale", None)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < math.inf:
        raise InputError(f"metric {metric}: scale is {found!r}; expected a positive number, such as 1 for a fraction")
    return float(found)


def higher_is_better(metric: str) -> bool:
    """Whether a larger value is a better one; a module of the user's says so in `higher_is_better`, default True."""
    if metric in NAMES:  # without its module: importing `evaluate` takes seconds, and reading results does not need it
        return metric not in LOWER
    found = getattr(module_of(metric), "higher_is_better", True)
    if not isinstance(found, bool):
        raise InputError(f"metric {metric}: higher_is_better is {found!r}; expected True or False")
    return found


def digest(metric: str) -> str:
    """16 hex digits of the metric's source."""
    return _sha256(file_of(metric))[:16]


def _sha256(file: Path) -> str:
    return hashlib.sha256(content(file, "metric", MOST_BYTES)).hexdigest()


def file_of(metric: str) -> Path:
    """The Python file of a metric. Raises InputError when there is none."""
    if metric in NAMES:
        return Path(__file__).parent / f"{metric}.py"
    path = expanded(metric)
    if path.suffix == ".py" and exists(path):
        if kind := irregular(path):
            raise InputError(f"metric {metric}: is {kind}; expected a Python file")
        if path.stem in NAMES:
            raise InputError(f"metric {metric}: {path.stem} is a metric that comes along; give the file another name")
        return path
    raise InputError(
        f"metric {metric}: unknown; expected one of {', '.join(NAMES)} or the path of a Python file that exists"
    )


def module_of(metric: str) -> ModuleType:
    """Return the module of a metric. Raises InputError if it cannot be imported."""
    path = file_of(metric)
    return _load(path.resolve(), _sha256(path))


@lru_cache(maxsize=32)
def _load(path: Path, content: str) -> ModuleType:
    """The module in a file; `content` makes an edited file load again."""
    spec = importlib.util.spec_from_file_location(f"compress_metric_{path.stem}_{content[:8]}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"metric {path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    with guarded(f"metric {path}: cannot be imported"):
        spec.loader.exec_module(module)
    return module


def _class(metric: str) -> Any:
    """The one class in the module that is an `evaluate.Metric`."""
    import evaluate

    module = module_of(metric)
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
