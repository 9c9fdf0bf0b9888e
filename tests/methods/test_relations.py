"""Self-attention relations against their definition, between models of any width."""

import math
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.methods.distill import distill, soft_loss
from compress.methods.distill.relations import PARTS, Relations, Watch, relation, relation_loss, relations_loss
from compress.spec.steps import Distill
from tests import families, made_models


def by_hand(student: torch.Tensor, teacher: torch.Tensor, heads: int, mask: torch.Tensor) -> float:
    """The mean over heads and real tokens of KL between two softmaxes, entry by entry."""
    total, count = 0.0, 0
    for b in range(len(mask)):
        real = [i for i in range(mask.shape[1]) if mask[b, i]]
        for i in real:
            for h in range(heads):
                rows = []
                for values in (student, teacher):
                    size = values.shape[-1] // heads
                    part = values[b, :, h * size : (h + 1) * size].double()
                    scores = [float(part[i] @ part[j]) / math.sqrt(size) for j in real]
                    most = max(scores)
                    weights = [math.exp(s - most) for s in scores]
                    rows.append([w / sum(weights) for w in weights])
                total += sum(t * math.log(t / s) for s, t in zip(*rows, strict=True))
            count += 1
    return total / (heads * count)


def test_the_loss_is_the_divergence_of_relations_by_hand_also_between_widths() -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 5, 8, generator=draw), torch.randn(2, 5, 12, generator=draw)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    ours = float(relation_loss(student, teacher, 4, mask))
    assert ours == pytest.approx(by_hand(student, teacher, 4, mask), rel=1e-5)
    assert float(relation_loss(student, teacher, 12, mask)) == pytest.approx(ours)  # 4 divides 8, 12 and 12


def test_relations_computed_together_are_the_sum_of_each_also_where_keys_are_narrower() -> None:
    draw = torch.Generator().manual_seed(0)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    for widths in (((8, 12), (8, 12), (8, 12)), ((8, 16), (4, 8), (4, 8))):
        pairs = [tuple(torch.randn(2, 5, width, generator=draw) for width in both) for both in widths]
        apart = sum(relation_loss(one, two, 4, mask) for one, two in pairs)
        torch.testing.assert_close(relations_loss(pairs, 4, mask), apart)


def test_relations_keep_full_precision_under_autocast() -> None:
    draw = torch.Generator().manual_seed(0)
    student = torch.randn(2, 5, 8, generator=draw)
    teacher = student + 0.01 * torch.randn(2, 5, 8, generator=draw)
    plain = relation_loss(student, teacher, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(relation_loss(student, teacher, 2), plain)


def test_padding_changes_nothing_and_gives_no_gradient() -> None:
    student = torch.randn(1, 6, 8, requires_grad=True)
    teacher, mask = torch.randn(1, 6, 8), torch.tensor([[1, 1, 1, 1, 0, 0]])
    padded = relation_loss(student, teacher, 2, mask)
    padded.backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    assert (student.grad[:, 4:] == 0).all()
    assert padded.item() == pytest.approx(relation_loss(student[:, :4], teacher[:, :4], 2).item(), rel=1e-5)


def test_relations_are_distributions_over_tokens() -> None:
    assert torch.allclose(relation(torch.randn(2, 7, 8), 4).exp().sum(-1), torch.ones(2, 4, 7))


@pytest.mark.parametrize("kind", ["bert", "distilbert", "vit", "llama", "gpt2"])
def test_a_model_has_its_own_relations_and_another_one_others(kind: str) -> None:
    model, other = getattr(made_models, kind)(), getattr(made_models, kind)(layers=1)
    given = made_models.inputs(model)
    for teacher, same in ((model, True), (other, False)):
        watched, watch = Relations(model, teacher, heads=4), Watch(model, [-1], "test")
        with torch.no_grad():
            teacher(**given)
            model(**given)
        assert {part for _, part in watch.seen} == set(PARTS)
        loss = float(watched.loss(given.get("attention_mask")))
        watched.close()
        watch.close()
        assert math.isfinite(loss)
        assert (loss < 1e-6) == same


def test_training_by_relations_alone_brings_a_narrower_student_closer() -> None:
    teacher = made_models.bert()
    narrow = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
    config: dict[str, Any] = {
        "config": narrow, "soft_weight": 0.0, "relation_weight": 10.0, "relation_heads": 2, "precision": "fp32",
        "epochs": 60,
    }  # fmt: skip
    losses = []
    for steps in (1, 100):
        given = made_models.bundle(made_models.bert(), teacher=lambda: teacher)
        done = distill(given, Distill(max_steps=steps, learning_rate=2e-3, **config))
        watched = Relations(done.model, teacher, 2)
        inputs = made_models.inputs(teacher)
        with torch.no_grad():
            done.model(**inputs)
            teacher(**inputs)
            losses.append(float(watched.loss(inputs["attention_mask"])))
        watched.close()
    assert losses[1] < 0.7 * losses[0], losses


def test_no_hook_is_left_on_a_trained_model() -> None:
    done = distill(made_models.bundle(made_models.bert()), Distill(max_steps=1, relation_weight=1.0))
    assert not any(module._forward_hooks for module in done.model.modules())


def test_reverse_divergence_is_the_other_way_round() -> None:
    ours, theirs = torch.randn(4, 5), torch.randn(4, 5)
    assert float(soft_loss(ours, theirs, 2.0, divergence="reverse")) == pytest.approx(
        float(soft_loss(theirs, ours, 2.0))
    )


@pytest.mark.parametrize("family", ["gpt_neox", "phi3"])
@pytest.mark.parametrize("weight", ["relation_weight", "attention_weight"])
def test_a_matrix_that_is_not_three_equal_parts_is_not_split_into_thirds(family: str, weight: str) -> None:
    model = families.FAMILIES[family]()
    with pytest.raises(InputError, match=f"distill with {weight}: does not apply to model type '{family}': query, key"):
        distill(made_models.trainable(model), Distill(max_steps=1, **{weight: 1.0}))
