"""Metrics of per-example outcomes: functions of this package, or a user's file of `evaluate`'s Metric interface.

A metric is a name of this package or the path of a Python file with a class derived from `evaluate.Metric`. It receives
the per-example outcomes that its features name:

    predictions, references               classes, or the numbers of a regression
    nll, tokens, bytes                    language modelling
    tp, predicted, gold, right, words     tags of words
    tp, predicted, gold, score_0 ...      several labels: counts, and the logit of each label
    reciprocal_rank, ndcg_at_10           rankings: one figure for each query
    em, f1                                answers to questions
    match_1, total_1, text_words          generated texts: counts against their references
    objects_0, box_0                      detection: objects of each class, numbers of `boxes` for what was found
    intersection_0, union_0, area_0       segmentation: pixels of each class
    rouge_1, rouge_2, rouge_l             the same: figures of each text
    errors, words, letter_errors, letters transcripts: counts against their references

Its module, or its class for the first two, may state

    higher_is_better = False     smaller is better; default: larger is better
    scale = 100                  points are hundredths of this value (1 for a fraction); unset: losses are relative
    def whole(outcomes, classes) settings of the whole test split, passed as keywords to `_compute` on every resample
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from compress.analysis.metrics import foreign, lm_eval_task, own
from compress.analysis.metrics.foreign import IMPORT_S as IMPORT_S
from compress.analysis.metrics.foreign import MADE_S as MADE_S
from compress.analysis.metrics.foreign import guarded
from compress.analysis.metrics.scores import METRICS, Metric, fitting
from compress.base.config import InputError
from compress.base.reading import exists, expanded, irregular
from compress.base.source_code import code_digest
from compress.records.fields import FARTHEST, LARGE
from compress.records.result import UNITS, Unit
from compress.records.rules import SCALES

NAMES = tuple(UNITS)
OWN_FILES = {
    **dict.fromkeys(("bleu", "chrf"), ("analysis/metrics/generated.py",)),
    "map": ("analysis/metrics/boxes.py",),
}
"""Metric -> the files with its formula, beside that of all metrics."""
Outcomes = Mapping[str, Sequence[float]]
Score = Callable[[Mapping[str, np.ndarray]], float]
"""The metric of a set of examples, given by columns; nan if undefined."""


def compute(metric: str, outcomes: Mapping[str, Sequence[float]], settings: Mapping[str, Any] | None = None) -> float:
    """Return the metric of these per-example outcomes; nan if undefined.

    `settings` is the result of `whole` for the whole test split. If unset, these outcomes are the whole split.
    """
    settings = whole(metric, outcomes) if settings is None else settings
    if metric not in METRICS:
        return own.compute(file_of(metric), f"metric {metric}", outcomes, settings)
    built_in = fitting(metric, outcomes)
    needed = {column: _matching(column, outcomes) for column in built_in.columns}
    if not all(needed.values()):
        given = {own.FEATURE_OF.get(name, name): values for name, values in outcomes.items()}
        raise InputError(own.lacking(f"metric {metric}", {own.FEATURE_OF.get(name, name) for name in needed}, given))
    return _score(built_in, {name: np.asarray(outcomes[name]) for name in read_by(metric, outcomes)}, settings)


def resampler(metric: str, outcomes: Mapping[str, Sequence[float]], settings: Mapping[str, Any]) -> Score:
    """Return a function that computes the metric of resamples of these outcomes."""
    if metric not in METRICS:
        return own.resampler(file_of(metric), f"metric {metric}", outcomes, settings)
    built_in = fitting(metric, outcomes)
    return lambda columns: _score(built_in, columns, settings)


def read_by(metric: str, outcomes: Outcomes) -> tuple[str, ...]:
    """Return the outcomes that a metric reads; all of them for a user's metric."""
    if metric not in METRICS:
        return tuple(outcomes)
    return tuple(name for column in fitting(metric, outcomes).columns for name in _matching(column, outcomes))


def _matching(column: str, names: Iterable[str]) -> list[str]:
    """Return the names that a metric's column stands for, in the order of their numbers."""
    if not column.endswith("_"):
        return [name for name in names if name == column]
    numbered = [name for name in names if name.startswith(column) and name.removeprefix(column).isdigit()]
    return sorted(numbered, key=lambda name: int(name.removeprefix(column)))


def is_quick(metric: str) -> bool:
    """Return whether a metric is computed on many resamples; a user's metric calls a module for each."""
    return metric in METRICS and METRICS[metric].quick


def _score(metric: Metric, columns: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> float:
    arguments = (
        np.stack([columns[name] for name in _matching(column, columns)], axis=1)
        if column.endswith("_")
        else columns[column]
        for column in metric.columns
    )
    value = float(metric.score(*arguments, **settings))
    return value if abs(value) <= FARTHEST else value * math.inf  # nan stays nan


def check(metric: str, sample: Outcomes, labels: Sequence[int] | None = None, count: int = 0) -> None:
    """Check a metric before a run.

    It is computed on `sample`, a few synthetic outcomes of the task. A user's file is tried in a child process, also on
    `count` examples of the test split or on its `labels` (see `try_split`). Raises InputError if the metric does not
    load, does not fit the task, or has no finite value on the labels.
    """
    if metric in NAMES:
        trial(metric, sample)
        return
    examples = {"sample": dict(sample), "labels": list(labels or ()), "count": len(labels or ()) or count}
    if refused := foreign.problem(str(file_of(metric)), digest(metric), json.dumps(examples)):
        raise InputError(refused)


def try_split(metric: str, sample: Outcomes, labels: Sequence[int], count: int) -> None:
    """Compute a user's metric and a resample of it on as many examples as the test split has.

    The outcomes are correct and shifted answers to `labels`; without labels, `sample` is repeated. Raises InputError if
    the metric has no finite value on the labels.
    """
    if not labels:
        repeated = {name: [float(values[i % len(values)]) for i in range(count)] for name, values in sample.items()}
        _computed(metric, repeated)
        return
    references = [float(label) for label in labels]
    values: list[float] = []
    problem = "is not a finite number"
    for predictions in (references, references[1:] + references[:1]):
        try:
            values.append(_computed(metric, {"prediction": predictions, "reference": references}))
        except InputError as error:
            problem = str(error).removeprefix(f"metric {metric}: ")
    if not any(map(math.isfinite, values)):
        raise InputError(
            f"metric {metric}: {problem} on this test split, for any predictions ({len(references)} labels of "
            f"{len(set(references))} classes); use another split or metric"
        )


def _computed(metric: str, outcomes: Outcomes) -> float:
    """Return the metric of these outcomes, after computing it in both ways that a run does."""
    settings = whole(metric, outcomes)
    value = compute(metric, outcomes, settings)
    resampler(metric, outcomes, settings)({name: np.asarray(values) for name, values in outcomes.items()})
    return value


def trial(metric: str, sample: Outcomes) -> None:
    """Compute a metric of a few synthetic outcomes. Raises InputError if it does not load or fit, or is invalid."""
    compute(metric, sample)
    higher_is_better(metric)
    scale(metric)


def whole(metric: str, outcomes: Mapping[str, Sequence[float]], classes: int | None = None) -> dict[str, Any]:
    """Return the settings that a metric takes from the whole test split.

    `classes` is the number of classes of the model, if known.
    """
    if metric in METRICS:
        built_in = fitting(metric, outcomes).whole
        return {} if built_in is None else built_in(outcomes, classes)
    decide = own.stated(file_of(metric), f"metric {metric}", "whole")
    if decide is None:
        return {}
    with guarded(f"metric {metric}: whole"):
        return dict(decide({name: list(values) for name, values in outcomes.items()}, classes))


def unit(metric: str) -> Unit:
    """Return the unit of a metric's differences: points if it has a scale, otherwise percent of the reference."""
    return UNITS[metric] if metric in NAMES else "percent" if scale(metric) is None else "points"


def scale(metric: str) -> float | None:
    """Return the value that points are hundredths of, or None; a user's file states it in `scale`."""
    if metric in NAMES:
        return SCALES.get(metric, 1.0) if UNITS[metric] == "points" else None
    value = own.stated(file_of(metric), f"metric {metric}", "scale")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 / LARGE <= value <= LARGE:
        raise InputError(
            f"metric {metric}: scale is {own.shown(value)}; expected a positive number from {1 / LARGE:g} to "
            f"{LARGE:g}, such as 1 for a fraction"
        )
    return float(value)


def higher_is_better(metric: str) -> bool:
    """Return whether larger values are better; a user's file states it in `higher_is_better`, default True."""
    if metric in METRICS:
        return METRICS[metric].higher_is_better
    stated = own.stated(file_of(metric), f"metric {metric}", "higher_is_better", True)
    if not isinstance(stated, bool):
        raise InputError(f"metric {metric}: higher_is_better is {own.shown(stated)}; expected True or False")
    return stated


def digest(metric: str) -> str:
    """Return 16 hex digits of the metric's source."""
    if asked := lm_eval_task.parse(metric):
        return lm_eval_task.content(asked)
    if metric in METRICS:
        return code_digest(("analysis/metrics/scores.py", *OWN_FILES.get(metric, ())))
    return own.sha256(file_of(metric))[:16]


def file_of(metric: str) -> Path:
    """Return the Python file of a user's metric. Raises InputError if there is none."""
    path = expanded(metric)
    if path.suffix == ".py" and exists(path):
        if kind := irregular(path):
            raise InputError(f"metric {metric}: is {kind}; expected a Python file")
        if path.stem in NAMES:
            raise InputError(f"metric {metric}: {path.stem} is a built-in metric; give the file another name")
        return path
    raise InputError(
        f"metric {metric}: unknown; expected one of {', '.join(NAMES)} or the path of an existing Python file"
    )


def module_of(metric: str) -> ModuleType:
    """Return the module of a user's metric. Raises InputError if it cannot be imported."""
    return own.module(file_of(metric))
