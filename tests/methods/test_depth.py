"""Fewer layers: a model without some of them answers the same when it is loaded again, whatever its config indexes."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from compress.base.config import InputError
from compress.methods import apply_step
from compress.methods.depth import keep_layers
from compress.methods.distill.students import make_student
from compress.model import architectures, artifact
from compress.model.architectures import layers_of
from compress.spec.steps import Distill, Prune
from tests import made_models
from tests.made_models import logits, trainable


def gpt2() -> Any:
    """GPT-2 that divides the scores of layer i by i + 1."""
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=66, n_embd=32, n_layer=4, n_head=4, n_inner=64, bos_token_id=2, eos_token_id=3,
        scale_attn_by_inverse_layer_idx=True,
    )  # fmt: skip
    return made_models.random_model(transformers.GPT2LMHeadModel, config)


def qwen2() -> Any:
    """Qwen2 whose last two of four layers look back three tokens."""
    config = transformers.Qwen2Config(
        vocab_size=64, max_position_embeddings=66, hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=64, use_sliding_window=True, sliding_window=3, max_window_layers=2,
    )  # fmt: skip
    return made_models.random_model(transformers.Qwen2ForCausalLM, config)


def skipping_logits(model: Any, kept: tuple[int, ...]) -> torch.Tensor:
    """What the whole model answers when the other layers pass on what they are given."""
    whole = copy.deepcopy(model)
    for index, layer in enumerate(layers_of(whole, "test")):
        if index not in kept:
            layer.module.forward = lambda hidden_states, *_args, **_named: hidden_states
    return logits(whole)


@pytest.mark.parametrize("heads", [False, True], ids=["", "heads pruned"])
@pytest.mark.parametrize("kept", [(1, 3), (0, 1), (3,)])
@pytest.mark.parametrize("make", [gpt2, qwen2])
def test_layers_that_depend_on_their_position_answer_the_same_when_loaded(
    make: Callable[[], Any], kept: tuple[int, ...], heads: bool, tmp_path: Path
) -> None:
    one = trainable(make())
    if heads:
        one = apply_step(one, Prune(structure="heads", fraction=0.5))
    before = skipping_logits(one.model, kept)
    student = make_student(one, Distill(layers=kept), one.model)
    torch.testing.assert_close(logits(student.model), before)  # the cut itself changes nothing else
    artifact.save(replace(one, model=student.model, layers=student.layers), tmp_path / "made")
    again, _, manifest = artifact.load(tmp_path / "made")
    assert torch.equal(logits(again), logits(student.model))
    assert manifest.plain is (make is qwen2 or (kept == (0, 1) and not heads))  # config holds layer types, not divisors


def test_pruned_layers_that_know_their_place_answer_the_same_when_loaded(tmp_path: Path) -> None:
    config = Prune(structure="layers", importance="influence", fraction=0.5, calibration_examples=8)
    one = apply_step(trainable(gpt2()), config)
    before = [layer.get("attn").scaling for layer in layers_of(one.model, "")]
    assert len(before) == 2
    assert set(before) < {8**-0.5 / place for place in (1, 2, 3, 4)}
    artifact.save(one, tmp_path / "made")
    again, _, _ = artifact.load(tmp_path / "made")
    assert [layer.get("attn").scaling for layer in layers_of(again, "")] == before
    assert torch.equal(logits(again), logits(one.model))


def test_layers_with_another_structure_at_their_new_position_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(architectures.ARCHITECTURES, "qwen2_moe", architectures.ARCHITECTURES["qwen2"])
    config = transformers.Qwen2MoeConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, moe_intermediate_size=16, shared_expert_intermediate_size=16, num_experts=4,
        num_experts_per_tok=2, mlp_only_layers=[0], max_position_embeddings=66,
    )  # fmt: skip
    model = made_models.random_model(transformers.Qwen2MoeForCausalLM, config)
    before = logits(model)
    with pytest.raises(InputError, match="qwen2_moe gives layer 0 another structure than layer 1"):
        keep_layers(model, (1, 2))
    assert model.config.num_hidden_layers == 4
    assert torch.equal(logits(model), before)
    assert keep_layers(model, (0, 2)) == {}
