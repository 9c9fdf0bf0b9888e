"""Batches of training examples for calibration, and gradients of the model's own loss on them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from compress.base.console import track
from compress.data.tasks import task_of
from compress.data.tasks.task import Task
from compress.model.bundle import Bundle
from compress.model.outputs import logits_of
from compress.spec.steps import Sample

BATCH_SIZE = 16  # small: scores are averaged over batches, and gradients of opposite sign cancel within a batch


def batches(
    bundle: Bundle, step: str, sample: Sample, batch_size: int = BATCH_SIZE
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield batches of a sample of the training examples, drawn without replacement, on the bundle's device.

    Drawn examples are sorted by length to reduce padding.
    """
    examples = bundle.train_examples(step)
    task = task_of(bundle.task)
    seed = bundle.seed if sample.seed is None else sample.seed
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed))[: sample.count]
    chosen = examples.select(order.tolist())
    lengths = task.lengths(chosen)
    by_length = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(by_length), batch_size):
        rows = [chosen[i] for i in by_length[start : start + batch_size]]
        batch = task.collate(shortened(rows, sample.length, bundle.processor, task), bundle.processor)
        yield {name: tensor.to(bundle.device) for name, tensor in batch.items()}


def drawn(bundle: Bundle, step: str, sample: Sample) -> int:
    """Return how many training examples `batches` draws: fewer than the sample's count if there are fewer."""
    return min(sample.count, len(bundle.train_examples(step)))


def gradients(bundle: Bundle, step: str, sample: Sample, batch_size: int = BATCH_SIZE) -> Iterator[int]:
    """Yield the size of each batch while every parameter's `.grad` holds that batch's mean gradient.

    The model is in eval mode meanwhile, because dropout would add noise. Gradients are cleared at the end.
    """
    model = bundle.model
    training = model.training
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    try:
        with torch.enable_grad(), config_kept(model):
            batch_count = -(-drawn(bundle, step, sample) // batch_size)
            for batch in track(batches(bundle, step, sample, batch_size), "gradients", batch_count):
                model.zero_grad(set_to_none=True)
                loss_of(task_of(bundle.task), model, batch)[1].backward()
                yield len(next(iter(batch.values())))
    finally:
        model.zero_grad(set_to_none=True)
        model.train(training)


def loss_of(task: Task, model: Any, batch: Mapping[str, torch.Tensor], **how: Any) -> tuple[Any, torch.Tensor]:
    """Return the outputs of a batch with labels, and their mean loss: the model's own, or the task's."""
    if not task.trains_by_losses:
        outputs = model(**batch, **how)
        return outputs, outputs.loss
    outputs = model(**{name: value for name, value in batch.items() if name != "labels"}, **how)
    sums, counts = task.losses(logits_of(outputs), batch["labels"])
    return outputs, sums.sum() / counts.sum().to(sums.device)


@contextmanager
def config_kept(model: Any) -> Iterator[None]:
    """Restore the model's config on exit: a loss sets its problem_type, Trainer its use_cache."""
    before = dict(vars(model.config))
    try:
        yield
    finally:
        vars(model.config).clear()
        vars(model.config).update(before)


def shortened(
    examples: Sequence[Mapping[str, Any]], length: int | None, processor: Any, task: Task
) -> list[Mapping[str, Any]]:
    """Return the examples cut to `length` tokens; None keeps them whole. A separator at the end of a text is kept.

    Labels are only cut if they are those of the tokens: an example may have as many labels as tokens.
    """
    if length is None:
        return list(examples)
    closing = getattr(processor, "sep_token_id", None)
    of_tokens = task.per_token and not task.encodes
    kept = [{} if of_tokens or "labels" not in each else {"labels": each["labels"]} for each in examples]
    return [truncate(each, length, closing) | labels for each, labels in zip(examples, kept, strict=True)]


def truncate(example: Mapping[str, Any], max_length: int, closing: int | None) -> dict[str, Any]:
    """Cut the example's token lists to `max_length`; a `closing` token id ([SEP]) at the end stays there."""
    ids = example.get("input_ids")
    if ids is None or len(ids) <= max_length:
        return dict(example)
    keep = list(range(max_length))
    if closing is not None and ids[-1] == closing:
        keep[-1] = len(ids) - 1
    return {
        name: [value[i] for i in keep] if isinstance(value, list | torch.Tensor) and len(value) == len(ids) else value
        for name, value in example.items()
    }
