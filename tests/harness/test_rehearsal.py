"""Steps on an empty model: what goes wrong there, goes wrong on the model itself, and shapes come out the same."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from compress import apply
from compress.base.config import InputError
from compress.harness.preflight import step_problems, traceable
from compress.methods import apply_step
from compress.methods.rehearsal import rehearse
from compress.model.skeleton import empty_copy
from compress.spec.recipe import Recipe
from tests import made_models

Step = dict[str, Any]


def distill(**fields: Any) -> Step:
    return {"method": "distill", "max_steps": 1, **fields}


def prune(structure: str, fraction: float, **fields: Any) -> Step:
    importance = "influence" if structure == "layers" else "magnitude"
    return {"method": "prune", "structure": structure, "fraction": fraction, "importance": importance, **fields}


def quantize(**fields: Any) -> Step:
    return {"method": "quantize", "bits": 4, "backend": "torch", "group_size": 32, **fields}


def lowrank(**fields: Any) -> Step:
    return {"method": "lowrank", **fields}


def recipe(*steps: Step, **fields: Any) -> Recipe:
    return Recipe.model_validate({"steps": list(steps), **fields})


def empty(model: Any, **changes: Any) -> Any:
    """A bundle around the skeleton of a model."""
    bundle = made_models.trainable(model)
    return replace(bundle, model=traceable(empty_copy(model)), teacher=lambda: empty_copy(model), train=None, **changes)


REFUSED: dict[str, tuple[str, Recipe, str]] = {
    "layers beyond": ("bert", recipe(distill(layers=[0, 99])), "distill layers: 99; expected numbers from 0 to 1"),
    "layers twice": ("bert", recipe(distill(layers=[1, 1])), "expected ascending numbers without duplicates"),
    "no layers": ("bert", recipe(distill(layers=[])), "empty; expected at least one layer"),
    "all heads": ("bert", recipe(prune("heads", 0.999)), "is all groups; use a multiple of 0.250"),
    "half a group": ("llama", recipe(prune("heads", 0.1)), "is less than half a group"),
    "all layers": ("bert", recipe(prune("layers", 0.999)), "use a multiple of 0.500 that leaves one"),
    "no width": ("bert", recipe(prune("feed_forward", 0.9999)), "leaves none; the narrowest is 8: use at most 0.875"),
    "channels of a transformer": ("bert", recipe(prune("channels", 0.5)), "bert has no convolutions to narrow"),
    "width of a ResNet": ("resnet", recipe(prune("feed_forward", 0.5)), "expected one of bert, roberta"),
    "heads by no name": ("bert", recipe(prune("heads", 0.5, include=["no*"])), "no attention layer matches"),
    "width by no name": ("bert", recipe(prune("feed_forward", 0.5, include=["no*"])), "no layer matches"),
    "a layer that is gone": (
        "bert", recipe(prune("layers", 0.5), lowrank(include=["*layer.1.*"])), "steps.1: no linear layer matches"),
    "a layer not kept": ("gpt2", recipe(distill(layers=[0]), quantize(include=["*h.1.*"])), "steps.1: no linear layer"),
    "groups that do not divide": ("bert", recipe(quantize(group_size=128)), "group_size 128 does not divide its 32"),
    "an override of nothing": ("bert", recipe(quantize(overrides={"no*": {"bits": 8}})), "matches include ['no*']"),
    "everything excluded": ("bert", recipe(quantize(exclude=["*"])), "exclude ['*']"),
    "rank after a cut": (
        "bert", recipe(prune("feed_forward", 0.5), lowrank(rank=16)), "steps.1: bert.encoder.layer.0.attention"),
    "less than rank 1": ("bert", recipe(lowrank(parameters=1e-6)), "is less than rank 1"),
    "width after low rank": ("bert", recipe(lowrank(), prune("feed_forward", 0.5)), "steps.1: bert.encoder.layer.0"),
    "fours in odd widths": ("bert", recipe(prune("feed_forward", 0.3), prune("hidden", 0.3),
                                           prune("unstructured", 0.5, pattern="2:4")), "a multiple of 4; exclude it"),
    "student by no field": ("bert", recipe(distill(config={"hiden_size": 16})), "did you mean hidden_size?"),
    "student of odd width": ("bert", recipe(distill(config={"hidden_size": 33})), "not a multiple of the number of"),
    "student of text": ("bert", recipe(distill(config={"hidden_size": "16"})), "hidden_size: '16', a str; expected"),
    "endless student": ("bert", recipe(distill(config={"num_hidden_layers": 10**7})), "expected at most 1000"),
    "heads to compare": (
        "bert", recipe(distill(attention_weight=1, config={"num_attention_heads": 2})), "student layer 0 has 2 heads"),
    "cosines of two widths": (
        "bert", recipe(distill(hidden_weight=1, config={"hidden_size": 16})), "cosines need equal widths"),
    "relations of a ResNet": ("resnet", recipe(distill(relation_weight=1)), "model type 'resnet'"),
    "rank of updates": ("bert", recipe(distill(lora_rank=4096)), "expected at most 32"),
    "a format not trained for": (
        "bert", recipe(distill(quantization_aware=True), quantize(format="nf4", backend="bitsandbytes", group_size=64)),
        "is not supported; expected a format of"),
    "int8 in fp16": (
        "bert", recipe({"method": "cast", "dtype": "fp16"}, quantize(bits=8, backend="torchao", group_size=64)),
        "int8 products overflow in fp16"),
    "flash attention on a CPU": ("llama", recipe(attention="flash_attention_2"), "runs on CUDA only"),
    "fused attention of a ResNet": ("resnet", recipe(attention="sdpa"), "attention sdpa: ResNetForImage"),
}  # fmt: skip


def model_of(name: str) -> Any:
    return made_models.resnet() if name == "resnet" else made_models.MODELS[name]()


@pytest.mark.parametrize(("name", "asked", "words"), REFUSED.values(), ids=REFUSED)
def test_a_step_that_cannot_work_is_refused_on_the_skeleton(name: str, asked: Recipe, words: str) -> None:
    told = step_problems(asked, empty(model_of(name)))
    assert any(words in problem for problem in told), told


@pytest.mark.parametrize("field", ["epochs", "learning_rate", "temperature", "hidden_weight"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e300])
def test_a_number_without_end_is_no_setting(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        recipe(distill(**{field: value}))


SHAPES: dict[str, Recipe] = {
    "heads and width": recipe(prune("heads", 0.5), prune("feed_forward", 0.25)),
    "hidden width": recipe(prune("hidden", 0.3)),
    "low rank, half precision": recipe(lowrank(parameters=0.5), {"method": "cast"}),
}


@pytest.mark.parametrize("asked", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", list(made_models.MODELS))
def test_a_rehearsal_leaves_the_shapes_that_the_steps_leave(name: str, asked: Recipe) -> None:
    model = made_models.MODELS[name]()
    problems, after = rehearse(empty(model), asked.steps, lambda _: None)
    assert problems == [] and after is not None
    made = made_models.trainable(model)
    for step in asked.steps:
        made = apply_step(made, step)
    assert {n: p.shape for n, p in after.model.named_parameters()} == {
        n: p.shape for n, p in made.model.named_parameters()
    }
    assert all(p.is_meta for p in after.model.parameters())


def test_problems_of_all_steps_are_told_together_and_before_a_live_model_is_changed() -> None:
    model = made_models.bert()
    before = {name: p.clone() for name, p in model.named_parameters()}
    asked = recipe(distill(layers=[0, 99]), prune("heads", 0.999), lowrank(rank=1000))
    with pytest.raises(InputError) as refused:
        apply(asked, model, None)
    assert [p.split(":")[0] for p in refused.value.problems] == [f"recipe steps.{i}" for i in (0, 1, 2, 2, 2, 2)]
    assert refused.value.problems[-1] == "recipe steps.2: 9 similar problems not shown"
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_steps_whose_shapes_weights_decide_end_the_rehearsal_and_refuse_nothing() -> None:
    asked = recipe(lowrank(energy=0.9), quantize(group_size=256))
    assert step_problems(asked, empty(made_models.bert())) == []


def test_sensitivity_is_refused_before_weights_are_loaded(workload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.harness import sensitivity

    def loaded(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(sensitivity, "open_bundle", loaded)
    with pytest.raises(InputError, match="is all groups"):
        sensitivity.sensitivity(recipe(prune("heads", 0.999)), str(workload), "cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_models_stored_in_half_precision_are_rehearsed_as_they_are_loaded(
    dtype: torch.dtype, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compress.data import locate
    from compress.data.workload import Workload
    from compress.harness import preflight
    from tests.helpers import bert, tokenizer, write_workload

    asked = recipe(prune("feed_forward", 0.5))
    live = bert().to(dtype)
    pruned = apply(asked, live, tokenizer())
    assert pruned.bert.encoder.layer[0].intermediate.dense.weight.shape == (live.config.intermediate_size // 2, 32)
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    found = locate.resolve(Workload.load(write_workload(tmp_path, live)))
    preflight.check([asked], found)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "eager"])
def test_rope_that_cannot_be_exported_is_refused_for_graphs_before_the_export(runtime: Any) -> None:
    import transformers

    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=64, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
        )
    )  # fmt: skip
    told = step_problems(recipe(runtime=runtime), empty(model, runtime=runtime))
    assert [problem.partition(":")[0] for problem in told] == ([] if runtime == "eager" else [f"runtime {runtime}"])
    assert all("rope_type dynamic" in problem for problem in told)
