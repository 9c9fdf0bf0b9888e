"""Settings of single layers: overrides reach the layers they name, and sensitivity says which layers need them."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compress.base.config import InputError
from compress.data.tasks import task_of
from compress.harness import sensitivity
from compress.harness.plan import Options, plan
from compress.methods import apply_step, capture
from compress.methods.calibrate import batches
from compress.model.bundle import Bundle
from compress.records.result import Machine
from compress.spec.recipe import Recipe
from compress.spec.steps import LowRank, Prune, Quantize, Sample
from tests import convolutions, families, made_models
from tests.made_models import MODELS, bundle, trainable

INT8 = {"bits": 8, "format": "int8_weight", "group_size": 32}


@pytest.mark.parametrize("kind", ["bert", "llama", "vit"])
def test_layers_that_match_an_override_get_its_settings_and_the_others_the_steps(kind: str) -> None:
    attention = {"bert": "*.attention.*", "vit": "*.attention.*", "llama": "*.self_attn.*"}[kind]
    done = apply_step(
        bundle(MODELS[kind]()),
        Quantize(bits=4, format="int4", backend="torch", group_size=32, overrides={attention: INT8}),
    )
    bits = {name: entry["bits"] for name, entry in done.layers.items() if name}
    assert set(bits.values()) == {4, 8}
    for name, value in bits.items():
        assert (value == 8) == (attention.strip("*") in name), name
    assert torch.isfinite(made_models.logits(done.model)).all()


def test_of_two_overrides_the_first_that_matches_counts_and_exclude_still_holds() -> None:
    step = LowRank(
        rank=8,
        exclude=("*key*", "*pooler*", "*classifier*"),
        overrides={"*query*": {"rank": 3}, "*attention*": {"rank": 5}},
    )
    ranks = {name: entry["rank"] for name, entry in apply_step(bundle(MODELS["bert"]()), step).layers.items()}
    for name, rank in ranks.items():
        assert rank == (3 if "query" in name else 5 if "attention" in name else 8), name
    assert not any("key" in name for name in ranks)


def test_a_part_of_the_weights_can_be_pruned_harder() -> None:
    step = Prune(structure="unstructured", fraction=0.25, overrides={"*output*": {"fraction": 0.75}})
    for name, entry in apply_step(bundle(MODELS["bert"]()), step).layers.items():
        assert entry["sparsity"] == pytest.approx(0.75 if "output" in name else 0.25, abs=0.01)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"*": {"bits": 5}}, "bits: Input should be"),
        ({"*": {"depth": 5}}, "depth: Extra inputs"),
        ({"*": {"include": ["a"]}}, "include applies to the whole step"),
        ({"*": {"format": "int3"}}, "format int3 has 3 bits"),
    ],
)
def test_an_override_that_is_no_setting_is_refused_before_anything_is_loaded(overrides: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Quantize(bits=4, overrides=overrides)


def test_a_graph_cannot_have_settings_by_layer(workload: Path) -> None:

    machine = Machine(id="m", device="cpu", device_name="CPU", uuid=None, details={}, versions={})
    recipe = Recipe(
        name="x", workload=str(workload), steps=(Quantize(bits=8, overrides={"*query*": {"per_channel": False}}),)
    )
    with pytest.raises(InputError, match="quantizes a whole graph at once"):
        plan([recipe], Options(), machine)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_layer_that_is_ruined_is_found_the_most_sensitive(kind: str) -> None:
    one = trainable(MODELS[kind]())
    step = Quantize(bits=8, format="int8_weight", group_size=32)
    names = [name for _, name in sensitivity.units(one, step)]
    target = names[-1]  # the last feed-forward output: nothing behind it dampens what happens to it
    worse = step.model_copy(update={"overrides": {target: {"bits": 1, "format": "binary"}}})
    report = sensitivity.effects(one, worse, examples=16)
    sizes = {effect.layer: abs(effect.more.value) for effect in report.effects if effect.more}
    assert set(sizes) == set(names)
    assert max(sizes, key=sizes.__getitem__) == target
    assert made_models.logits(one.model).isfinite().all()  # the bundle's own model is as it was


def test_losses_are_those_of_the_model_itself() -> None:
    for kind in ("bert", "llama"):
        one = trainable(MODELS[kind]())
        data = list(batches(one, "test", Sample(6), batch_size=1))
        sums, counts = sensitivity.losses(one.model, data, task_of(one.task))
        with torch.no_grad():
            wanted = [float(one.model(**batch).loss) for batch in data]
        assert (sums / counts).tolist() == pytest.approx(wanted, rel=1e-4)


def test_steps_that_cut_no_single_layer_are_refused() -> None:
    with pytest.raises(InputError, match="cuts all layers together"):
        sensitivity.effects(trainable(MODELS["bert"]()), Prune(structure="hidden"), examples=4)
    with pytest.raises(InputError, match="expected a step that changes layers"):
        sensitivity.sensitivity(Recipe(name="dense"))


@pytest.mark.parametrize(
    "step",
    [
        Quantize(bits=3, group_size=32, rounding="gptq", calibration_examples=8),
        LowRank(parameters=0.5, weighting="whitened", calibration_examples=8),
        Prune(structure="unstructured", importance="wanda", fraction=0.5, calibration_examples=8),
    ],
    ids=["gptq", "whitened", "wanda"],
)
def test_layers_alone_are_calibrated_once_a_block_and_come_out_the_same(
    monkeypatch: pytest.MonkeyPatch, step: Any
) -> None:
    one = trainable(MODELS["bert"]())
    taken = capture.capture
    calls: list[int] = []
    monkeypatch.setattr(capture, "capture", lambda *given: calls.append(len(given[2])) or taken(*given))
    report = sensitivity.effects(one, step, examples=16)
    layers = len(report.effects)
    blocks = len(capture.blocks(effect.layer for effect in sorted(report.effects, key=lambda e: e.layer)))
    assert len(calls) == 2 * blocks  # each alone, and all together
    assert sum(calls) == 2 * layers
    monkeypatch.setattr(sensitivity, "remembered", lambda *_: None)
    again = sensitivity.effects(one, step, examples=16)
    assert again == report
    assert len(calls) == 2 * blocks + blocks + layers


def listed(one: Bundle, step: Any) -> set[str]:
    names = [name for _, name in sensitivity.units(one, step)]
    assert len(set(names)) == len(names)
    return set(names)


def named(model: Any, kind: Any) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, kind) and "classifier" not in name}


def test_convolutions_are_listed_where_the_step_quantizes_them() -> None:
    resnet, convnext = convolutions.FAMILIES["resnet"](), convolutions.FAMILIES["convnext"]()
    both = named(convnext, nn.Conv2d) | named(convnext, nn.Linear)
    by_openvino = Quantize(bits=8, backend="openvino")  # the format is found in the table
    assert listed(convolutions.bundle(resnet), by_openvino) == named(resnet, nn.Conv2d)
    assert listed(convolutions.bundle(convnext), by_openvino) == both
    by_any = Quantize(bits=8, format="int8_weight")  # auto takes backend torch, for linear layers alone
    assert listed(convolutions.bundle(convnext), by_any) == named(convnext, nn.Linear)
    with pytest.raises(InputError, match="int8_weight through torch changes linear layers only"):
        listed(convolutions.bundle(resnet), by_any)


def test_low_rank_lists_the_convolutions_that_save_something() -> None:
    model = convolutions.FAMILIES["mobilenet_v2"]()
    step = LowRank(rank=4)
    made = apply_step(convolutions.bundle(copy.deepcopy(model)), step)
    assert listed(convolutions.bundle(model), step) == set(made.layers)


def test_stacks_of_experts_are_listed_and_measured() -> None:
    one = trainable(families.FAMILIES["mixtral"]())
    step = Quantize(bits=3, group_size=32, rounding="gptq", calibration_examples=4, include=("*layers.0.*",))
    report = sensitivity.effects(one, step, examples=8)
    effects = {effect.layer: effect.more for effect in report.effects}
    stacks = {name for name, p in one.model.named_parameters() if p.dim() == 3 and "layers.0." in name}
    assert len(stacks) == 2 and set(effects) == stacks | {n for n in named(one.model, nn.Linear) if "layers.0." in n}
    assert all(effects[name] is not None and effects[name].value for name in stacks)
