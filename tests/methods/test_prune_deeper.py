"""Structured pruning by more than size: each score against a brute-force one, layers, allocation, rounds, and costs."""

import contextlib
import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from compress.base.config import InputError
from compress.methods import apply_step
from compress.methods.calibrate import batches
from compress.methods.prune import importance, schedule
from compress.methods.prune.importance import Structures, allocated
from compress.methods.prune.layers import influences
from compress.methods.prune.width import span
from compress.model.architectures import layers_of
from compress.model.layers import matrix
from compress.spec.steps import IMPORTANCES, Prune, Sample
from tests.made_models import MODELS, bundle, logits, resnet, trainable


def widths(model: Any) -> list[int]:
    """Feed-forward width of every layer."""
    return [matrix(layer.get(layer.architecture.ffn_out)).shape[1] for layer in layers_of(model, "test")]


def test_activation_is_the_norm_of_what_each_structure_adds() -> None:
    draw = torch.Generator().manual_seed(0)
    weight, given = torch.randn(5, 6, generator=draw), torch.randn(40, 6, generator=draw)
    found = importance.activation(weight, given.norm(dim=0), 3)
    for index in range(3):
        wanda = [weight[i, j].abs() * given[:, j].norm() for i in range(5) for j in (2 * index, 2 * index + 1)]
        assert float(found[index]) == pytest.approx(float(torch.stack(wanda).norm()))
    alone = [
        float((given[:, [j]] @ weight[:, [j]].T).norm()) for j in range(6)
    ]  # one feature a structure: exactly that
    assert importance.activation(weight, given.norm(dim=0), 6).tolist() == pytest.approx(alone)


def test_obd_is_half_the_squared_weight_times_the_mean_squared_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    one, two = (torch.nn.Parameter(torch.randn(4, 3, generator=draw)) for _ in range(2))
    structures = Structures((importance.Part(one, 0), importance.Part(two, 0)), 4)
    grads = [(torch.randn(4, 3, generator=draw), torch.randn(4, 3, generator=draw)) for _ in range(3)]
    sizes = (5, 5, 2)

    def gradients() -> Any:
        for size, (a, b) in zip(sizes, grads, strict=True):
            one.grad, two.grad = a, b
            yield size

    (found,) = importance.obd([structures], gradients())
    for j in range(4):
        total = 0.0
        for parameter, index in ((one, 0), (two, 1)):
            mean = sum(s * g[index][j].square() for s, g in zip(sizes, grads, strict=True)) / sum(sizes)
            total += float((parameter[j].detach().square() * mean).sum()) / 2
        assert float(found[j]) == pytest.approx(total, rel=1e-5)


def test_the_most_important_of_all_layers_stay_whichever_layer_they_are_in() -> None:
    scores = [torch.tensor([9.0, 8.0, 7.0, 1.0]), torch.tensor([6.0, 0.5, 0.4, 0.3])]
    assert allocated(scores, 4) == [3, 1]
    assert allocated(scores, 2) == [2, 1]  # a layer keeps one, whatever it is worth
    assert allocated(scores, 4, least=2, step=2) == [4, 2]
    assert sum(allocated([torch.rand(64), torch.rand(64)], 64)) == 64


@pytest.mark.parametrize("name", ["magnitude", "activation", "taylor", "obd"])
@pytest.mark.parametrize(
    ("kind", "structure"), [("bert", "feed_forward"), ("llama", "heads"), ("vit", "heads"), ("gpt2", "feed_forward")]
)
def test_every_score_prunes_globally_and_the_model_answers(kind: str, structure: Any, name: Any) -> None:
    config = Prune(structure=structure, fraction=0.5, importance=name, allocation="global", calibration_examples=8)
    one = trainable(MODELS[kind]())
    before = sum(p.numel() for p in one.model.parameters())
    done = apply_step(one, config)
    assert sum(p.numel() for p in done.model.parameters()) < before
    assert torch.isfinite(logits(done.model)).all()


def test_a_layer_that_matters_more_keeps_more_of_its_width() -> None:
    model = MODELS["bert"]()
    first, last = (layer.get(layer.architecture.ffn_out) for layer in layers_of(model, "test"))
    with torch.no_grad():
        last.weight.mul_(1e-3)  # type: ignore[operator]
    config = Prune(fraction=0.5, importance="taylor", allocation="global", calibration_examples=16)
    found = widths(apply_step(trainable(model), config).model)
    assert found[0] > found[1]
    assert first is not last


def test_influence_is_one_minus_the_mean_cosine_over_real_tokens() -> None:
    one = trainable(MODELS["bert"]())
    data = list(batches(one, "test", Sample(12), batch_size=4))
    found = influences(one.model, data)
    for index in range(len(found)):
        cosines = []
        for batch in data:
            with torch.no_grad():
                states = one.model(**batch, output_hidden_states=True).hidden_states
            for i, length in enumerate(batch["attention_mask"].sum(1).tolist()):
                pair = states[index][i, :length], states[index + 1][i, :length]
                cosines += F.cosine_similarity(*pair, dim=-1).tolist()
        assert found[index] == pytest.approx(1 - sum(cosines) / len(cosines), abs=1e-5)


@pytest.mark.parametrize("kind", ["vit", "llama", "gpt2"])
def test_a_layer_that_adds_nothing_has_no_influence_and_goes_unnoticed(kind: str) -> None:
    model = MODELS[kind]()
    useless = layers_of(model, "test")[0]
    with torch.no_grad():
        for path in (useless.architecture.output, useless.architecture.ffn_out):
            for parameter in useless.get(path).parameters():
                parameter.zero_()
    one = trainable(model)
    assert influences(model, list(batches(one, "test", Sample(8))))[0] == pytest.approx(0, abs=1e-6)
    dense = logits(copy.deepcopy(model))
    done = apply_step(one, Prune(structure="layers", importance="influence", fraction=0.5, calibration_examples=8))
    assert len(layers_of(done.model, "test")) == 1
    torch.testing.assert_close(logits(done.model), dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta"])
def test_a_model_with_fewer_layers_loads_plainly(kind: str, tmp_path: Path) -> None:
    config = Prune(structure="layers", importance="influence", fraction=0.5, calibration_examples=8)
    model = apply_step(trainable(MODELS[kind]()), config).model
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert torch.equal(logits(again), logits(model))


def test_layers_that_are_excluded_stay_and_a_fraction_that_leaves_none_is_refused() -> None:
    model = MODELS["bert"]()
    found = influences(model, list(batches(trainable(model), "test", Sample(8))))
    least = min(range(2), key=found.__getitem__)
    config = Prune(
        structure="layers", importance="influence", fraction=0.5, exclude=(f"*layer.{least}",), calibration_examples=8
    )
    assert f"layers {1 - least} (influence" in apply_step(trainable(model), config).notes[-1]
    with pytest.raises(InputError, match=r"use a multiple of 0\.500 that leaves one"):
        apply_step(trainable(MODELS["bert"]()), Prune(structure="layers", importance="influence", fraction=0.9))


def test_rounds_end_where_one_round_ends() -> None:
    assert schedule(Prune(fraction=0.75, rounds=2)) == [0.5, 0.5]
    assert schedule(Prune(structure="unstructured", fraction=0.6, rounds=3)) == pytest.approx([0.2, 0.4, 0.6])
    done = apply_step(
        bundle(MODELS["bert"]()), Prune(structure="unstructured", fraction=0.6, rounds=3, importance="magnitude")
    )
    assert all(entry["sparsity"] == pytest.approx(0.6, abs=0.01) for entry in done.layers.values())
    one = apply_step(trainable(MODELS["bert"]()), Prune(fraction=0.75, importance="taylor", calibration_examples=8))
    two = apply_step(
        trainable(MODELS["bert"]()), Prune(fraction=0.75, importance="taylor", calibration_examples=8, rounds=2)
    )
    assert widths(one.model) == widths(two.model)


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_the_fraction_is_of_the_given_cost(fraction: float) -> None:
    asked: list[str] = []

    def cost(model: Any, what: str) -> float:
        asked.append(what)
        return 1000.0 + sum(widths(model))  # a part that no pruning takes away

    model = MODELS["bert"]()
    width = sum(widths(model))
    one = replace(bundle(model), cost=cost)
    done = apply_step(one, Prune(fraction=fraction * width / (1000 + width), cost="latency"))
    left = (1000 + sum(widths(done.model))) / (1000 + width)
    assert left == pytest.approx(1 - fraction * width / (1000 + width), abs=16 / (1000 + width))
    assert set(asked) == {"latency"}
    with pytest.raises(InputError, match=r"cannot remove .*: the narrowest layers still have"):
        apply_step(replace(bundle(MODELS["bert"]()), cost=cost), Prune(fraction=0.9, cost="macs"))
    with pytest.raises(InputError, match="needs the headline point of a workload"):
        apply_step(bundle(MODELS["bert"]()), Prune(cost="macs"))


def parameters(model: Any, _: str = "") -> float:
    return float(sum(p.numel() for p in model.parameters()))


@pytest.mark.parametrize(
    ("structure", "made", "percents"),
    [
        ("hidden", "llama", range(12, 44, 6)),
        ("layers", "bert", [50]),
        ("channels", "resnet", [18, 20, 22, 24]),
    ],
)
def test_every_structure_goes_until_the_cost_is_reached_and_no_further(
    structure: Any, made: str, percents: Sequence[int]
) -> None:
    make = {**MODELS, "resnet": resnet}[made]
    before, fraction, can_be_left = parameters(make()), 0.2, set()
    config = Prune(structure=structure, importance=IMPORTANCES[structure][0], cost="macs", fraction=fraction)  # type: ignore[arg-type]
    for percent in percents:  # brute force: what the fractions around it leave
        with contextlib.suppress(InputError):
            tried = config.model_copy(update={"fraction": percent / 100, "cost": "parameters"})
            can_be_left.add(parameters(apply_step(trainable(make()), tried).model))
    done = apply_step(replace(trainable(make()), cost=parameters), config)
    assert parameters(done.model) == max(left for left in can_be_left if left <= (1 - fraction) * before)


def test_every_structure_takes_exactly_the_scores_of_the_table() -> None:
    every = {name for names in IMPORTANCES.values() for name in names}
    for structure, known in IMPORTANCES.items():
        for name in every:
            if name in known:
                assert Prune(structure=structure, importance=name).importance == name  # type: ignore[arg-type]
            else:
                with pytest.raises(ValueError, match=f"importance {name} does not score structure {structure}"):
                    Prune(structure=structure, importance=name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"structure": "hidden", "allocation": "global"}, "allocation global needs structure feed_forward or heads"),
        ({"structure": "heads", "rounds": 2}, "rounds 2 needs structure"),
        ({"structure": "unstructured", "cost": "latency"}, "cost latency needs structure feed_forward or heads or"),
        ({"pattern": "2:4"}, "pattern 2:4 needs structure unstructured"),
        ({"structure": "unstructured", "pattern": "2:4", "fraction": 0.4}, "set fraction 0.5 and rounds 1"),
    ],
)
def test_settings_of_another_structure_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Prune(**fields)


def test_a_span_is_one_number_or_two() -> None:
    assert span([4, 4]) == "4"
    assert span([2, 8, 4]) == "2 to 8"
