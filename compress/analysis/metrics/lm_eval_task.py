"""A task of lm-evaluation-harness as a metric: `metric: lm_eval:arc_easy`, `lm_eval:arc_easy:acc`, `lm_eval:my.yaml`.

The task's file is searched by its name in the installed harness (Gao et al. 2021, doi:10.5281/zenodo.5371628), or is a
file of the user's. Only that file is registered: the harness takes half a minute to read all of its own. Without a
metric, acc_norm is taken if the task computes it, else acc: fractions of examples that are right.

The harness counts an example without an answer as wrong, and divides by zero for an empty choice. Both are refused.
"""

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from compress.base.config import InputError, digest
from compress.base.errors import as_input_error, innermost
from compress.base.reading import exists, expanded

PREFIX = "lm_eval:"
METRICS = {"multiple_choice": ("acc_norm", "acc", "acc_bytes"), "loglikelihood": ("acc",)}
"""Output type of a task -> metrics that are right or wrong for each example, most preferred first."""
NAME = re.compile(r"^task:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
NULL = "<compress:null>"
WITH_BARS = ("lm_eval.api.model", "lm_eval.api.task")
"""Modules of the harness that draw progress bars."""
INSTALL = "pip install 'compress[lm-eval]'"


@dataclass(frozen=True)
class Asked:
    """A task of the harness and the metric to take from it."""

    task: str
    """Name of the task, or path of its YAML file."""
    metric: str | None = None

    @property
    def place(self) -> str:
        """The metric as a workload states it, for errors."""
        return f"metric {PREFIX}{self.task}{f':{self.metric}' if self.metric else ''}"


@dataclass(frozen=True)
class Loaded:
    """A loaded task of the harness, whose examples have been checked."""

    name: str
    metric: str
    tasks: Mapping[str, Any]
    """The harness's own dictionary of tasks, with this one alone."""
    task: Any
    docs: list[Any]
    version: str

    @property
    def protocol(self) -> str:
        """The task and metric, for readers of the accuracy."""
        return f"lm_eval {self.name}, {self.metric}"


def parse(metric: str) -> Asked | None:
    """Return the task that a workload's metric names; None for any other metric."""
    if not metric.startswith(PREFIX):
        return None
    task, colon, own = metric.removeprefix(PREFIX).partition(":")
    known = sorted({name for names in METRICS.values() for name in names})
    if not task or (colon and own not in known):
        raise InputError(
            f"metric {metric}: expected lm_eval:TASK or lm_eval:TASK:METRIC with one of {', '.join(known)}"
        )
    return Asked(task, own or None)


def file_of(asked: Asked) -> Path:
    """Return the YAML file of a task. Raises InputError if the harness is not installed, or has no such task."""
    spec = find_spec("lm_eval")
    if spec is None or spec.origin is None:
        raise InputError(f"{asked.place}: lm-eval is not installed; {INSTALL}")
    if asked.task.endswith((".yaml", ".yml")):
        path = expanded(asked.task)
        if not exists(path) or not path.is_file():
            raise InputError(f"{asked.place}: no such file; expected a task file of lm-evaluation-harness")
        return path
    folder = Path(spec.origin).parent / "tasks"
    likely = folder.rglob(f"{asked.task}.y*ml") if re.fullmatch(r"[\w.-]+", asked.task) else iter(())
    for path in (*sorted(likely), *sorted(folder.rglob("*.yaml"))):
        if _name(path) == asked.task:
            return path
    raise InputError(
        f"{asked.place}: lm-evaluation-harness has no such task (groups are no tasks); expected a name of its list, or "
        "the path of a task file"
    )


def _name(path: Path) -> str | None:
    found = NAME.search(path.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else None


@lru_cache(maxsize=4)
def load(asked: Asked) -> Loaded:
    """Return a task with its checked examples; they are read, or downloaded, here.

    Raises InputError if the task cannot be loaded, or is not scored by log-likelihoods, or for unusable examples.
    """
    path = file_of(asked)
    name = _name(path)
    if name is None:
        raise InputError(f"{asked.place}: {path} states no task: NAME")
    with quiet(), as_input_error(lambda reason: f"{asked.place}: cannot be loaded ({reason})"):
        from importlib.metadata import version

        from lm_eval.tasks import TaskManager

        tasks = TaskManager(include_path=str(path.parent), include_defaults=False).load([name])
        task = tasks["tasks"][name]
        docs = list(task.eval_docs)
    kind = str(task.OUTPUT_TYPE)
    computed = [metric for metric in METRICS.get(kind, ()) if metric in task._metric_fn_list]
    if not computed:
        raise InputError(
            f"{asked.place}: is scored by {kind} with {', '.join(task._metric_fn_list)}; expected "
            + " or ".join(f"{other} with {'/'.join(names)}" for other, names in METRICS.items())
        )
    if asked.metric is not None and asked.metric not in computed:
        raise InputError(f"{asked.place}: the task computes {', '.join(computed)}")
    if problems := list(_problems(task, docs)):
        more = f" and {len(problems) - 6} more" if len(problems) > 6 else ""
        raise InputError(f"{asked.place}: {'; '.join(problems[:6])}{more}")
    return Loaded(name, asked.metric or computed[0], tasks, task, docs, version("lm-eval"))


def _problems(task: Any, docs: list[Any]) -> Iterator[str]:
    """Yield why examples of a task have no score that means anything, one sentence for each."""
    if not docs:
        yield "it has no examples"
    for number, doc in enumerate(docs):
        try:
            problem = _problem(task, doc)
        except Exception as error:  # noqa: BLE001 - the templates and functions of a task raise anything
            problem = f"cannot be read ({innermost(error)})"
        if problem is not None:
            yield f"example {number}: {problem}"


def _problem(task: Any, doc: Any) -> str | None:
    """Return why an example has no score that means anything, or None."""
    target = gold(task, doc)
    if task.OUTPUT_TYPE == "loglikelihood":
        if not isinstance(target, str) or not target.strip():
            return "its continuation is empty"
    else:
        choices = task.doc_to_choice(doc)
        if len(choices) < 2 or any(not str(choice).strip() for choice in choices):
            return "a choice is empty, or the only one"
        if not right(target, choices):
            return f"has no answer among its {len(choices)} choices ({target!r})"
    if _renders_null(task, doc):
        return "a null is in its context, its choices or its answer, where the task writes the word None"
    return None


def _renders_null(task: Any, doc: Mapping[str, Any]) -> bool:
    """Return whether a null of an example stands in the texts that the task's templates make of it."""
    marked = _marked(doc)
    if marked == doc:
        return False
    made = [
        render(marked)
        for template, render in (
            (task.config.doc_to_text, task.doc_to_text),
            (task.config.doc_to_target, task.doc_to_target),
            (task.config.doc_to_choice, task.doc_to_choice),
        )
        if isinstance(template, str)
    ]
    return NULL in repr(made)


def _marked(value: Any) -> Any:
    """Return a value of an example with a marker in place of every null in it."""
    if isinstance(value, Mapping):
        return {name: _marked(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_marked(each) for each in value]
    return NULL if value is None else value


def gold(task: Any, doc: Any) -> Any:
    """Return the right answer of an example as its task states it."""
    return task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)


def right(target: Any, choices: list[str]) -> list[int]:
    """Return the numbers of the right choices; empty if the target names none."""
    several = target if isinstance(target, list) else [target]
    numbers = [choices.index(each) if isinstance(each, str) and each in choices else each for each in several]
    fit = all(isinstance(each, int) and 0 <= each < len(choices) for each in numbers)
    return [int(each) for each in numbers] if fit else []


def content(asked: Asked) -> str:
    """Return the digest of a task: its file, its examples and the version of the harness."""
    loaded = load(asked)
    settings = file_of(asked).read_text(encoding="utf-8", errors="replace")
    return digest([settings, loaded.version, loaded.metric, [repr(doc) for doc in loaded.docs]])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the harness's own log below errors, and its progress bars."""
    log = logging.getLogger("lm_eval")
    before, modules = log.level, [import_module(name) for name in WITH_BARS]
    bars = [vars(module)["tqdm"] for module in modules]
    log.setLevel(logging.ERROR)
    for module, bar in zip(modules, bars, strict=True):
        vars(module)["tqdm"] = lambda *given, bar=bar, **named: bar(*given, **{**named, "disable": True})
    try:
        yield
    finally:
        log.setLevel(before)
        for module, bar in zip(modules, bars, strict=True):
            vars(module)["tqdm"] = bar
