"""A user's metric file: one class derived from `evaluate.Metric`, given the outcomes that its features name."""

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

from compress.analysis.metrics.foreign import described, guarded
from compress.base.config import InputError
from compress.base.files import passing
from compress.base.reading import content
from compress.records.fields import FARTHEST

MOST_BYTES = 16_000_000
"""Largest source file of a metric, in bytes."""
FEATURE_OF = {"prediction": "predictions", "reference": "references"}
"""Outcome name -> feature name of `evaluate`, if they differ."""
OF_A_FILE = {**FEATURE_OF, "score": "predictions"}
"""The same for a user's metric: scores are the predictions of a regression."""


def compute(path: Path, place: str, outcomes: Mapping[str, Sequence[float]], settings: Mapping[str, Any]) -> float:
    """Return the value of a file's metric for these outcomes. `place` names the metric in errors."""
    with _scorer(path, place, outcomes) as (scorer, given), guarded(place):
        return _single(path, place, scorer.compute(**given, **settings))


def resampler(
    path: Path, place: str, outcomes: Mapping[str, Sequence[float]], settings: Mapping[str, Any]
) -> Callable[[Mapping[str, np.ndarray]], float]:
    """Return a function that computes the metric of resamples of these outcomes.

    It calls the metric's `_compute` directly, without building a table of `evaluate` for each resample.
    """
    with _scorer(path, place, outcomes) as (scorer, given), guarded(place):
        dtypes = {name: str(getattr(scorer.features[name], "dtype", "float64")) for name in given}
    types = {name: kind if kind in np.sctypeDict else "float64" for name, kind in dtypes.items()}

    def score(columns: Mapping[str, np.ndarray]) -> float:
        values = {OF_A_FILE.get(name, name): column for name, column in columns.items()}
        cast = {name: values[name].astype(kind).tolist() for name, kind in types.items()}
        try:
            with guarded(place):
                return _single(path, place, scorer._compute(**cast, **settings))
        except InputError:  # a resample may lack a class, which leaves the metric undefined
            return math.nan

    return score


@contextmanager
def _scorer(
    path: Path, place: str, outcomes: Mapping[str, Sequence[float]]
) -> Iterator[tuple[Any, dict[str, Sequence[float]]]]:
    """Yield an instance of the metric, and copies of the outcomes that its features name."""
    given = {OF_A_FILE.get(name, name): list(values) for name, values in outcomes.items()}
    with passing("metric") as folder:  # evaluate creates a cache folder even with keep_in_memory
        with guarded(place):
            scorer = _class(path, place)(keep_in_memory=True, cache_dir=str(folder))
            features = set(scorer.features)
        if not features <= set(given):
            raise InputError(lacking(place, features, given))
        yield scorer, {name: values for name, values in given.items() if name in features}


def lacking(place: str, features: set[str], given: Mapping[str, Any]) -> str:
    """Return the error text for a metric that needs outcomes of another task."""
    return f"{place}: needs {', '.join(sorted(features))}; the task gives {', '.join(sorted(given))}"


def module(path: Path) -> ModuleType:
    """Return the module in a file. Raises InputError if it cannot be imported."""
    return _load(path.resolve(), sha256(path))


def sha256(path: Path) -> str:
    """Return the digest of a metric's file. Raises InputError if it is too large or not a regular file."""
    return hashlib.sha256(content(path, "metric", MOST_BYTES)).hexdigest()


@lru_cache(maxsize=32)
def _load(path: Path, digest: str) -> ModuleType:
    """Load the module in a file; `digest` is part of the cache key, so that an edited file loads again."""
    spec = importlib.util.spec_from_file_location(f"compress_metric_{path.stem}_{digest[:8]}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"metric {path}: is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    with guarded(f"metric {path}: cannot be imported"):
        spec.loader.exec_module(loaded)
    return loaded


def stated(path: Path, place: str, name: str, default: Any = None) -> Any:
    """Return what a metric's module or class states under a name. Raises InputError if they contradict each other.

    Only the module may state `whole`: a method of this name would not be called.
    """
    with guarded(place):
        of_class = [vars(base)[name] for base in _class(path, place).__mro__ if name in vars(base)][:1]
        of_module = [vars(module(path))[name]] if name in vars(module(path)) else []
        if of_class and name == "whole":
            raise InputError(f"{place}: whole is part of its class; expected a function of the module")
        if of_class and of_module and of_class != of_module:
            raise InputError(
                f"{place}: {name} is {shown(of_module[0])} in the module, but {shown(of_class[0])} in its class; "
                "expected it once"
            )
    return next(iter(of_module + of_class), default)


def shown(value: Any) -> str:
    """Return a value as text for an error."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _class(path: Path, place: str) -> Any:
    """Return the only class in the module that is derived from `evaluate.Metric`."""
    import evaluate

    loaded = module(path)
    classes = [
        value
        for value in vars(loaded).values()
        if isinstance(value, type) and issubclass(value, evaluate.Metric) and value.__module__ == loaded.__name__
    ]
    if len(classes) != 1:
        raise InputError(f"{place}: has {len(classes)} classes derived from evaluate.Metric; expected one")
    return classes[0]


def _single(path: Path, place: str, result: Any) -> float:
    """Return the value named like the metric's file, or the only value."""
    if not isinstance(result, Mapping):
        kind = "None" if result is None else f"a {type(result).__name__}"
        raise InputError(f"{place}: returned {kind}; expected a mapping of names to values")
    values = dict(result)
    name = path.stem
    if name not in values and len(values) == 1:
        name = next(iter(values))
    if name not in values:
        raise InputError(f"{place}: returned {shown([*values])}; expected one value, or one named {name!r}")
    try:
        value = float(values[name])
        return value if abs(value) <= FARTHEST else value * math.inf  # nan stays nan
    except OverflowError:
        raise InputError(f"{place}: {name} is {shown(values[name])}; expected a number up to {FARTHEST:g}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a user's class can raise anything
        kind = f"a {type(values[name]).__name__}"
        raise InputError(f"{place}: {name} is {kind}; expected a number ({described(error)})") from None
