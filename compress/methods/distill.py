"""Distill: train a student to answer like the dense model.

    loss = soft_weight * T^2 * KL(teacher / T || student / T)       Hinton et al. 2015, arXiv:1503.02531
         + (1 - soft_weight) * the task's own loss
         + hidden_weight * mean over layer pairs of (1 - cosine of hidden states)     DistilBERT, arXiv:1910.01108
         + relation_weight * difference of self-attention relations                   MiniLMv2, arXiv:2012.15828

Language models are compared at every predicted token, classifiers once per example; padding counts nowhere.
"""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from compress.bundle import Bundle
from compress.config import InputError
from compress.methods.relations import Relations
from compress.methods.steps import Distill
from compress.methods.students import make_student
from compress.methods.training import train


def distill(bundle: Bundle, config: Distill) -> Bundle:
    """The bundle with the trained student in place of its model.

    The teacher is the dense model the recipe started from, or the present model when the bundle has none. Raises
    InputError when the student cannot be made, or its hidden states cannot be compared.
    """
    examples = bundle.train_examples("distill")
    teacher = bundle.teacher() if bundle.teacher is not None else copy.deepcopy(bundle.model)
    teacher = teacher.to(bundle.device).eval().requires_grad_(False)
    student = make_student(bundle, config, teacher)
    if student.pairs:
        _check_widths(student.model, teacher)

    relations = Relations(student.model, teacher, config.relation_heads) if config.relation_weight else None

    def loss(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, Any]:
        return distillation_loss(model, teacher, batch, config, student.pairs, relations)

    with_layers = replace(bundle, layers=student.layers)
    try:
        trained = train(student.model, loss, examples, with_layers, config)
    finally:
        if relations is not None:
            relations.close()
    return with_layers.changed(student.model, {}, f"{student.note}; {trained}")


def distillation_loss(
    student: Any,
    teacher: Any,
    batch: Mapping[str, torch.Tensor],
    config: Distill,
    pairs: tuple[tuple[int, int], ...],
    relations: Relations | None = None,
) -> tuple[torch.Tensor, Any]:
    """The scalar loss of one batch, and the student's outputs."""
    hidden = {"output_hidden_states": True} if pairs else {}
    outputs = student(**batch, **hidden)
    with torch.no_grad():
        wanted = teacher(**{name: value for name, value in batch.items() if name != "labels"}, **hidden)
    counted = predicted(batch["labels"]) if outputs.logits.dim() == 3 else None
    soft = soft_loss(outputs.logits, wanted.logits, config.temperature, counted, config.divergence)
    loss = config.soft_weight * soft + (1 - config.soft_weight) * outputs.loss
    if pairs:
        mask = batch.get("attention_mask")
        distances = [
            hidden_distance(outputs.hidden_states[s + 1], wanted.hidden_states[t + 1], mask) for s, t in pairs
        ]  # hidden_states[0] is the embeddings'
        loss = loss + config.hidden_weight * torch.stack(distances).mean()
    if relations is not None:
        loss = loss + config.relation_weight * relations.loss(batch.get("attention_mask"))
    return loss, outputs


def predicted(labels: torch.Tensor) -> torch.Tensor:
    """[batch, length] which positions of a language model predict a token that counts: the next label is not -100."""
    following = labels.roll(-1, dims=1) != -100
    following[:, -1] = False
    return following


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
    """Mean of 1 - cosine between hidden states [batch, length, width], over positions that are not padding."""
    distance = 1 - F.cosine_similarity(student.float(), teacher.float(), dim=-1)  # [batch, length]
    if mask is None:
        return distance.mean()
    return (distance * mask).sum() / mask.sum()


def _check_widths(student: Any, teacher: Any) -> None:
    """Raises InputError when hidden states have different widths."""
    widths = [_hidden_width(model) for model in (student, teacher)]
    if widths[0] != widths[1]:
        raise InputError(
            f"distill hidden_weight: the student's hidden states have width {widths[0]}, the teacher's {widths[1]}; "
            "they can only be compared at equal width: set hidden_weight to 0"
        )


def _hidden_width(model: Any) -> int:
    """Width of the residual stream, read off the embedding, which says the truth after pruning too."""
    embedding = model.get_input_embeddings()
    embedding = getattr(embedding, "projection", embedding)
    return int(embedding.weight.shape[0] if embedding.weight.dim() == 4 else embedding.weight.shape[1])
