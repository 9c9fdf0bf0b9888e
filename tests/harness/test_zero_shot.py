"""Zero-shot classifiers from their folder to their card: metric, int8, exports, steps and refusals."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from compress import load
from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.methods import apply_step
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.records import files as result_files
from compress.report.card import card
from compress.spec.steps import Cast, Distill, LowRank, Prune, Quantize, Step
from tests.helpers import QUICK, compress
from tests.task_runs import graph_of, read_by, refused
from tests.zero_shot import image_processor, pictures, trained, write_towers, write_zero_shot

TASK = task_of("zero-shot-image-classification")
KINDS = ("clip", "siglip")


@pytest.fixture(scope="module", params=KINDS)
def workload(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zero_shot(tmp_path_factory.mktemp(request.param), request.param, trained(request.param))


@pytest.fixture(scope="module")
def bundle(workload: Path) -> Bundle:
    source = locate.resolve(Workload.load(workload))
    model, processor = loading.load_model(source)

    def examples(*_: Any) -> Any:
        return loading.load_examples(source, "train", processor, model.config)

    return Bundle(
        model, processor, TASK.name, torch.device("cpu"), workload=source.workload, train=examples, examples=examples,
        teacher=lambda: copy.deepcopy(model),
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(workload: Path) -> "subprocess.CompletedProcess[str]":
    recipes = ("vit_int8", "openvino_int8")
    return compress("run", *recipes, "--workload", workload, *QUICK, cwd=workload.parent)


def test_its_card_does_not_send_readers_to_plain_transformers(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    for plain, library, line in (
        (True, "compress", "Plain transformers has no class for it"),
        (False, "compress", "compress rebuilds them from `manifest.json`"),
    ):
        text = card(result_files.read(result_of(workload)), plain)
        assert ModelCard(text).data.library_name == library and line in text
        assert "`from_pretrained` loads it" not in text


def result_of(workload: Path, recipe: str = "vit_int8") -> Path:
    (file,) = (workload.parent / "results" / "colours").glob(f"{recipe}-*.json")
    return file


def pixels(count: int = 5) -> torch.Tensor:
    found: torch.Tensor = image_processor()(images=pictures(count, 9)[0], return_tensors="pt")["pixel_values"]
    return found


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(pixel_values=pixels().to(getattr(model, "dtype", None) or torch.float32)).logits
    return found


@pytest.mark.parametrize("recipe", ["vit_int8", "openvino_int8"])
def test_int8_is_judged_by_accuracy_per_picture(
    recipe: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "3 classes (red, green, blue) x 3 templates" in finished.stdout
    assert "steps change the vision tower only" in finished.stdout
    result = result_files.read(result_of(workload, recipe))
    accuracy = result.accuracy
    assert accuracy is not None and accuracy.metric == "accuracy"
    assert accuracy.estimate.value > 0.9 and accuracy.delta is not None and abs(accuracy.delta.value) < 0.05
    assert result.kernel is not None and result.kernel.label == "real"
    assert result.workload["resolved"]["derived_from"] == "model"  # relative to the place of the run


def test_its_artifact_gives_the_logits_that_were_judged(
    finished: "subprocess.CompletedProcess[str]", workload: Path, bundle: Bundle
) -> None:
    assert finished.returncode == 0, finished.stderr
    model, _ = load(workload.parent / "artifacts" / "colours" / "vit_int8")
    assert model.config.id2label == {0: "red", 1: "green", 2: "blue"}
    found, expected = logits(model), logits(bundle.model)
    assert found.shape == (5, 3) and torch.equal(found.argmax(1), expected.argmax(1))
    assert (found - expected).abs().max() < 0.2 * (expected.max() - expected.min())


@pytest.mark.parametrize("command", ["show", "card", "check", "verify", "pareto"])
def test_other_commands_read_its_result(
    command: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    artifact = workload.parent / "artifacts" / "colours" / "vit_int8"
    written = read_by(command, result_of(workload), artifact, TASK.name, "accuracy", "20pt")
    if command == "show":
        assert "their texts were encoded once by the text tower" in " ".join(written.split())


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_graph_gives_equal_logits(runtime: str, bundle: Bundle) -> None:
    model = copy.deepcopy(bundle.model)
    graph = graph_of(Bundle(model, bundle.processor, TASK.name, bundle.device, examples=bundle.examples), runtime)
    assert [each["name"] for each in graph.signature()["inputs"]] == ["pixel_values"]
    assert [each["name"] for each in graph.signature()["outputs"]] == ["logits"]
    expected = logits(model)
    tolerance = 1e-5 if runtime == "onnxruntime" else 2e-2
    assert (logits(graph) - expected).abs().max() < tolerance * expected.abs().max()


STEPS: dict[str, Step] = {
    "int4": Quantize(bits=4, group_size=32, backend="torch"),
    "gptq": Quantize(bits=4, group_size=32, rounding="gptq"),
    "bf16": Cast(dtype="bf16"),
    "feed-forward": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "heads": Prune(structure="heads", fraction=0.25, importance="obd"),
    "layers": Prune(structure="layers", fraction=0.5, importance="influence"),
    "weights": Prune(structure="unstructured", fraction=0.3, importance="wanda"),
    "low rank": LowRank(rank=8, weighting="fisher"),
    "student": Distill(keep=0.5, hidden_weight=1.0, attention_weight=1.0, max_steps=3, batch_size=8),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_leaves_the_text_side_and_its_artifact_reloads(step: str, bundle: Bundle, tmp_path: Path) -> None:
    own = Bundle(**{**vars(bundle), "model": copy.deepcopy(bundle.model)})
    made = apply_step(own, STEPS[step])
    for name in ("class_embeddings", "logit_scale"):
        before, after = getattr(bundle.model, name), getattr(made.model, name)
        assert torch.equal(before.to(after.dtype), after)
    expected = logits(made.model)
    assert not torch.equal(expected, logits(bundle.model))
    artifact.save(made, tmp_path / "artifact")
    again, _, _ = artifact.load(tmp_path / "artifact")
    assert torch.equal(logits(again), expected) and again.config.id2label[1] == "green"


def test_hidden_width_is_cut_from_clip_and_refused_for_siglip(bundle: Bundle) -> None:
    own = Bundle(**{**vars(bundle), "model": copy.deepcopy(bundle.model)})
    step = Prune(structure="hidden", fraction=0.25, importance="magnitude")
    if bundle.model.config.model_type == "siglip_vision_model":
        with pytest.raises(InputError, match="query, key and value of its pooling head are one matrix"):
            apply_step(own, step)
    else:
        assert logits(apply_step(own, step).model).shape == (5, 3)


def test_a_student_learns_the_logits_of_its_teacher(bundle: Bundle) -> None:
    def distance(learning_rate: float, steps: int) -> float:
        own = Bundle(**{**vars(bundle), "model": copy.deepcopy(bundle.model)})
        step = Distill(keep=0.5, max_steps=steps, learning_rate=learning_rate, soft_weight=1.0)
        ours, theirs = (logits(model).log_softmax(1) for model in (apply_step(own, step).model, bundle.model))
        return float(torch.nn.functional.kl_div(ours, theirs, log_target=True, reduction="batchmean"))

    assert distance(2e-3, 40) < distance(1e-9, 1)


def test_another_model_is_a_student_with_texts_of_its_own(bundle: Bundle, workload: Path, tmp_path: Path) -> None:
    kind = workload.parent.name.rstrip("0123456789")
    write_towers(tmp_path / "other", kind)
    step = Distill(model=str(tmp_path / "other"), max_steps=2, batch_size=8)
    made = apply_step(Bundle(**{**vars(bundle), "model": copy.deepcopy(bundle.model)}), step)
    assert made.model.config.id2label == bundle.model.config.id2label
    assert not torch.equal(made.model.class_embeddings, bundle.model.class_embeddings)
    assert made.notes[-1].startswith(f"distill: the student is {tmp_path / 'other'}")


REFUSED = {
    "llama.cpp": ("runtime", "llama.cpp", "causal language models only; the task is zero-shot-image-classification"),
    "static cache": ("kv_cache", "static", "zero-shot-image-classification"),
    "padding": ("padding", "fixed", "is of zero-shot-image-classification, whose batches keep their own shapes"),
    "vocabulary": ("steps", "[{method: prune, structure: vocabulary}]", "expected a language model"),
    "channels": ("steps", "[{method: prune, structure: channels}]", "has no convolutions to narrow"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_apply_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    refused(write_zero_shot(tmp_path), *REFUSED[kind], recipe="vit_dense")


BAD = {
    "template": ({"templates": ["a photo"]}, "colours.yaml:5 templates: 'a photo': expected one {}"),
    "classes": ({"classes": ["red"]}, "1 names; expected the names of two or more classes"),
    "metric": ({"metric": "perplexity"}, "metric perplexity"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_settings_end_with_one_error_and_its_place(kind: str, tmp_path: Path) -> None:
    changes, expected = BAD[kind]
    done = compress("run", "vit_dense", "--workload", write_zero_shot(tmp_path, **changes), *QUICK, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in " ".join(done.stderr.split()), done.stderr


def test_a_missing_tokenizer_ends_with_one_error(tmp_path: Path) -> None:
    path = write_zero_shot(tmp_path)
    for file in (tmp_path / "model").glob("tokenizer*"):
        file.unlink()
    done = compress("run", "vit_dense", "--workload", path, *QUICK, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("error:") == 1, done.stderr
    assert "the tokenizer of its text tower cannot be loaded" in " ".join(done.stderr.split())
