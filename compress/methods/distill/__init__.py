"""Distill: train a student to answer like the dense model.

    loss = soft_weight * T^2 * KL(teacher / T || student / T)       Hinton et al. 2015, arXiv:1503.02531
         + (1 - soft_weight) * the task's own loss
         + hidden_weight * mean distance of paired layers' hidden states     DistilBERT, arXiv:1910.01108; TinyBERT
         + attention_weight * difference of their attention scores           TinyBERT, arXiv:1909.10351
         + relation_weight * difference of self-attention relations          MiniLMv2, arXiv:2012.15828

Language models are compared at every predicted token, classifiers once per example; padding counts nowhere.
"""

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from compress.base.config import InputError
from compress.data.tasks import task_of
from compress.data.tasks.task import IGNORED, unshifted
from compress.methods.distill import adapters
from compress.methods.distill.relations import Attention, Relations
from compress.methods.distill.students import Student, make_student
from compress.methods.distill.training import NUMBER, answers, total_steps, train, trains_in_bf16
from compress.model.bundle import Bundle
from compress.model.layers import WeightLayer
from compress.spec.steps import Distill

PROJECTION = "distillation_projection"


def distill(bundle: Bundle, config: Distill) -> Bundle:
    """The bundle with the trained student in place of its model.

    The teacher is the dense model the recipe started from, or the present model when the bundle has none. Raises
    InputError when the student cannot be made, or cannot be compared with the teacher as asked.
    """
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
        compared = replace(compared, aligned=task_of(bundle.task).aligned)
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
    """What of two models is compared beside their answers."""

    pairs: tuple[tuple[int, int], ...] = ()
    """(student layer, teacher layer) whose hidden states are."""
    attention: Attention | None = None
    relations: Relations | None = None
    answers: torch.Tensor | None = None
    """[examples, classes] logits of the teacher; None where it answers every batch anew."""
    aligned: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = unshifted
    """Logits and the labels that they predict, as the task pairs them."""


def worth_remembering(bundle: Bundle, config: Distill, examples: int) -> bool:
    """Whether all answers of the teacher are computed once: it is asked for nothing else, and twice or more.

    A language model's would take more memory than they save time.
    """
    passes = total_steps(examples, config) * config.batch_size * config.accumulation / examples
    inside = config.pairs_layers or config.relation_weight
    return not task_of(bundle.task).per_token and not inside and passes >= 2


@contextlib.contextmanager
def comparing(student: Student, teacher: Any, config: Distill, seed: int) -> Iterator[Compared]:
    """Watches both models; a projection of hidden states is a part of the student meanwhile."""
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
    """The scalar loss of one batch, and the student's outputs."""
    hidden = {"output_hidden_states": True} if compared.pairs else {}
    given = {name: value for name, value in batch.items() if name != NUMBER}
    outputs = student(**given, **hidden)
    if compared.answers is None:
        with torch.no_grad():
            wanted = teacher(**{name: value for name, value in given.items() if name != "labels"}, **hidden)
        logits = wanted.logits
    else:
        logits = compared.answers[batch[NUMBER]]
    ours, labels = compared.aligned(outputs.logits, batch["labels"])
    theirs, _ = compared.aligned(logits, batch["labels"])
    soft = soft_loss(ours, theirs, config.temperature, labels != IGNORED, config.divergence)
    loss = config.soft_weight * soft + (1 - config.soft_weight) * outputs.loss
    mask = batch.get("attention_mask")
    if compared.pairs:
        inner = getattr(student, "module", student)  # of several processes' wrapper
        project = getattr(inner, PROJECTION, None) or nn.Identity()
        distance = hidden_distance if config.hidden_loss == "cosine" else squared_distance
        inside = torch.stack([outputs.hidden_states[s + 1] for s, _ in compared.pairs])  # the first is the embeddings'
        teachers = torch.stack([wanted.hidden_states[t + 1] for _, t in compared.pairs])
        loss = loss + config.hidden_weight * distance(project(inside), teachers, mask)
    if compared.attention is not None:
        loss = loss + config.attention_weight * compared.attention.loss(mask)
    if compared.relations is not None:
        loss = loss + config.relation_weight * compared.relations.loss(mask)
    return loss, outputs


def soft_loss(
    student: torch.Tensor,
    teacher: torch.Tensor,
    temperature: float,
    counted: torch.Tensor | None = None,
    divergence: str = "forward",
) -> torch.Tensor:
    """T^2 KL(teacher || student), or the other way round, of logits [.., classes], mean over all or `counted` ones.

    T^2 keeps the gradients of one size whatever the temperature.
    """
    if counted is not None:
        student, teacher = student[counted], teacher[counted]
    ours, theirs = (F.log_softmax(logits.float() / temperature, dim=-1) for logits in (student, teacher))
    if divergence == "reverse":
        ours, theirs = theirs, ours
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def hidden_distance(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of 1 - cosine between hidden states [.., batch, length, width], over positions that are not padding."""
    return _over_tokens(1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1), mask)


def squared_distance(student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean squared difference of hidden states [.., batch, length, width], over positions that are not padding."""
    return _over_tokens((student.float() - teacher.float()).square().mean(-1), mask)


def _over_tokens(distance: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean of [.., batch, length] over leading dimensions and over where mask [batch, length] is 1."""
    if mask is None:
        return distance.mean()
    pairs = distance[..., 0, 0].numel()
    return (distance * mask).sum() / (pairs * mask.sum())


def halve(model: nn.Module) -> None:
    """Puts weights of linear layers into bf16, for a model that only runs under bf16's autocast.

    It would cast them in every batch, and to the same numbers. Weights that others use too (tied heads) stay.
    """
    used = Counter(id(p) for module in model.modules() for p in module._parameters.values() if p is not None)
    for module in model.modules():
        if isinstance(module, WeightLayer) and used[id(module.weight)] == 1:
            module.to(torch.bfloat16)


def _join_widths(student: Any, teacher: Any, config: Distill, seed: int) -> None:
    """Gives a student of another width a projection under mse. Raises InputError under cosine."""
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
    """Width of the residual stream, read off the embedding, which says the truth after pruning too."""
    embedding = model.get_input_embeddings()
    embedding = getattr(embedding, "projection", embedding)
    return int(embedding.weight.shape[0] if embedding.weight.dim() == 4 else embedding.weight.shape[1])
