"""Distill: train a student to reproduce the dense model's outputs.

    loss = soft_weight * T^2 * KL(teacher / T || student / T)       Hinton et al. 2015, arXiv:1503.02531
         + (1 - soft_weight) * the task's own loss
         + hidden_weight * mean distance of paired layers' hidden states     DistilBERT, arXiv:1910.01108; TinyBERT
         + attention_weight * difference of their attention scores           TinyBERT, arXiv:1909.10351
         + relation_weight * difference of self-attention relations          MiniLMv2, arXiv:2012.15828

Language models are compared at every predicted token, taggers of words at every judged one, classifiers once per
example. Answers to questions are compared by two distributions over the tokens of a window: of their starts and of
their ends. Padding is excluded everywhere. Tasks whose outputs are no probabilities of classes replace the first term:
scores are compared by their squared difference.
"""

import contextlib
import copy
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from compress.base.config import InputError
from compress.data.tasks import task_of, text_classification
from compress.data.tasks.task import IGNORED, Task
from compress.methods import calibrate
from compress.methods.distill import adapters
from compress.methods.distill.batches import NUMBER, answers, check_divergence, total_steps, trains_in_bf16
from compress.methods.distill.relations import Attention, Relations
from compress.methods.distill.students import Student, make_student
from compress.model.bundle import Bundle
from compress.model.layers import WeightLayer
from compress.model.outputs import logits_of
from compress.spec.steps import Distill

PROJECTION = "distillation_projection"


def distill(bundle: Bundle, config: Distill) -> Bundle:
    """Return the bundle with the trained student as its model.

    The teacher is the dense model that the recipe started from, or the present model if the bundle has none. Raises
    InputError if the student cannot be made, or cannot be compared with the teacher as configured.
    """
    from compress.methods.distill.training import train

    check_divergence(task_of(bundle.task), config)
    examples = bundle.train_examples("distill")
    teacher = bundle.teacher() if bundle.teacher is not None else copy.deepcopy(bundle.model)
    teacher = teacher.to(bundle.device).eval().requires_grad_(False)
    student = make_student(bundle, config, teacher)
    if trains_in_bf16(config, bundle.device):
        halve(teacher)
    with_layers = replace(bundle, layers=student.layers)
    notes = [student.note]
    with contextlib.ExitStack() as stack:
        compared = stack.enter_context(comparing(student, teacher, config, bundle.seed))
        compared = replace(compared, task=task_of(bundle.task))
        if worth_remembering(bundle, config, len(examples)):
            compared = replace(compared, answers=answers(teacher, examples, bundle, config))
            examples = examples.add_column(NUMBER, list(range(len(examples))))
        if config.quantization_aware:
            notes.append(stack.enter_context(adapters.quantized(student.model, with_layers)))
        if config.lora_rank is not None:
            stack.enter_context(adapters.lora(student.model, config.lora_rank, bundle.seed))
            notes.append(f"updates of rank {config.lora_rank}")

        def loss(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Any]:
            return distillation_loss(model, teacher, batch, config, compared)

        notes.append(str(train(student.model, loss, examples, with_layers, config)))
    return with_layers.changed(student.model, {}, "; ".join(notes))


@dataclass(frozen=True)
class Compared:
    """The parts of two models that a loss compares in addition to their logits."""

    pairs: tuple[tuple[int, int], ...] = ()
    """(student layer, teacher layer) whose hidden states are compared."""
    attention: Attention | None = None
    relations: Relations | None = None
    answers: torch.Tensor | None = None
    """[examples, classes] logits of the teacher; None if they are computed for every batch."""
    task: Task = text_classification.TASK
    """The task, which pairs logits with labels and has losses of its own."""


def worth_remembering(bundle: Bundle, config: Distill, examples: int) -> bool:
    """Return whether all of the teacher's logits are computed once and stored.

    They are if the loss uses nothing else of the teacher and each example is seen at least twice. A language model's
    logits would cost more memory than the saved time is worth.
    """
    passes = total_steps(examples, config) * config.batch_size * config.accumulation / examples
    compares_layers = config.pairs_layers or config.relation_weight
    return not task_of(bundle.task).per_token and not compares_layers and passes >= 2


@contextlib.contextmanager
def comparing(student: Student, teacher: Any, config: Distill, seed: int) -> Iterator[Compared]:
    """Hook both models for comparison; a projection of hidden states is part of the student meanwhile."""
    if config.hidden_weight:
        _join_widths(student.model, teacher, config, seed)
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: student.model._modules.pop(PROJECTION, None))
        attention = relations = None
        if config.attention_weight:
            attention = Attention(student.model, teacher, student.pairs)
            stack.callback(attention.close)
        if config.relation_weight:
            relations = Relations(student.model, teacher, config.relation_heads)
            stack.callback(relations.close)
        yield Compared(student.pairs if config.hidden_weight else (), attention, relations)


def distillation_loss(
    student: Any, teacher: Any, batch: Mapping[str, torch.Tensor], config: Distill, compared: Compared
) -> tuple[torch.Tensor, Any]:
    """Return the scalar loss of one batch, and the student's outputs."""
    hidden = {"output_hidden_states": True} if compared.pairs else {}
    inputs = {name: value for name, value in batch.items() if name != NUMBER}
    outputs, own_loss = _own_loss(compared.task, student, inputs, **hidden)
    if compared.answers is None:
        with torch.no_grad():
            reference = teacher(**{name: value for name, value in inputs.items() if name != "labels"}, **hidden)
        logits = logits_of(reference)
    else:
        logits = compared.answers[batch[NUMBER]]
    soft = _compared_logits(logits_of(outputs), logits, batch["labels"], config, compared.task)
    loss = soft if own_loss is None else config.soft_weight * soft + (1 - config.soft_weight) * own_loss
    mask = batch.get("attention_mask")
    if compared.pairs:
        unwrapped = getattr(student, "module", student)  # several processes wrap the student
        project = getattr(unwrapped, PROJECTION, None) or nn.Identity()
        distance = hidden_distance if config.hidden_loss == "cosine" else squared_distance
        # hidden_states[0] is the embeddings' output
        student_states = torch.stack([outputs.hidden_states[s + 1] for s, _ in compared.pairs])
        teacher_states = torch.stack([reference.hidden_states[t + 1] for _, t in compared.pairs])
        loss = loss + config.hidden_weight * distance(project(student_states), teacher_states, mask)
    if compared.attention is not None:
        loss = loss + config.attention_weight * compared.attention.loss(mask)
    if compared.relations is not None:
        loss = loss + config.relation_weight * compared.relations.loss(mask)
    return loss, outputs


def _own_loss(
    task: Task, student: Any, inputs: Mapping[str, torch.Tensor], **how: Any
) -> tuple[Any, torch.Tensor | None]:
    """Return the student's outputs and its loss by the labels; None for a task that learns from the teacher alone."""
    if task.learns_labels:
        return calibrate.loss_of(task, student, inputs, **how)
    return student(**{name: value for name, value in inputs.items() if name != "labels"}, **how), None


def _compared_logits(
    student: torch.Tensor, teacher: torch.Tensor, labels: torch.Tensor, config: Distill, task: Task
) -> torch.Tensor:
    """Return the distance of student and teacher at what the task compares."""
    if task.soft_loss is not None:
        return task.soft_loss(student, teacher, config.temperature)
    (ours, paired), (theirs, _) = task.aligned(student, labels), task.aligned(teacher, labels)
    return soft_loss(ours, theirs, config.temperature, paired != IGNORED, config.divergence)


def soft_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    temperature: float,
    counted: torch.Tensor | None = None,
    divergence: str = "forward",
) -> torch.Tensor:
    """Return T^2 KL(teacher || student), or the reverse, of logits [.., classes], mean over all or `counted` positions.

    The factor T^2 keeps the size of gradients independent of the temperature.
    """
    if counted is not None:
        student, teacher = student[counted], teacher[counted]
    student_log, teacher_log = (F.log_softmax(logits.float() / temperature, dim=-1) for logits in (student, teacher))
    if divergence == "reverse":
        student_log, teacher_log = teacher_log, student_log
    return temperature**2 * F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)


def hidden_distance(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the mean of 1 - cosine between hidden states [.., batch, length, width], over positions not padded."""
    return _over_tokens(1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1), mask)


def squared_distance(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the mean squared difference of hidden states [.., batch, length, width], over positions not padded."""
    return _over_tokens((student.float() - teacher.float()).square().mean(-1), mask)


def _over_tokens(distance: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the mean of [.., batch, length] over leading dimensions and positions with mask [batch, length] = 1."""
    if mask is None:
        return distance.mean()
    pairs = distance[..., 0, 0].numel()
    return (distance * mask).sum() / (pairs * mask.sum())


def halve(model: nn.Module) -> None:
    """Convert the weights of linear layers to bf16, for a model that only runs under bf16's autocast.

    Autocast would convert them in every batch, to the same numbers. Weights that other modules share (tied heads) keep
    their type.
    """
    used = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    for module in model.modules():
        if isinstance(module, WeightLayer) and used[id(module.weight)] == 1:
            module.to(torch.bfloat16)


def _join_widths(student: Any, teacher: Any, config: Distill, seed: int) -> None:
    """Add a projection to a student of another width under mse. Raises InputError under cosine."""
    narrow, wide = (_hidden_width(model) for model in (student, teacher))
    if narrow == wide:
        return
    if config.hidden_loss == "cosine":
        raise InputError(
            f"distill hidden_weight: the student's hidden states have width {narrow}, the teacher's {wide}; "
            "cosines need equal widths: set hidden_loss to mse, which projects them, or set hidden_weight to 0"
        )
    projection = nn.Linear(narrow, wide, bias=False)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        projection.weight.copy_(torch.randn(wide, narrow, generator=generator) / narrow**0.5)
    student.add_module(PROJECTION, projection.to(next(student.parameters()).device))


def _hidden_width(model: Any) -> int:
    """Return the width of the residual stream, from the embedding: the config may be outdated after pruning."""
    embedding = model.get_input_embeddings()
    embedding = getattr(embedding, "projection", embedding)
    return int(embedding.weight.shape[0] if embedding.weight.dim() == 4 else embedding.weight.shape[1])
