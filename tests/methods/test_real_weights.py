"""Methods on real weights: who is better at equal compression, paired on every example. `make test-long` prints it."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.analysis.accuracy import Evaluation, summarise
from compress.data import loading, locate
from compress.data.source import Source
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.harness.transform import open_bundle
from compress.measure.evaluate import evaluate
from compress.methods import apply_step
from compress.methods.calibrate import batches
from compress.methods.capture import blocks, capture, walk
from compress.methods.compensate import compensated, output_error
from compress.methods.prune.weights import mask, row_mask, sparse_columns, wanda_scores
from compress.methods.quantize import rounding
from compress.methods.quantize.smoothing import smoothed
from compress.model.layers import matrix, weight_layers
from compress.model.packing.grouped import Grid
from compress.model.sharing import swap
from compress.records.stats import Estimate
from compress.spec.recipe import Recipe
from compress.spec.steps import Layers, Sample
from tests.helpers import assets

pytestmark = pytest.mark.long


def sst2() -> Source:
    """The fine-tuned MiniLM on all validation examples of SST-2."""
    return locate.resolve(
        Workload.model_validate(
            {
                "name": "minilm-sst2",
                "task": "text-classification",
                "model": str(assets("models", "minilm-l6-sst2")),
                "dataset": {"path": str(assets("data", "sst2")), "test": "validation", "text": "sentence"},
                "max_length": 128,
            }
        )
    )


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A small Llama with grouped-query attention on stories; what calibrates is not what is judged."""
    folder = tmp_path_factory.mktemp("stories")
    text = assets("data", "tinystories", "niklas6_tinystories.txt").read_text(encoding="utf-8")
    middle = text.rindex("\n", 0, len(text) // 2)
    (folder / "train.txt").write_text(text[:middle], encoding="utf-8")
    (folder / "test.txt").write_text(text[middle:], encoding="utf-8")
    return locate.resolve(
        Workload.model_validate(
            {
                "name": "stories",
                "task": "causal-lm",
                "model": str(assets("models", "stories260K")),
                "dataset": {"path": str(folder), "train": "train.txt", "test": "test.txt"},
                "max_length": 256,
            }
        )
    )


ANSWERS: dict[str, Evaluation] = {}


def answers(found: Source, *steps: dict[str, Any]) -> Evaluation:
    """What the model answers after these steps, example by example."""
    key = f"{found.workload.name} {steps}"
    if key not in ANSWERS:
        recipe = Recipe.model_validate({"steps": list(steps)})
        torch.manual_seed(0)
        bundle = open_bundle(recipe, found, torch.device("cpu"), None)
        for step in recipe.steps:
            bundle = apply_step(bundle, step)
        examples = loading.load_examples(found, "test", bundle.processor, bundle.model.config)
        ANSWERS[key] = evaluate(
            bundle.model, task_of(found.workload.task), examples, bundle.processor, torch.device("cpu"), 32
        )
    return ANSWERS[key]


def prune(importance: str, **fields: Any) -> dict[str, Any]:
    return {"method": "prune", "importance": importance, **fields}


def lowrank(weighting: str, parameters: float, **fields: Any) -> dict[str, Any]:
    return {"method": "lowrank", "weighting": weighting, "parameters": parameters, **fields}


BETTER = [
    (prune("taylor", fraction=0.25), prune("magnitude", fraction=0.25)),
    (prune("taylor", fraction=0.5), prune("magnitude", fraction=0.5)),
    (prune("activation", fraction=0.5), prune("magnitude", fraction=0.5)),
    (prune("obd", fraction=0.5), prune("magnitude", fraction=0.5)),
    (prune("taylor", fraction=0.5, allocation="global"), prune("taylor", fraction=0.5)),
    (prune("taylor", fraction=0.5, rounds=4), prune("taylor", fraction=0.5)),
    (prune("taylor", structure="heads", fraction=0.5), prune("magnitude", structure="heads", fraction=0.5)),
    (lowrank("whitened", 0.8), lowrank("plain", 0.8)),
    (lowrank("whitened", 0.6), lowrank("plain", 0.6)),
    (lowrank("activation", 0.6), lowrank("plain", 0.6)),
    (lowrank("fisher", 0.6), lowrank("plain", 0.6)),
    (lowrank("whitened", 0.4, allocation="shared"), lowrank("whitened", 0.4)),
    (
        prune("wanda", structure="unstructured", fraction=0.5),
        prune("magnitude", structure="unstructured", fraction=0.5),
    ),
    (
        prune("sparsegpt", structure="unstructured", fraction=0.5),
        prune("wanda", structure="unstructured", fraction=0.5),
    ),
    (
        prune("sparsegpt", structure="unstructured", fraction=0.5, pattern="2:4"),
        prune("magnitude", structure="unstructured", fraction=0.5, pattern="2:4"),
    ),
]


def quantize_step(bits: int, rounding: str, **fields: Any) -> dict[str, Any]:
    return {"method": "quantize", "bits": bits, "backend": "torch", "rounding": rounding, "group_size": 128, **fields}


BETTER += [
    (quantize_step(4, "gptq"), quantize_step(4, "nearest")),
    (quantize_step(3, "gptq"), quantize_step(3, "nearest")),
    (quantize_step(3, "gptq", act_order=True), quantize_step(3, "nearest")),
    (quantize_step(3, "hqq"), quantize_step(3, "nearest")),
    (quantize_step(3, "nearest", scaling="awq"), quantize_step(3, "nearest")),
    (quantize_step(2, "gptq", group_size=32), quantize_step(2, "nearest", group_size=32)),
    (
        {"method": "quantize", "bits": 8, "backend": "torchao", "scaling": "smoothquant"},
        {"method": "quantize", "bits": 8, "backend": "torchao"},
    ),
]


def step_name(step: dict[str, Any]) -> str:
    return "-".join(str(value) for key, value in step.items() if key != "method")


def compare_and_print(
    ours: Evaluation, theirs: Evaluation, metric: str, what: str, capsys: pytest.CaptureFixture[str]
) -> tuple[Estimate, Estimate]:
    """The metric and its paired difference (of perplexity the ratio minus 1), printed for the record."""
    found = summarise(ours, metric, theirs, "the other", seed=0)
    assert found.delta is not None
    value, low, high = (100 * part for part in (found.delta.value, found.delta.low, found.delta.high))
    with capsys.disabled():
        print(f"\n{metric} {what}: {found.estimate.value:.4f}, {value:+.2f} hundredths ({low:+.2f} to {high:+.2f})")
    return found.estimate, found.delta


@pytest.mark.parametrize(("good", "plain"), BETTER, ids=[f"{step_name(a)} over {step_name(b)}" for a, b in BETTER])
def test_the_better_method_is_not_measurably_worse_on_sst2(
    good: dict[str, Any], plain: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = sst2()
    ours, theirs = answers(found, good), answers(found, plain)
    estimate, delta = compare_and_print(ours, theirs, "accuracy", f"{step_name(good)} over {step_name(plain)}", capsys)
    assert estimate.n == 872
    assert delta.high >= 0


LANGUAGE = [
    (
        prune("wanda", structure="unstructured", fraction=0.5),
        prune("magnitude", structure="unstructured", fraction=0.5),
    ),
    (
        prune("sparsegpt", structure="unstructured", fraction=0.5),
        prune("wanda", structure="unstructured", fraction=0.5),
    ),
    (lowrank("whitened", 0.8), lowrank("plain", 0.8)),
    (lowrank("whitened", 0.8, allocation="shared"), lowrank("whitened", 0.8)),
]


@pytest.mark.parametrize(("good", "plain"), LANGUAGE, ids=[f"{step_name(a)} over {step_name(b)}" for a, b in LANGUAGE])
def test_the_better_method_has_the_lower_perplexity(
    stories: Source, good: dict[str, Any], plain: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = answers(stories, good), answers(stories, plain)
    estimate, delta = compare_and_print(
        ours, theirs, "perplexity", f"{step_name(good)} over {step_name(plain)}", capsys
    )
    assert math.isfinite(estimate.value)
    assert delta.high < 0


@cache
def minilm_layers() -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Name, weight and sum of x x^T of every encoder layer, from 64 training sentences."""
    bundle = open_bundle(Recipe(), sst2(), torch.device("cpu"), None)
    examples = list(batches(bundle, "test", Sample(64)))
    chosen = dict(weight_layers(bundle.model, Layers()))
    found = {}
    for block in blocks(chosen):
        found |= capture(bundle.model, examples, block)
    return [(name, matrix(module).clone(), found[name].gram) for name, module in chosen.items()]


def test_sparsegpt_never_has_more_layer_error_than_wanda_or_magnitude() -> None:
    assert len(minilm_layers()) == 36
    for name, weight, gram in minilm_layers():
        ours = output_error(weight, compensated(weight, gram, sparse_columns(0.5, False)), gram)
        scores = wanda_scores(weight, gram.diagonal().sqrt())
        for other in (weight * row_mask(scores, 0.5), weight * mask(weight, 0.5)):
            assert ours <= output_error(weight, other, gram), name


def test_gptq_never_has_more_layer_error_than_nearest_rounding() -> None:
    for name, weight, gram in minilm_layers():
        for bits in (4, 3):
            ours = output_error(weight, rounding.gptq(weight, gram, Grid(bits, 128)).dense(), gram)
            assert ours <= output_error(weight, rounding.nearest(weight, Grid(bits, 128)).dense(), gram), (name, bits)


@pytest.mark.parametrize(
    "step", [quantize_step(4, "nearest", group_size=32), {"method": "quantize", "bits": 8, "format": "int8_static"}]
)
def test_int8_and_int4_in_groups_of_32_stay_within_a_point_of_dense(
    step: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    found = sst2()
    _, delta = compare_and_print(
        answers(found, step), answers(found), "accuracy", f"{step_name(step)} over dense", capsys
    )
    assert delta.value >= -0.01


@torch.no_grad()
def test_scales_that_are_moved_change_no_answer_before_rounding(capsys: pytest.CaptureFixture[str]) -> None:
    """SmoothQuant's on every layer of the encoder, within 1e-5 of the largest logit."""
    bundle = open_bundle(Recipe(), sst2(), torch.device("cpu"), None)
    examples = list(batches(bundle, "test", Sample(64)))

    def logits() -> torch.Tensor:
        return torch.cat([bundle.model(**batch).logits for batch in examples])

    before = logits()
    chosen = dict(weight_layers(bundle.model, Layers()))
    for name, inputs in walk(bundle, "test", Sample(64), chosen):
        layer = smoothed(chosen[name], inputs, 0.5)  # type: ignore[arg-type]
        swap(bundle.model, name, layer)
    apart = float((logits() - before).abs().max() / before.abs().max())
    with capsys.disabled():
        print(f"\n{len(chosen)} smoothed layers: logits within {apart:.1e}")
    assert apart < 1e-5


def test_assets_are_where_they_are_looked_for() -> None:
    assert Path(sst2().model).is_dir()
