"""Parts of training that do not need transformers' Trainer: batches, steps, precision, the teacher's logits.

Importing Trainer takes over a second, which recipes that do not train should not pay.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from compress.base.config import InputError
from compress.base.console import bar
from compress.base.devices import computes_bf16
from compress.base.ranks import processes
from compress.data.tasks import task_of
from compress.data.tasks.task import Task
from compress.methods.calibrate import shortened
from compress.model.bundle import Bundle
from compress.model.outputs import logits_of
from compress.spec.steps import Distill

NUMBER = "example_number"
"""Column with the example's number, if the teacher's logits are stored."""
HELD_OUT, HELD_OUT_MOST = 0.05, 1000


def collator(bundle: Bundle, config: Distill) -> Callable[[Sequence[Mapping[str, Any]]], dict[str, torch.Tensor]]:
    """Return a function that batches examples cut to the step's length, with their numbers if they have them."""
    task = task_of(bundle.task)

    def collate(batch: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        cut = shortened(batch, config.max_length, bundle.processor, task)
        tensors = task.collate(cut, bundle.processor)
        return tensors | ({NUMBER: torch.tensor([e[NUMBER] for e in batch])} if NUMBER in batch[0] else {})

    return collate


def answers(model: Any, examples: Any, bundle: Bundle, config: Distill) -> torch.Tensor:
    """Return [examples, classes] logits of a classifier on all of these, computed as in training."""
    dtype = torch.bfloat16 if trains_in_bf16(config, bundle.device) else None
    collate, lengths = collator(bundle, config), task_of(bundle.task).lengths(examples)
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    outputs: list[torch.Tensor] = []
    with torch.no_grad(), bar("teacher", len(order)) as running:
        for start in range(0, len(order), config.batch_size):
            batch = collate([examples[i] for i in order[start : start + config.batch_size]])
            inputs = {k: v.to(bundle.device) for k, v in batch.items() if k not in ("labels", NUMBER)}
            with torch.autocast(bundle.device.type, dtype=dtype, enabled=dtype is not None):
                outputs.append(logits_of(model(**inputs)).float())
            running.advance(len(outputs[-1]))
    sorted_answers = torch.cat(outputs)
    return torch.empty_like(sorted_answers).index_copy_(
        0, torch.tensor(order, device=sorted_answers.device), sorted_answers
    )


def split(examples: Any, seed: int) -> tuple[Any, Any]:
    """Return the examples to train on, and the held-out ones: 5 %, at most 1,000, at least one, drawn by the seed."""
    count = max(1, min(HELD_OUT_MOST, round(HELD_OUT * len(examples))))
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    return examples.select(sorted(order[count:])), examples.select(sorted(order[:count]))


def total_steps(examples: int, config: Distill) -> int:
    """Return the optimizer steps of all epochs, at most max_steps."""
    per_step = config.batch_size * config.accumulation * processes()
    steps = max(1, math.ceil(config.epochs * math.ceil(examples / per_step)))
    return min(steps, config.max_steps or steps)


def trains_in_bf16(config: Distill, device: torch.device) -> bool:
    """Return whether training runs under autocast to bf16."""
    return config.precision == "bf16" or (config.precision == "auto" and computes_bf16(device))


def check_divergence(task: Task, config: Distill) -> None:
    """Raise InputError for a divergence that the task's own distance of logits does not have."""
    if task.soft_loss is not None and config.divergence != "forward":
        raise InputError(
            f"distill divergence {config.divergence}: outputs of {task.name} are not probabilities of classes, and are "
            "compared by another distance; remove divergence"
        )


def check_device(device: torch.device) -> None:
    """Raise InputError for a GPU that training would not run on."""
    if device.type == "cuda" and device.index and processes() == 1:
        raise InputError(
            f"distill on {device}: training runs on the first visible GPU; set CUDA_VISIBLE_DEVICES={device.index} and "
            "use device cuda"
        )
