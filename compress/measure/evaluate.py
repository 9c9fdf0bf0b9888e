"""Evaluate a model on a test split, example by example."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compress.analysis.accuracy import Evaluation
from compress.base.console import bar
from compress.data.tasks.task import Task
from compress.model.outputs import logits_of

if TYPE_CHECKING:
    import datasets
    import torch


BATCH = 32  # examples; models whose answers depend on the batch are evaluated at the headline point's size


def evaluate(
    model: Any,
    task: Task,
    examples: "datasets.Dataset",
    processor: Any,
    device: "torch.device",
    batch_size: int,
    label: str = "",
) -> Evaluation:
    """Return the outcomes of every example, in the order of the examples.

    An example may need several rows of a batch: one for each choice of a question.
    Batches are sorted by length and padded to their longest text. The last batch is filled up with earlier examples,
    since another batch size would need its own compilation or CUDA graph.
    """
    import torch

    rows = task.rows(examples)
    lengths = task.lengths(rows)
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    collected: dict[str, list[Any]] = {}
    finite, outputs = True, None
    with torch.no_grad(), bar(f"evaluating {label}", len(order)) as running:
        for done in range(0, len(order), batch_size):
            start = max(0, min(done, len(order) - batch_size))
            batch = task.collate([rows[i] for i in order[start : start + batch_size]], processor)
            batch = {key: value.to(device) for key, value in batch.items()}
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            logits = logits_of(model(**inputs))
            finite, outputs = finite and bool(torch.isfinite(logits).all()), int(logits.shape[-1])
            for key, values in task.outcomes(logits, batch).items():
                collected.setdefault(key, []).extend(values[done - start :])
            if task.writes is not None:
                for key, values in task.writes(model, inputs, processor).items():
                    collected.setdefault(key, []).extend(values[done - start :])
            del logits  # so that only one batch's logits are in memory
            running.advance(min(batch_size, len(order) - done))
    restored = {key: _restore(values, order) for key, values in collected.items()}
    answers = task.answers(restored, examples)
    among_tokens = task.per_token and "prediction" in answers  # the model's outputs are then no answers
    outputs = None if among_tokens else outputs
    return Evaluation(answers, finite, batch_size, outputs=outputs, remark=examples.info.description)


def _restore(values: Sequence[Any], order: Sequence[int]) -> list[Any]:
    original: list[Any] = [math.nan] * len(values)
    for position, index in enumerate(order):
        original[index] = values[position]
    return original
