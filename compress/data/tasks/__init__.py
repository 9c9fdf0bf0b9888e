"""The tasks of models, and everything that depends on the task. A new task is a file here and a line in `TASKS`."""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

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
    "text-regression": "compress.data.tasks.text_regression",
    "sentence-similarity": "compress.data.tasks.sentence_similarity",
    "multi-label-classification": "compress.data.tasks.multi_label_classification",
    "text-ranking": "compress.data.tasks.text_ranking",
    "retrieval": "compress.data.tasks.retrieval",
    "question-answering": "compress.data.tasks.question_answering",
    "zero-shot-image-classification": "compress.data.tasks.zero_shot_image_classification",
    "object-detection": "compress.data.tasks.object_detection",
    "image-segmentation": "compress.data.tasks.image_segmentation",
    "translation": "compress.data.tasks.translation",
    "summarization": "compress.data.tasks.summarization",
    "automatic-speech-recognition": "compress.data.tasks.automatic_speech_recognition",
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


def task_of_class(model_class: str, config: Mapping[str, Any] | None = None) -> str | None:
    """Return the name of the task of a transformers model class, or None.

    Several tasks share a class; the settings in `config.json` decide among them.
    """
    named = [task_of(name) for name in TASKS if model_class.endswith(task_of(name).architectures)]
    return next((task.name for task in named if task.fits(config or {})), None)


def names_where(fact: str) -> str:
    """Return the names of the tasks with a true boolean field of `Task`, for an error."""
    return ", ".join(name for name in TASKS if getattr(task_of(name), fact))
