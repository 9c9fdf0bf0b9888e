"""Workloads: what model, on what data, judged by what metric.

A workload is a YAML file. Its model and data are hub ids, folders and files, or `offline:NAME`, which is made on this
machine from what every machine has (see `offline`) and then used like any other folder.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from compress.data.workload import OperatingPoint, TaskName, Workload

if TYPE_CHECKING:
    import datasets
    import torch


Batch = Mapping[str, "torch.Tensor"]


class Task(Protocol):
    """What a task knows: one module per task implements these as plain functions."""

    auto_model: str
    """Name of the transformers Auto class."""

    def load_processor(self, location: str, **options: Any) -> Any:
        """The tokenizer or image processor stored with the model."""

    def check(self, model: Any, processor: Any, examples: "datasets.Dataset", workload: Workload) -> list[str]:
        """What is wrong with this model on these examples, one sentence each."""

    def prepare(self, raw: "datasets.Dataset", processor: Any, workload: Workload, config: Any) -> "datasets.Dataset":
        """Examples with normalised columns, model inputs included; raises InputError on unusable columns."""

    def collate(self, examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
        """One batch, padded to its longest, with `labels`."""

    def fixed(
        self, examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
    ) -> list[dict[str, "torch.Tensor"]]:
        """`count` batches of exactly this shape made of real data, without labels: for timing."""

    def outcomes(self, logits: "torch.Tensor", batch: Batch) -> dict[str, list[float]]:
        """Per-example outcomes of one batch; classification: prediction, reference; language: nll, tokens."""

    def lengths(self, examples: "datasets.Dataset") -> list[int]:
        """Length of every example, for sorting."""


def task_of(name: TaskName) -> Task:
    """The module of a task."""
    from importlib import import_module

    module: Any = import_module(TASKS[name])
    task: Task = module
    return task


TASKS: dict[TaskName, str] = {
    "text-classification": "compress.data.tasks.text_classification",
    "image-classification": "compress.data.tasks.image_classification",
    "causal-lm": "compress.data.tasks.causal_lm",
}
