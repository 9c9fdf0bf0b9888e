"""Evaluate a model on a test split, example by example."""

import math
from collections.abc import Iterator, Sequence
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
    since another batch size would need its own compilation or CUDA graph. Rows of a task that does not pad share a
    batch only if they have one length.
    """
    import torch

    rows = task.rows(examples)
    lengths = task.lengths(rows)
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    collected: dict[str, list[Any]] = {}
    finite, outputs = True, None
    with torch.no_grad(), bar(f"evaluating {label}", len(order)) as running:
        for start, done, end in _parts([lengths[i] for i in order], batch_size, task.alike is not None):
            batch = task.collate([rows[i] for i in order[start:end]], processor)
            batch = {key: value.to(device) for key, value in batch.items()}
            inputs = {key: value for key, value in batch.items() if key != "labels"}
            output = model(**inputs)
            logits = logits_of(output)
            finite, outputs = finite and bool(torch.isfinite(logits).all()), int(logits.shape[-1])
            for key, values in task.outcomes(logits, batch).items():
                collected.setdefault(key, []).extend(values[done - start :])
            if task.writes is not None:
                for key, values in task.writes(model, inputs, processor, output).items():
                    collected.setdefault(key, []).extend(values[done - start :])
            del output, logits  # so that only one batch's logits are in memory
            running.advance(end - done)
    restored = {key: _restore(values, order) for key, values in collected.items()}
    answers = task.answers(restored, examples)
    among_tokens = task.per_token and "prediction" in answers  # the model's outputs are then no answers
    outputs = None if among_tokens else outputs
    return Evaluation(answers, finite, batch_size, outputs=outputs, remark=examples.info.description)


def _parts(lengths: Sequence[int], batch_size: int, alike: bool) -> Iterator[tuple[int, int, int]]:
    """Yield start and end of every batch among sorted rows, and the first row in it that no earlier batch had.

    With `alike`, the rows of a batch have one length.
    """
    done = 0
    while done < len(lengths):
        end = min(done + batch_size, len(lengths))
        if alike:
            end = done + lengths[done:end].count(lengths[done])
        yield done if alike else max(0, end - batch_size), done, end
        done = end


def _restore(values: Sequence[Any], order: Sequence[int]) -> list[Any]:
    original: list[Any] = [math.nan] * len(values)
    for position, index in enumerate(order):
        original[index] = values[position]
    return original
