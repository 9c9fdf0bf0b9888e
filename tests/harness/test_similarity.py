"""A sentence encoder from its folder to its card: metric, int8, exports, steps and refusals."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from compress import load
from compress.analysis.metrics import scores
from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.sentences import settings
from compress.data.sentences.settings import Settings
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.harness import sensitivity
from compress.methods import apply_step
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.model.padding import check_padding
from compress.model.runtimes.check import checked
from compress.records import files as result_files
from compress.records import trace
from compress.spec.steps import Distill, Prune, Quantize
from tests.helpers import QUICK, compress
from tests.similar import STEPS, batch_of, pairs, sentence_encoder, vectors, write_similar
from tests.task_runs import bundled, graph_of, read_by, refused

TASK = task_of("sentence-similarity")
TEXTS = ["the film was good", "a story", "it felt cold and the end was quite dull"]


def bundle(model: Any, **changes: Any) -> Bundle:
    return bundled(model, TASK, pairs(24, 7), **changes)


@pytest.fixture(scope="module", params=["old", "new"])
def workload(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_similar(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def finished(workload: Path) -> "subprocess.CompletedProcess[str]":
    return compress("run", "bert_int8", "--workload", workload, *QUICK, cwd=workload.parent)


def result_of(workload: Path) -> Path:
    (file,) = (workload.parent / "results" / "similar").glob("bert_int8-*.json")
    return file


def test_int8_of_an_encoder_is_judged_by_its_similarities(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "vectors: mean pooling, normalised" in finished.stdout
    result = result_files.read(result_of(workload))
    accuracy = result.accuracy
    assert accuracy is not None and accuracy.metric == "spearman" and accuracy.unit == "points"
    assert 0.2 < accuracy.estimate.low < accuracy.estimate.value < accuracy.estimate.high <= 1
    assert accuracy.delta is not None and abs(accuracy.delta.value) < 0.05
    assert result.kernel is not None and result.kernel.label == "real"
    session = trace.read(trace.located(result_of(workload), result.traces[0]))
    found = next(runner.outcomes for runner in session.runners if runner.name == "bert_int8")
    assert scores.spearman(np.array(found["score"]), np.array(found["reference"])) == accuracy.estimate.value
    assert list(found["reference"]) == pairs(60, 2)["label"]


def test_its_artifact_gives_vectors_of_length_1(finished: "subprocess.CompletedProcess[str]", workload: Path) -> None:
    assert finished.returncode == 0, finished.stderr
    model, _ = load(workload.parent / "artifacts" / "similar" / "bert_int8")
    found, expected = vectors(model, TEXTS), vectors(sentence_encoder(), TEXTS)
    assert found.shape == (3, 32) and torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    assert (found * expected).sum(dim=1).min() > 0.99


@pytest.mark.parametrize("command", ["show", "card", "check", "verify"])
def test_other_commands_read_its_result(
    command: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    artifact = workload.parent / "artifacts" / "similar" / "bert_int8"
    assert read_by(command, result_of(workload), artifact, "sentence-similarity", "spearman")


@pytest.mark.parametrize("pooling", [("mean",), ("cls",), ("max",), ("weightedmean", "lasttoken")], ids="-".join)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_graph_contains_pooling_and_normalisation(pooling: tuple[str, ...], runtime: str) -> None:
    model = sentence_encoder(pooling=pooling)
    expected = vectors(model, TEXTS)
    graph = graph_of(bundle(model), runtime)
    assert [each["name"] for each in graph.signature()["outputs"]] == ["logits"]
    found = graph(**batch_of(TEXTS)).logits
    assert torch.allclose(found, expected, atol=1e-5 if runtime == "onnxruntime" else 2e-2)


@pytest.mark.parametrize("kind", ["Roberta", "DistilBert", "MPNet"])
def test_other_encoders_are_exported_with_equal_vectors(kind: str) -> None:
    model = sentence_encoder(kind)
    expected = vectors(model, TEXTS)
    graph = checked(bundle(model), "onnxruntime")
    assert torch.allclose(graph(**batch_of(TEXTS)).logits, expected, atol=1e-5)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_applies_to_an_encoder_and_its_artifact_reloads(step: str, tmp_path: Path) -> None:
    made = apply_step(bundle(sentence_encoder()), STEPS[step])
    expected = vectors(made.model, TEXTS)
    assert expected.shape == (3, 32) and torch.allclose(expected.norm(dim=1), torch.ones(3), atol=1e-5)
    artifact.save(made, tmp_path / "artifact")
    again, _, _ = artifact.load(tmp_path / "artifact")
    assert torch.equal(vectors(again, TEXTS), expected)


def test_a_student_learns_the_vectors_of_its_teacher() -> None:
    model = sentence_encoder()
    before = apply_step(bundle(copy.deepcopy(model)), Distill(keep=0.5, max_steps=1, learning_rate=1e-9)).model
    after = apply_step(bundle(copy.deepcopy(model)), Distill(keep=0.5, max_steps=40, learning_rate=2e-3)).model
    near, far = ((vectors(each, TEXTS) * vectors(model, TEXTS)).sum(dim=1).mean() for each in (after, before))
    assert near > far


def test_a_plain_artifact_is_a_folder_that_sentence_transformers_reads(tmp_path: Path) -> None:
    made = apply_step(bundle(sentence_encoder()), Prune(fraction=0.25, importance="magnitude"))
    artifact.save(made, tmp_path / "artifact")
    folder = tmp_path / "artifact"
    assert settings.of_folder(folder) == Settings(("mean",), True)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["BertModel"]
    plain = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        states = plain(**batch_of(TEXTS[:1])).last_hidden_state[0].mean(dim=0)
    assert torch.allclose(states / states.norm(), vectors(made.model, TEXTS)[0], atol=1e-5)


def test_padding_changes_no_vector(workload: Path) -> None:
    source = locate.resolve(Workload.load(workload))
    model, processor = loading.load_model(source)
    examples = loading.load_examples(source, "test", processor, model.config)
    check_padding(Bundle(model, processor, TASK.name, torch.device("cpu"), examples=lambda _: examples), "here")
    alone = torch.cat([vectors(model, [text]) for text in TEXTS])
    assert torch.allclose(alone, vectors(model, TEXTS), atol=1e-5)


REFUSED = {
    "llama.cpp": ("runtime", "llama.cpp", "causal language models only; the task is sentence-similarity"),
    "static cache": ("kv_cache", "static", "sentence-similarity"),
    "vocabulary": ("steps", "[{method: prune, structure: vocabulary}]", "expected a language model"),
    "accuracy": ("workload.metric", "accuracy", "accuracy"),
}


@pytest.mark.parametrize("kind", ["llama.cpp", "static cache", "vocabulary"])
def test_what_does_not_apply_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    refused(write_similar(tmp_path), *REFUSED[kind])


def test_a_metric_of_classes_is_refused(tmp_path: Path) -> None:
    done = compress("run", "bert_dense", "--workload", write_similar(tmp_path, metric="accuracy"), *QUICK, cwd=tmp_path)
    assert done.returncode == 2 and "metric accuracy" in done.stderr, done.stderr


def test_sensitivity_needs_labels() -> None:
    with pytest.raises(InputError, match="sensitivity: sentence-similarity has no loss by labels"):
        sensitivity.effects(bundle(sentence_encoder()), Quantize(bits=4, group_size=32))
