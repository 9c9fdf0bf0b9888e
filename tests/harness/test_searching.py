"""A search from its three tables to its card: figures of queries, int8, exports, steps and refusals."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from sklearn.metrics import ndcg_score

from compress import load
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.soundness import unsound_reference
from compress.base.config import InputError
from compress.data.sentences import settings
from compress.data.tasks import retrieval, task_of
from compress.harness import sensitivity
from compress.methods import apply_step
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.records import files as result_files
from compress.records import trace
from compress.report.page.samples import Traces, flips
from compress.spec.steps import Distill, Prune, Quantize
from tests.helpers import QUICK, compress
from tests.similar import QRELS, STEPS, batch_of, pairs, searches, sentence_encoder, vectors, write_search
from tests.task_runs import bundled, graph_of, refused

TASK = task_of("retrieval")
QUERIES = 40
TEXTS = ["the film was good", "a story", "it felt cold and the end was quite dull"]
PROMPTS = {"query_prompt": "the ", "document_prompt": "a "}
EVERY_POINT = ("--set", "measure.points=all")
BOTH = ("bert_int8", "openvino_int8")


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    points = [{"batch_size": 8, "sequence_length": 16}]
    tables = searches(QUERIES, 2)
    return write_search(tmp_path_factory.mktemp("search"), **tables, dataset={"train": "corpus"}, points=points)


@pytest.fixture(scope="module")
def finished(workload: Path) -> "dict[str, subprocess.CompletedProcess[str]]":
    """A run under onnxruntime and one under OpenVINO."""
    runtimes = {"bert_int8": ("--set", "runtime=onnxruntime"), "openvino_int8": ()}
    return {
        recipe: compress("run", recipe, "--workload", workload, *QUICK, *EVERY_POINT, *more, cwd=workload.parent)
        for recipe, more in runtimes.items()
    }


def result_of(workload: Path, recipe: str = "bert_int8") -> Path:
    (file,) = (workload.parent / "results" / "search").glob(f"{recipe}-*.json")
    return file


@pytest.mark.parametrize("recipe", BOTH)
def test_int8_is_judged_by_the_order_of_the_corpus(
    recipe: str, finished: "dict[str, subprocess.CompletedProcess[str]]", workload: Path
) -> None:
    done = finished[recipe]
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.split())
    assert f"{QUERIES} queries, {3 * QUERIES} texts" in printed
    assert f"Judged by ndcg_at_10 on {QUERIES} test examples; a random order gives 0.0" in printed
    result = result_files.read(result_of(workload, recipe))
    accuracy = result.accuracy
    assert accuracy is not None and (accuracy.metric, accuracy.unit) == ("ndcg_at_10", "points")
    assert accuracy.estimate.n == QUERIES and accuracy.chance is not None
    assert accuracy.chance < accuracy.estimate.low < accuracy.estimate.value < accuracy.estimate.high <= 1
    assert accuracy.delta is not None and accuracy.delta.low <= accuracy.delta.value <= accuracy.delta.high
    assert abs(accuracy.delta.value) < 0.1 and accuracy.flip_rate is not None
    assert accuracy.mcnemar_p is None and "order of texts" in accuracy.reasons["mcnemar_p"]
    assert {(1, 16), (8, 16)} <= {(point.batch_size, point.sequence_length) for point in result.points}


def test_its_figures_are_those_of_the_stored_model(
    finished: "dict[str, subprocess.CompletedProcess[str]]", workload: Path
) -> None:
    assert finished["bert_int8"].returncode == 0, finished["bert_int8"].stderr
    file = result_of(workload)
    done = compress("verify", file, cwd=workload.parent)
    assert done.returncode == 0 and "0 differ from the trace" in done.stdout, done.stdout
    tables, model = searches(QUERIES, 2), sentence_encoder(**PROMPTS)
    queries, corpus = (vectors(model, tables[name]["text"]).double().numpy() for name in ("queries", "corpus"))
    similar = queries @ corpus.T
    grades = np.zeros_like(similar)
    places = {text: row for row, text in enumerate(tables["corpus"]["_id"])}
    for query, text, grade in zip(*tables["qrels"].values(), strict=True):
        grades[tables["queries"]["_id"].index(query), places[text]] = grade
    session = trace.read(trace.located(file, result_files.read(file).traces[0]))
    found = next(runner.outcomes for runner in session.runners if runner.name == "fp32 eager")
    assert np.mean(found["ndcg_at_10"]) == pytest.approx(ndcg_score(grades, similar, k=10), abs=1e-6)
    assert list(found["answer"]) == similar.argmax(axis=1).tolist()
    first = np.argsort(-similar, axis=1)[:, :10]
    relevant = np.take_along_axis(grades, first, axis=1) > 0
    assert np.mean(found["recall_at_10"]) == pytest.approx(relevant.sum() / (2 * QUERIES))


@pytest.mark.parametrize("recipe", BOTH)
@pytest.mark.parametrize("command", ["show", "pareto", "check", "card", "verify"])
def test_other_commands_read_its_result(
    command: str, recipe: str, finished: "dict[str, subprocess.CompletedProcess[str]]", workload: Path
) -> None:
    assert finished[recipe].returncode == 0, finished[recipe].stderr
    folder, file = workload.parent, result_of(workload, recipe)
    limits = ("--baseline", "results", "--max-loss", "15pt")
    arguments: list[Any] = {"pareto": ["results"], "check": [file, *limits]}.get(command, [file])
    done = compress(command, *arguments, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    if command == "card":
        name = "bert_int8-runtime-onnxruntime" if recipe == "bert_int8" else recipe
        data = ModelCard.load(folder / "artifacts" / "search" / name / "README.md").data
        assert (data.pipeline_tag, data.eval_results[0].metric_type) == ("sentence-similarity", "ndcg_at_10")
    elif command in ("show", "check"):
        assert "ndcg_at_10" in done.stdout
    elif command == "pareto":
        assert "ndcg_at_10" in (folder / "results" / "pareto.md").read_text()


def test_the_page_lists_queries_with_another_order(
    finished: "dict[str, subprocess.CompletedProcess[str]]", workload: Path
) -> None:
    assert finished["openvino_int8"].returncode == 0, finished["openvino_int8"].stderr
    result = result_files.read(result_of(workload, "openvino_int8"))
    opened = Traces(workload.parent / "results").session(result.session)
    assert opened is not None
    page = flips(opened, result, "fp32 eager")
    assert page["n"] == QUERIES and f"Of {QUERIES} queries, " in page["sentence"] and page["texts"] is None
    texts = searches(QUERIES, 2)["queries"]["text"]
    assert page["rows"] and all(texts[row[0]] == row[1] for row in page["rows"])


@pytest.mark.parametrize("recipe", BOTH)
def test_its_artifact_gives_vectors_of_length_1(
    recipe: str, finished: "dict[str, subprocess.CompletedProcess[str]]", workload: Path
) -> None:
    assert finished[recipe].returncode == 0, finished[recipe].stderr
    name = "bert_int8-runtime-onnxruntime" if recipe == "bert_int8" else recipe
    made, _ = load(workload.parent / "artifacts" / "search" / name)
    found, expected = vectors(made, TEXTS), vectors(sentence_encoder(**PROMPTS), TEXTS)
    assert found.shape == (3, 32) and torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-5)
    assert (found * expected).sum(dim=1).min() > 0.98


@pytest.mark.parametrize("metric", ["mrr", "recall_at_10", "recall_at_100"])
def test_other_figures_of_queries_are_metrics_too(metric: str, tmp_path: Path) -> None:
    path = write_search(tmp_path, **searches(QUERIES, 2), metric=metric)
    done = compress("run", "bert_dense", "--workload", path, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = result_files.read(result_of(path, "bert_dense"))
    assert result.accuracy is not None and (result.accuracy.metric, result.accuracy.unit) == (metric, "points")
    opened = Traces(tmp_path / "results").session(result.session)
    assert opened is not None and flips(opened, result, "fp32 eager")["n"] == QUERIES


def bundle(model: Any) -> Bundle:
    return bundled(model, TASK, {"text": pairs(24, 7)["text"]})


@pytest.mark.parametrize("pooling", [("mean",), ("cls",)], ids="-".join)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_graph_gives_equal_vectors(pooling: tuple[str, ...], runtime: str) -> None:
    model = sentence_encoder(pooling=pooling, **PROMPTS)
    expected = vectors(model, TEXTS)
    graph = graph_of(bundle(model), runtime)
    found = graph(**batch_of(TEXTS)).logits
    assert torch.allclose(found, expected, atol=1e-5 if runtime == "onnxruntime" else 2e-2)
    assert torch.allclose(found.norm(dim=1), torch.ones(3), atol=1e-3)


@pytest.mark.parametrize("step", STEPS)
def test_every_step_applies_and_its_artifact_reloads(step: str, tmp_path: Path) -> None:
    made = apply_step(bundle(sentence_encoder(**PROMPTS)), STEPS[step])
    expected = vectors(made.model, TEXTS)
    assert expected.shape == (3, 32) and torch.allclose(expected.norm(dim=1), torch.ones(3), atol=1e-5)
    artifact.save(made, tmp_path / "artifact")
    again, _, _ = artifact.load(tmp_path / "artifact")
    assert torch.equal(vectors(again, TEXTS), expected)


def test_a_plain_artifact_keeps_the_prompts_of_queries_and_texts(tmp_path: Path) -> None:
    made = apply_step(bundle(sentence_encoder(**PROMPTS)), Prune(fraction=0.25, importance="magnitude"))
    artifact.save(made, tmp_path / "artifact")
    found = settings.of_folder(tmp_path / "artifact")
    assert found == settings.Settings(("mean",), True, query_prompt="the ", document_prompt="a ")


def test_a_student_learns_the_vectors_of_its_teacher() -> None:
    model = sentence_encoder(**PROMPTS)
    before, after = (
        apply_step(bundle(copy.deepcopy(model)), Distill(keep=0.5, max_steps=steps, learning_rate=rate)).model
        for steps, rate in ((1, 1e-9), (40, 2e-3))
    )
    near, far = ((vectors(each, TEXTS) * vectors(model, TEXTS)).sum(dim=1).mean() for each in (after, before))
    assert near > far
    assert TASK.soft_loss is not None
    ours, theirs = vectors(before, TEXTS), vectors(model, TEXTS)
    assert float(TASK.soft_loss(ours, theirs, 2.0)) == pytest.approx(1 - float(far), abs=1e-6)


REFUSED = {
    "llama.cpp": ("runtime", "llama.cpp", "causal language models only; the task is retrieval"),
    "static cache": ("kv_cache", "static", "retrieval"),
    "vocabulary": ("steps", "[{method: prune, structure: vocabulary}]", "expected a language model"),
    "no train split": ("steps", "[{method: distill, keep: 0.5}]", "the workload names no train split"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_apply_is_refused_with_the_reason(kind: str, tmp_path: Path) -> None:
    refused(write_search(tmp_path), *REFUSED[kind])


def test_a_metric_of_pairs_is_refused(tmp_path: Path) -> None:
    done = compress("run", "bert_dense", "--workload", write_search(tmp_path, metric="spearman"), *QUICK, cwd=tmp_path)
    assert done.returncode == 2 and "metric spearman" in done.stderr, done.stderr


def test_a_bad_judgement_ends_a_run_with_its_row(tmp_path: Path) -> None:
    path = write_search(tmp_path, qrels={**QRELS, "corpus-id": ["d1", "d2", "d9"]})
    done = compress("run", "bert_dense", "--workload", path, *QUICK, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: search test split: qrels.parquet row 2: its text 'd9' is not in corpus.parquet" in done.stderr


def test_sensitivity_needs_labels() -> None:
    with pytest.raises(InputError, match="sensitivity: retrieval has no loss by labels"):
        sensitivity.effects(bundle(sentence_encoder(**PROMPTS)), Quantize(bits=4, group_size=32))


def evaluation(similar: Any) -> Evaluation:
    grades = np.array([2.0, 1.0] + [0.0] * 28)
    found = [retrieval.figures(grades, each) for each in similar]
    return Evaluation({name: [each[name] for each in found] for name in found[0]}, True, 32, outputs=32)


@pytest.mark.parametrize("metric", ["ndcg_at_10", "mrr", "recall_at_10"])
def test_a_model_that_has_learned_nothing_is_no_reference(metric: str) -> None:
    draw = np.random.default_rng(0)
    good = draw.normal(0, 1, (80, 30)) + np.array([2, 1] + [0] * 28)
    sound, random, equal = (
        summarise(evaluation(each), metric, None, None, 0)
        for each in (good, draw.normal(0, 1, (80, 30)), np.zeros((80, 30)))
    )
    assert unsound_reference(sound, "fp32 eager") is None
    for unsound in (random, equal):
        assert "fp32 eager is not measurably better than chance" in str(unsound_reference(unsound, "fp32 eager"))
    assert equal.chance == pytest.approx(equal.estimate.value)
