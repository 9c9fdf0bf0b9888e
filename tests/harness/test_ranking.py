"""A model that ranks texts from its workload to its card: figures of queries, int8, steps and exports."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from compress import load
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.soundness import unsound_reference
from compress.data.tasks import task_of
from compress.data.tasks.ranks import ndcg, reciprocal_rank
from compress.methods import apply_step
from compress.model.bundle import Bundle
from compress.records import files as result_files
from compress.report.page.samples import Traces, flips
from compress.spec.steps import Distill, LowRank, Prune, Quantize, Step
from tests.helpers import QUICK, compress, tokenizer
from tests.scored import encoder, pairs, searched, trained, write
from tests.task_runs import bundled, graph_of, read_by

TASK = task_of("text-ranking")


@pytest.fixture(scope="module")
def model() -> Any:
    return trained(encoder(), pairs)


@pytest.fixture(scope="module")
def workload(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    columns = {"text": "query", "grades": "grades"}
    folder = tmp_path_factory.mktemp("ranking")
    return write(folder, TASK.name, model, [searched(60, 1), searched(60, 2)], dataset=columns)


@pytest.fixture(scope="module")
def finished(workload: Path) -> "subprocess.CompletedProcess[str]":
    runtime = ("--set", "runtime=onnxruntime")
    return compress("run", "bert_int8", "--workload", workload, *QUICK, *runtime, cwd=workload.parent)


def result_of(workload: Path) -> Path:
    (file,) = (workload.parent / "results" / "scored").glob("bert_int8-*.json")
    return file


def test_int8_is_judged_by_the_order_of_each_querys_texts(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "onnxruntime" in finished.stdout
    printed = " ".join(finished.stdout.split())
    assert "Judged by ndcg_at_10 on 60 test examples; a random order gives 0." in printed
    result = result_files.read(result_of(workload))
    accuracy = result.accuracy
    assert accuracy is not None and (accuracy.metric, accuracy.unit) == ("ndcg_at_10", "points")
    assert accuracy.chance is not None and accuracy.chance < accuracy.estimate.low
    assert accuracy.estimate.n == 60  # queries, not pairs
    assert accuracy.delta is not None and accuracy.delta.low <= accuracy.delta.value <= accuracy.delta.high
    assert accuracy.flip_rate is not None
    assert accuracy.mcnemar_p is None and "order of texts" in accuracy.reasons["mcnemar_p"]
    assert (result.points[0].batch_size, result.points[0].sequence_length) == (4, 16)


def test_its_figures_are_those_of_the_stored_model(
    finished: "subprocess.CompletedProcess[str]", workload: Path, model: Any
) -> None:
    assert finished.returncode == 0, finished.stderr
    file = result_of(workload)
    done = compress("verify", file, cwd=workload.parent)
    assert done.returncode == 0 and "0 differ from the trace" in done.stdout, done.stdout
    result = result_files.read(file)
    fp32 = next(reference for reference in result.references if reference.name == "fp32 eager")
    data, found, processor = searched(60, 2), [], tokenizer()
    for query, good, bad, grades in zip(*data.values(), strict=True):
        batch = processor([query] * (len(good) + len(bad)), good + bad, padding=True, return_tensors="pt")
        with torch.no_grad():
            scores = model(**batch).logits[:, 0].double().numpy()
        found.append(ndcg_score([grades + [0] * len(bad)], [scores], k=10))
    assert fp32.accuracy is not None
    assert fp32.accuracy.estimate.value == pytest.approx(float(np.mean(found)), abs=1e-6)
    opened = Traces(workload.parent / "results").session(result.session)
    assert opened is not None and flips(opened, result, "fp32 eager")["n"] == 60


@pytest.mark.parametrize("command", ["show", "pareto", "check", "card"])
def test_other_commands_read_its_result(
    command: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    artifact = workload.parent / "artifacts" / "scored" / "bert_int8-runtime-onnxruntime"
    assert "ndcg_at_10" in read_by(command, result_of(workload), artifact, "text-ranking", "ndcg_at_10")


def test_the_artifact_gives_a_score_for_each_pair(
    finished: "subprocess.CompletedProcess[str]", workload: Path, model: Any
) -> None:
    assert finished.returncode == 0, finished.stderr
    made, processor = load(workload.parent / "artifacts" / "scored" / "bert_int8-runtime-onnxruntime")
    some = pairs(4, 9)
    batch = processor(some["text"], some["text_pair"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits, expected = made(**batch).logits, model(**batch).logits
    assert logits.shape == expected.shape == (len(some["text"]), 1)
    assert np.corrcoef(logits[:, 0], expected[:, 0])[0, 1] > 0.95


def bundle(model: Any) -> Bundle:
    rows = searched(24, 7)
    return bundled(model, TASK, {"text": rows.pop("query"), **rows})


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_graph_gives_equal_scores(kind: str, runtime: str) -> None:
    model = encoder(kind=kind)
    graph = graph_of(bundle(model), runtime)
    some = pairs(3, 3)
    batch = dict(tokenizer()(some["text"], some["text_pair"], padding=True, return_tensors="pt"))
    batch = {name: value for name, value in batch.items() if name in graph.inputs}
    with torch.no_grad():
        expected = model(**batch).logits
    assert torch.allclose(graph(**batch).logits, expected, atol=1e-5 if runtime == "onnxruntime" else 2e-2)


STEPS: dict[str, Step] = {
    "int4": Quantize(bits=4, group_size=32),
    "feed-forward": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "low rank": LowRank(rank=12, weighting="fisher"),
    "student": Distill(keep=0.5, hidden_weight=1.0, max_steps=3, batch_size=8),
    "remembered": Distill(max_steps=24, batch_size=16),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_applies(step: str, model: Any) -> None:
    made = apply_step(bundle(copy.deepcopy(model)), STEPS[step]).model
    with torch.no_grad():
        logits = made(**tokenizer()(["good"], ["the film was good"], return_tensors="pt")).logits
    assert logits.shape == (1, 1) and logits.isfinite().all()


def evaluation(scores: Any) -> Evaluation:
    grades, equal = [1.0, 0.0, 0.0, 0.0], [0.0] * 4
    columns = {
        "reciprocal_rank": [reciprocal_rank(grades, each) for each in scores],
        "ndcg_at_10": [ndcg(grades, each) for each in scores],
        "random_reciprocal_rank": [reciprocal_rank(grades, equal)] * len(scores),
        "random_ndcg_at_10": [ndcg(grades, equal)] * len(scores),
        "answer": [float(np.argmax(each)) for each in scores],
    }
    return Evaluation(columns, True, 32, outputs=1)


@pytest.mark.parametrize("metric", ["mrr", "ndcg_at_10"])
def test_a_model_that_has_learned_nothing_is_no_reference(metric: str) -> None:
    draw = np.random.default_rng(0)
    good = draw.normal(0, 1, (80, 4)) + np.array([2, 0, 0, 0])
    sound, random, equal = (
        summarise(evaluation(each), metric, None, None, 0)
        for each in (good, draw.normal(0, 1, (80, 4)), np.zeros((80, 4)))
    )
    assert unsound_reference(sound, "fp32 eager") is None
    for unsound in (random, equal):
        assert "fp32 eager is not measurably better than chance" in str(unsound_reference(unsound, "fp32 eager"))
    assert equal.chance == pytest.approx(equal.estimate.value)
    few = summarise(evaluation([[4.0, 3, 2, 1], [3, 4, 2, 1], [9, 1, 1, 1]]), metric, None, None, 0)
    assert "only 3 of 3 examples have a wrong order of their texts" in str(unsound_reference(few, "x"))


@pytest.mark.parametrize("metric", ["mrr", "ndcg_at_10"])
def test_differences_are_paired_over_queries(metric: str) -> None:
    draw = np.random.default_rng(1)
    scores = draw.normal(0, 1, (300, 4)) + np.array([1, 0, 0, 0])
    base = evaluation(scores)
    found = summarise(evaluation(scores + draw.normal(0, 0.1, scores.shape)), metric, base, "fp32 eager", 0)
    assert found.delta is not None and found.delta.low <= 0 <= found.delta.high
    assert found.delta.high - found.delta.low < (found.estimate.high - found.estimate.low) / 1.5
