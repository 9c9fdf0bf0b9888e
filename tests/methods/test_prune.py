"""Pruning: a cut model answers as the whole one with the same structures set to zero, and says what it became."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from compress.base.config import InputError
from compress.methods.prune import importance, prune
from compress.methods.prune.heads import keep_groups, read_attention
from compress.methods.prune.importance import Part, Structures, magnitude, most_important, taylor
from compress.methods.prune.weights import mask
from compress.methods.prune.width import round_width
from compress.model.architectures import layers_of
from compress.model.bundle import Bundle
from compress.model.families import ARCHITECTURES
from compress.model.layers import matrix
from compress.spec.steps import Prune, Sample
from tests.helpers import assets
from tests.made_models import (
    MODELS,
    bert,
    bundle,
    gpt2,
    inputs,
    llama,
    logits,
    resnet,
    rows_gone,
    text_examples,
    vit,
)


def parameters(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def zero(model: Any, path: str, inputs_too: torch.Tensor) -> None:
    """Sets columns of a linear layer to zero: what feeds them no longer counts."""
    matrix(model.get_submodule(path))[:, inputs_too] = 0


@pytest.mark.parametrize("kind", MODELS)
def test_a_narrower_feed_forward_answers_like_one_with_those_neurons_silenced(kind: str) -> None:
    whole = MODELS[kind]()
    model = copy.deepcopy(whole)
    done = prune(bundle(model), Prune(fraction=0.25))
    for layer, cut in zip(layers_of(whole, ""), layers_of(model, ""), strict=True):
        names = layer.architecture
        first = matrix(layer.get(names.ffn_in[0]))
        kept = matrix(cut.get(names.ffn_in[0]))
        gone = rows_gone(first, kept)
        assert len(kept) == 48 and len(gone) == 16
        zero(whole, layer.child(names.ffn_out), torch.tensor(gone))
    torch.testing.assert_close(logits(done.model), logits(whole), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_fewer_heads_answer_like_all_heads_with_those_silenced(kind: str) -> None:
    whole = MODELS[kind]()
    model = copy.deepcopy(whole)
    kept = torch.tensor([0, 2, 3])
    for layer, cut in zip(layers_of(whole, ""), layers_of(model, ""), strict=True):
        attention = read_attention(layer)
        size = attention.shared * attention.head_size
        zero(whole, layer.child(layer.architecture.output), torch.arange(1 * size, 2 * size))
        keep_groups(read_attention(cut), kept)
        names = cut.architecture
        if names.head_features:
            setattr(cut.get(names.attention), names.head_features, 3 * size)
    torch.testing.assert_close(logits(model), logits(whole), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2"])
def test_pruned_heads_that_config_cannot_hold_are_recorded_as_attributes(kind: str) -> None:
    model = MODELS[kind]()
    names = ARCHITECTURES[kind]
    before = model.config.to_dict()
    done = prune(bundle(model), Prune(structure="heads", fraction=0.25))
    assert logits(done.model).isfinite().all() and model.config.to_dict() == before
    layer = layers_of(model, "")[0]
    recorded = done.layers[layer.child(names.attention)]["attributes"]
    assert recorded[names.head_count] == 3 == read_attention(layer).groups
    assert all(getattr(layer.get(names.attention), name) == value for name, value in recorded.items())


@pytest.mark.parametrize("kind", ["llama", "vit"])
def test_pruned_heads_that_config_can_hold_load_plainly(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    prune(bundle(model), Prune(structure="heads", fraction=0.5))
    assert read_attention(layers_of(model, "")[0]).groups == 2
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(logits(type(model).from_pretrained(tmp_path)), logits(model))


@pytest.mark.parametrize("kind", ["llama", "vit"])
def test_head_counts_that_transformers_refuses_in_a_config_are_not_written_there(kind: str) -> None:
    model = MODELS[kind]()
    before = model.config.to_dict()
    prune(bundle(model), Prune(structure="heads", fraction=0.25))  # 3 or 6 heads do not divide 32
    assert model.config.to_dict() == before and logits(model).isfinite().all()


def test_grouped_query_heads_go_with_their_key_value_head() -> None:
    model = llama()
    prune(bundle(model), Prune(structure="heads", fraction=0.5))
    attention = model.model.layers[0].self_attn
    assert (attention.q_proj.out_features, attention.k_proj.out_features) == (16, 8)
    assert (model.config.num_attention_heads, model.config.num_key_value_heads, model.config.head_dim) == (4, 2, 4)


def test_pruned_llama_generates_with_its_cache() -> None:
    model = llama()
    prune(bundle(model), Prune(structure="heads", fraction=0.25))
    ids = inputs(model)["input_ids"][:1]
    with_cache = model.generate(ids, max_new_tokens=4, do_sample=False, use_cache=True)
    without = model.generate(ids, max_new_tokens=4, do_sample=False, use_cache=False)
    assert torch.equal(with_cache, without)


@pytest.mark.parametrize("kind", MODELS)
def test_a_narrower_residual_stream_reaches_the_fraction_and_still_answers(kind: str) -> None:
    model = MODELS[kind]()
    before = parameters(model)
    done = prune(bundle(model), Prune(structure="hidden", fraction=0.3))
    answer = logits(done.model)
    assert answer.isfinite().all()
    assert 1 - parameters(model) / before == pytest.approx(0.3, abs=0.07)  # steps of 4 or 8 of 32 channels
    assert any("hidden width 32 ->" in note for note in done.notes)


@pytest.mark.parametrize("kind", ["llama", "vit"])
def test_a_narrower_residual_stream_that_config_can_hold_loads_plainly(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    prune(bundle(model), Prune(structure="hidden", fraction=0.3))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again), logits(model))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_tied_embeddings_stay_tied_when_the_stream_narrows(kind: str) -> None:
    model = MODELS[kind]()
    prune(bundle(model), Prune(structure="hidden", fraction=0.3))
    assert model.lm_head.weight is model.get_input_embeddings().weight


def test_hidden_channels_that_are_silent_are_the_ones_to_go() -> None:
    """In a Llama whose channels 0 to 7 are zero everywhere, removing them changes nothing but the norm's mean."""
    model = llama()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(
                (
                    "embed_tokens.weight",
                    "q_proj.weight",
                    "k_proj.weight",
                    "v_proj.weight",
                    "gate_proj.weight",
                    "up_proj.weight",
                )
            ):
                parameter[:, :8] = 0
            elif name.endswith(("o_proj.weight", "down_proj.weight")) or "norm" in name:
                parameter[:8] = 0
    whole = logits(model)
    rows = model.model.embed_tokens.weight[:, 8:].clone()
    prune(bundle(model), Prune(structure="hidden", fraction=0.25))
    assert model.config.hidden_size == 24
    assert torch.equal(model.model.embed_tokens.weight, rows)
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":  # its mean was over 32 channels, 8 of them zero
            module.weight.data.mul_((32 / 24) ** 0.5)
            module.variance_epsilon *= 32 / 24
    torch.testing.assert_close(logits(model), whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bert", "vit", "llama", "distilbert", "gpt2", "roberta"])
def test_a_uniformly_narrower_feed_forward_loads_plainly(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    prune(bundle(model), Prune(fraction=0.5))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again), logits(model))


def test_shapes_of_all_changed_layers_are_recorded_and_no_others() -> None:
    model = bert()
    done = prune(bundle(model), Prune(fraction=0.25))
    wanted = {f"bert.encoder.layer.{i}.{part}.dense" for i in (0, 1) for part in ("intermediate", "output")}
    assert set(done.layers) == wanted
    for name, entry in done.layers.items():
        assert entry["shape"] == list(model.get_submodule(name).weight.shape)


def test_only_included_layers_are_cut_and_config_stays() -> None:
    model = bert()
    prune(bundle(model), Prune(fraction=0.5, include=("*layer.1.*",)))
    widths = [layer.intermediate.dense.out_features for layer in model.bert.encoder.layer]
    assert widths == [64, 32] and model.config.intermediate_size == 64
    assert logits(model).isfinite().all()


def test_taylor_scores_equal_the_brute_force_ones() -> None:
    model = bert()
    examples = text_examples(8)
    made = bundle(model, train=lambda: examples)
    dense = model.bert.encoder.layer[0].intermediate.dense
    back = model.bert.encoder.layer[0].output.dense
    parts = Structures((Part(dense.weight, 0), Part(dense.bias, 0), Part(back.weight, 1)), 64)
    from compress.methods.calibrate import batches, gradients

    (scores,) = taylor([parts], gradients(made, "test", Sample(8)))
    (batch,) = batches(made, "test", Sample(8))
    model.zero_grad()
    model(**batch).loss.backward()
    for j in (0, 17, 63):
        change = (dense.weight[j] * dense.weight.grad[j]).sum() + dense.bias[j] * dense.bias.grad[j]
        change = change + (back.weight[:, j] * back.weight.grad[:, j]).sum()
        torch.testing.assert_close(scores[j], change.detach().abs(), rtol=1e-4, atol=1e-7)


def test_taylor_leaves_no_gradients_and_eval_mode() -> None:
    model = bert()
    done = prune(bundle(model), Prune(fraction=0.25, importance="taylor", calibration_examples=20))
    assert all(p.grad is None for p in done.model.parameters()) and not done.model.training


@pytest.mark.parametrize("structure", ["feed_forward", "heads", "hidden"])
def test_taylor_is_deterministic_by_seed(structure: Any) -> None:
    config = Prune(structure=structure, fraction=0.25, importance="taylor", calibration_examples=16)
    first, second = (prune(bundle(bert(), seed=3), config).model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_magnitude_is_the_norm_over_all_parts() -> None:
    weight, bias = torch.nn.Parameter(torch.randn(6, 3)), torch.nn.Parameter(torch.randn(6))
    scores = magnitude(Structures((Part(weight, 0), Part(bias, 0)), 3))  # two rows per structure
    wanted = [
        (weight[2 * i : 2 * i + 2].square().sum() + bias[2 * i : 2 * i + 2].square().sum()).sqrt() for i in range(3)
    ]
    torch.testing.assert_close(scores, torch.stack(wanted).detach())


def test_a_part_may_be_a_stretch_of_a_parameter() -> None:
    values = torch.arange(12.0).view(2, 6)
    assert importance.per_structure(values, Part(values, 1, start=2, length=4), 2).tolist() == [22.0, 30.0]


def test_the_most_important_come_in_order_and_ties_keep_the_first() -> None:
    assert most_important(torch.tensor([1.0, 3.0, 1.0, 2.0]), 3).tolist() == [0, 1, 3]


@pytest.mark.parametrize(
    ("wanted", "width", "expected"),
    [(1152, 1536, 1152), (1150, 1536, 1152), (3, 1536, 8), (47.6, 63, 48), (0.2, 4, 1), (63.9, 64, 63)],
)
def test_widths_are_multiples_of_eight_where_they_are_large(wanted: float, width: int, expected: int) -> None:
    assert round_width(wanted, width) == expected


@pytest.mark.parametrize("kind", MODELS)
def test_unstructured_zeroes_the_smallest_and_records_it(kind: str) -> None:
    model = MODELS[kind]()
    whole = copy.deepcopy(model)
    done = prune(bundle(model), Prune(structure="unstructured", fraction=0.5))
    assert parameters(model) == parameters(whole)
    for name, entry in done.layers.items():
        weight, before = matrix(model.get_submodule(name)), matrix(whole.get_submodule(name))
        assert entry == {"sparsity": pytest.approx((weight == 0).float().mean().item(), abs=1e-6)}
        assert before[weight == 0].abs().max() <= before[weight != 0].abs().min()
        assert torch.equal(weight[weight != 0], before[weight != 0])


def test_a_mask_of_equal_weights_still_has_its_sparsity() -> None:
    assert mask(torch.ones(4, 4), 0.75).sum() == 4


@pytest.mark.parametrize("kind", ["feed_forward", "heads", "hidden"])
def test_unknown_architectures_are_refused_by_name(kind: Any) -> None:
    model = resnet()
    with pytest.raises(InputError, match=r"resnet.*expected one of bert"):
        prune(bundle(model), Prune(structure=kind))


@pytest.mark.parametrize("structure", ["feed_forward", "heads", "hidden", "layers"])
def test_a_model_without_layers_is_refused(structure: Any) -> None:
    importance: Any = "influence" if structure == "layers" else "magnitude"
    with pytest.raises(InputError, match=r"the model has no layers \(bert.encoder.layer is empty\)"):
        prune(bundle(bert(layers=0)), Prune(structure=structure, importance=importance))


def test_a_fraction_of_less_than_half_a_head_is_refused_with_the_step_to_use() -> None:
    with pytest.raises(InputError, match=r"4 heads.*less than half.*0\.250"):
        prune(bundle(bert()), Prune(structure="heads", fraction=0.1))
    with pytest.raises(InputError, match="all groups"):
        prune(bundle(bert()), Prune(structure="heads", fraction=0.95))


def test_taylor_without_training_examples_is_refused() -> None:
    with pytest.raises(InputError, match="needs training examples"):
        prune(bundle(bert(), train=None), Prune(importance="taylor"))


def test_hidden_refuses_to_be_cut_in_some_layers_only() -> None:
    with pytest.raises(InputError, match="remove include"):
        prune(bundle(bert()), Prune(structure="hidden", include=("*layer.0*",)))


def test_width_of_a_layer_that_is_already_low_rank_is_refused() -> None:
    from compress.methods.lowrank import lowrank
    from compress.spec.steps import LowRank

    with pytest.raises(InputError, match="expected a plain linear layer"):
        prune(lowrank(bundle(bert()), LowRank()), Prune())


def images(model: Any) -> Bundle:
    return bundle(model, task="image-classification", processor=None)


def test_channels_reach_the_fraction_of_convolution_parameters() -> None:
    from compress.methods.prune.channels import count

    model = resnet()
    before, shape = count(model), model(torch.rand(2, 1, 32, 32)).logits.shape
    done = prune(images(model), Prune(structure="channels", fraction=0.5))
    answer = model(torch.rand(2, 1, 32, 32)).logits
    assert answer.shape == shape and answer.isfinite().all()
    assert 1 - count(model) / before == pytest.approx(0.5, abs=0.06)
    for name, entry in done.layers.items():
        assert entry.get("shape", list(model.get_submodule(name).weight.shape)) == list(
            model.get_submodule(name).weight.shape
        )


def test_a_transformer_has_no_channels_to_prune() -> None:
    for model in (vit(), bert(), gpt2()):
        with pytest.raises(InputError, match="no convolutions"):
            prune(bundle(model), Prune(structure="channels"))


def test_the_small_story_model_loses_a_key_value_head_per_layer() -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(assets("models", "stories260K"), dtype=torch.float32)
    model.eval()
    whole = copy.deepcopy(model)
    prune(bundle(model), Prune(structure="heads", fraction=0.25))
    attention = model.model.layers[0].self_attn
    assert (attention.q_proj.out_features, attention.v_proj.out_features) == (48, 24)
    assert model.config.num_attention_heads == 8  # 6 do not divide the hidden size of 64, which config insists on
    ids = torch.arange(4, 40)[None]
    with torch.no_grad():
        before, after = whole(ids).logits.softmax(-1), model(ids).logits.softmax(-1)
    assert after.isfinite().all() and 0 < (before - after).abs().sum(-1).mean() < 1.5
