"""A model of scores from its workload to its card: metric, intervals, int8, steps, exports and refusals."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from compress import load
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.soundness import unsound_reference
from compress.data.tasks import task_of
from compress.methods import apply_step
from compress.model.bundle import Bundle
from compress.records import files as result_files
from compress.records import trace
from compress.report.page.samples import Traces, flips
from compress.spec.steps import Distill, LowRank, Prune, Quantize, Step
from tests.helpers import QUICK, compress, tokenizer
from tests.scored import encoder, graded, trained, write
from tests.task_runs import bundled, graph_of, read_by, refused

TASK = task_of("text-regression")


@pytest.fixture(scope="module")
def model() -> Any:
    return trained(encoder(), graded)


@pytest.fixture(scope="module")
def workload(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scores")
    return write(folder, TASK.name, model, [graded(96, 1), graded(60, 2)])


@pytest.fixture(scope="module")
def finished(workload: Path) -> "subprocess.CompletedProcess[str]":
    runtime = ("--set", "runtime=onnxruntime")
    return compress("run", "bert_int8", "--workload", workload, *QUICK, *runtime, cwd=workload.parent)


def result_of(workload: Path) -> Path:
    (file,) = (workload.parent / "results" / "scored").glob("bert_int8-*.json")
    return file


def test_int8_is_judged_by_the_correlation_of_its_scores(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "onnxruntime" in finished.stdout
    assert "Judged by spearman on 60 test examples; a random score gives 0.000" in " ".join(finished.stdout.split())
    result = result_files.read(result_of(workload))
    accuracy = result.accuracy
    assert accuracy is not None and (accuracy.metric, accuracy.unit) == ("spearman", "points")
    assert 0.5 < accuracy.estimate.low < accuracy.estimate.value < accuracy.estimate.high <= 1
    assert accuracy.delta is not None and accuracy.delta.low <= accuracy.delta.value <= accuracy.delta.high
    assert accuracy.flip_rate is None and accuracy.mcnemar_p is None
    assert "compared as numbers" in accuracy.reasons["flip_rate"] == accuracy.reasons["mcnemar_p"]
    assert result.kernel is not None and result.kernel.label == "real"


def test_its_figures_are_those_of_the_scores_in_the_trace(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    file = result_of(workload)
    done = compress("verify", file, cwd=workload.parent)
    assert done.returncode == 0 and "0 differ from the trace" in done.stdout, done.stdout
    result = result_files.read(file)
    session = trace.read(trace.located(file, result.traces[0]))
    found = next(runner.outcomes for runner in session.runners if runner.name.startswith("bert_int8"))
    assert result.accuracy is not None and found["reference"] == graded(60, 2)["label"]
    expected = stats.spearmanr(found["score"], found["reference"])[0]
    assert result.accuracy.estimate.value == pytest.approx(expected, abs=1e-12)
    opened = Traces(workload.parent / "results").session(result.session)
    assert opened is not None
    moved = flips(opened, result, "fp32 eager")
    assert moved["n"] == 60 and moved["rows"] and moved["rows"][0][1]  # with its text


@pytest.mark.parametrize("command", ["show", "pareto", "check", "card"])
def test_other_commands_read_its_result(
    command: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    artifact = workload.parent / "artifacts" / "scored" / "bert_int8-runtime-onnxruntime"
    assert "spearman" in read_by(command, result_of(workload), artifact, "text-classification", "spearman", "30pt")


def test_the_artifact_gives_the_scores_of_the_model(
    finished: "subprocess.CompletedProcess[str]", workload: Path, model: Any
) -> None:
    assert finished.returncode == 0, finished.stderr
    made, processor = load(workload.parent / "artifacts" / "scored" / "bert_int8-runtime-onnxruntime")
    batch = processor(graded(8, 9)["text"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits, expected = made(**batch).logits, model(**batch).logits
    assert logits.shape == expected.shape == (8, 1)
    assert (logits - expected).abs().max() < 0.2 * expected.std()


def bundle(model: Any) -> Bundle:
    return bundled(model, TASK, graded(48, 7))


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_graph_gives_equal_scores(kind: str, runtime: str) -> None:
    model = encoder(kind=kind)
    graph = graph_of(bundle(model), runtime)
    batch = dict(tokenizer()(graded(5, 3)["text"], padding=True, return_tensors="pt"))
    batch = {name: value for name, value in batch.items() if name in graph.inputs}
    with torch.no_grad():
        expected = model(**batch).logits
    found = graph(**batch).logits
    assert found.shape == (5, 1)
    assert torch.allclose(found, expected, atol=1e-5 if runtime == "onnxruntime" else 2e-2)


STEPS: dict[str, Step] = {
    "int4": Quantize(bits=4, group_size=32),
    "feed-forward": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "heads": Prune(structure="heads", fraction=0.25, importance="obd"),
    "low rank": LowRank(rank=12, weighting="fisher"),
    "student": Distill(keep=0.5, hidden_weight=1.0, max_steps=3, batch_size=8),
    "remembered": Distill(max_steps=12, batch_size=16),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_applies(step: str, model: Any) -> None:
    made = apply_step(bundle(copy.deepcopy(model)), STEPS[step]).model
    with torch.no_grad():
        logits = made(**tokenizer()(["the film was good"], return_tensors="pt")).logits
    assert logits.shape == (1, 1) and logits.isfinite().all()


REFUSED = {
    "llama.cpp": ("runtime", "llama.cpp", "causal language models only; the task is text-regression"),
    "static cache": ("kv_cache", "static", "text-regression"),
    "vocabulary": ("steps", "[{method: prune, structure: vocabulary}]", "expected a language model"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_apply_is_refused_with_the_reason(kind: str, workload: Path) -> None:
    refused(workload, *REFUSED[kind])


def evaluation(score: Any, reference: Any) -> Evaluation:
    return Evaluation({"score": list(score), "reference": list(reference)}, True, 32, outputs=1)


@pytest.mark.parametrize("metric", ["spearman", "pearson", "mse"])
def test_a_model_that_has_learned_nothing_is_no_reference(metric: str) -> None:
    draw = np.random.default_rng(0)
    reference = draw.normal(3, 1, 80)
    good, bad = (evaluation(score, reference) for score in (reference + 0.3, draw.normal(3, 1, 80)))
    sound, unsound = (summarise(each, metric, None, None, 0) for each in (good, bad))
    assert unsound_reference(sound, "fp32 eager") is None
    assert "fp32 eager is not measurably better than chance" in str(unsound_reference(unsound, "fp32 eager"))
    chance = float(reference.var()) if metric == "mse" else 0.0
    assert sound.chance == pytest.approx(chance, rel=1e-9) and sound.over_chance is not None
    assert sound.over_chance.value == pytest.approx(0.09 / chance - 1 if metric == "mse" else 1)
    few = summarise(evaluation(reference[:4] + 0.01, reference[:4]), metric, None, None, 0)
    assert "only 3 of 4 examples have another than the most frequent score" in str(unsound_reference(few, "x"))


def test_equal_scores_have_no_value_and_the_reason_is_stated() -> None:
    reference = [1.0, 2.0, 3.0, 4.0]
    base, same = evaluation(reference, reference), evaluation([2.0] * 4, reference)
    found = summarise(same, "spearman", base, "fp32 eager", 0)
    assert not found.known and found.delta is None
    assert found.reasons["estimate"].endswith("undefined (nan) on this test split: the model gives every example the "
                                              "same score")  # fmt: skip


def test_differences_of_scores_are_paired_over_examples() -> None:
    draw = np.random.default_rng(1)
    reference = draw.normal(0, 1, 400)
    base = evaluation(reference + draw.normal(0, 1, 400), reference)
    ours = evaluation(np.array(base.outcomes["score"]) + draw.normal(0, 0.1, 400), reference)
    found = summarise(ours, "spearman", base, "fp32 eager", 0)
    assert found.delta is not None
    alone, paired = (each.high - each.low for each in (found.estimate, found.delta))
    assert paired < alone / 3
    smaller = summarise(evaluation(0.5 * np.array(base.outcomes["score"]), reference), "mse", base, "fp32 eager", 0)
    assert smaller.delta is not None and smaller.delta.high < 0 and smaller.unit == "percent"
