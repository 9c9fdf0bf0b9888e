"""The tasks of models, and everything that depends on the task. A new task is a file here and a line in `TASKS`."""

from importlib import import_module
from typing import TYPE_CHECKING

from compress.base.errors import InputError

if TYPE_CHECKING:
    from compress.data.tasks.task import Task

TASKS: dict[str, str] = {
    "text-classification": "compress.data.tasks.text_classification",
    "image-classification": "compress.data.tasks.image_classification",
    "causal-lm": "compress.data.tasks.causal_lm",
    "multiple-choice": "compress.data.tasks.multiple_choice",
    "cloze": "compress.data.tasks.cloze",
    "token-classification": "compress.data.tasks.token_classification",
}
"""Name -> module, whose `TASK` declares the task."""


def task_of(name: str) -> "Task":
    """Return the declaration of a task. Raises InputError for an unknown name."""
    if problem := unknown(name):
        raise InputError(f"task {name}: {problem}")
    task: Task = import_module(TASKS[name]).TASK
    return task


def unknown(name: str) -> str | None:
    """Return why a name is not a known task, or None."""
    from compress.base.config import did_you_mean  # here: `--help` imports this module, and pydantic takes long

    return None if name in TASKS else f"unknown task; expected one of {', '.join(TASKS)}{did_you_mean(name, TASKS)}"


def task_of_class(model_class: str) -> str | None:
    """Return the name of the task of a transformers model class, or None."""
    return next((name for name in TASKS if model_class.endswith(task_of(name).architectures)), None)


def names_where(fact: str) -> str:
    """Return the names of the tasks with a true boolean field of `Task`, for an error."""
    return ", ".join(name for name in TASKS if getattr(task_of(name), fact))
