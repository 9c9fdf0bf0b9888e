"""A model of several labels from its workload to its card: metric, intervals, int8, steps and exports."""

import copy
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from compress import load
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.soundness import unsound_reference
from compress.base.bits import masks, unpacked
from compress.base.config import InputError
from compress.data.tasks import task_of
from compress.methods import apply_step
from compress.model.bundle import Bundle
from compress.records import files as result_files
from compress.records import trace
from compress.report.page.samples import Traces, flips
from compress.spec.steps import Distill, LowRank, Prune, Quantize, Step
from tests.helpers import QUICK, compress, tokenizer
from tests.scored import TOPICS, labelled, labeller, marked, trained, write
from tests.task_runs import bundled, graph_of, read_by

TASK = task_of("multi-label-classification")


@pytest.fixture(scope="module")
def model() -> Any:
    return trained(labeller(), marked, steps=80)


@pytest.fixture(scope="module")
def workload(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    return write(
        folder, TASK.name, model, [labelled(96, 1), labelled(80, 2, wrong=0.05)], metric="f1_macro", threshold=0.4
    )


@pytest.fixture(scope="module")
def finished(workload: Path) -> "subprocess.CompletedProcess[str]":
    runtime = ("--set", "runtime=onnxruntime")
    return compress("run", "bert_int8", "--workload", workload, *QUICK, *runtime, cwd=workload.parent)


def result_of(workload: Path) -> Path:
    (file,) = (workload.parent / "results" / "scored").glob("bert_int8-*.json")
    return file


def test_int8_is_judged_by_its_labels_at_the_threshold(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "onnxruntime" in finished.stdout
    assert "Judged by f1_macro" in finished.stdout and "on 80 test examples" in " ".join(finished.stdout.split())
    result = result_files.read(result_of(workload))
    accuracy = result.accuracy
    assert accuracy is not None and (accuracy.metric, accuracy.unit) == ("f1_macro", "points")
    assert accuracy.variant == "labels with a sigmoid over 0.4"
    assert 0.6 < accuracy.estimate.low < accuracy.estimate.value <= accuracy.estimate.high <= 1
    assert accuracy.delta is not None and accuracy.delta.low <= accuracy.delta.value <= accuracy.delta.high
    assert accuracy.flip_rate is not None and accuracy.batch_sensitivity is not None
    assert accuracy.mcnemar_p is None and "labels of an example are counted" in accuracy.reasons["mcnemar_p"]


def test_its_figures_are_those_of_the_sets_in_the_trace(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    file = result_of(workload)
    done = compress("verify", file, cwd=workload.parent)
    assert done.returncode == 0 and "0 differ from the trace" in done.stdout, done.stdout
    result = result_files.read(file)
    session = trace.read(trace.located(file, result.traces[0]))
    found = next(runner.outcomes for runner in session.runners if runner.name.startswith("bert_int8"))
    gold, predicted = (unpacked(np.array([found[f"{name}_0"]]).T, 3) for name in ("gold", "predicted"))
    expected = [[name in names for name in TOPICS] for names in labelled(80, 2, wrong=0.05)["label"]]
    assert gold.tolist() == expected
    assert result.accuracy is not None
    assert result.accuracy.estimate.value == pytest.approx(f1_score(gold, predicted, average="macro"), abs=1e-12)
    opened = Traces(workload.parent / "results").session(result.session)
    assert opened is not None and "80 examples" in flips(opened, result, "fp32 eager")["sentence"]


@pytest.mark.parametrize("command", ["show", "pareto", "check", "card"])
def test_other_commands_read_its_result(
    command: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    artifact = workload.parent / "artifacts" / "scored" / "bert_int8-runtime-onnxruntime"
    assert "f1_macro" in read_by(command, result_of(workload), artifact, "text-classification", "f1_macro")


def test_the_artifact_gives_logits_and_no_probabilities(
    finished: "subprocess.CompletedProcess[str]", workload: Path, model: Any
) -> None:
    assert finished.returncode == 0, finished.stderr
    made, processor = load(workload.parent / "artifacts" / "scored" / "bert_int8-runtime-onnxruntime")
    batch = processor(labelled(8, 9)["text"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits, expected = made(**batch).logits, model(**batch).logits
    assert logits.shape == expected.shape == (8, 3) and logits.min() < 0
    assert (logits - expected).abs().max() < 0.3 * expected.std()


def bundle(model: Any) -> Bundle:
    return bundled(model, TASK, labelled(48, 7))


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_graph_gives_equal_logits(kind: str, runtime: str) -> None:
    model = labeller(kind)
    graph = graph_of(bundle(model), runtime)
    batch = dict(tokenizer()(labelled(5, 3)["text"], padding=True, return_tensors="pt"))
    batch = {name: value for name, value in batch.items() if name in graph.inputs}
    with torch.no_grad():
        expected = model(**batch).logits
    assert torch.allclose(graph(**batch).logits, expected, atol=1e-5 if runtime == "onnxruntime" else 2e-2)


STEPS: dict[str, Step] = {
    "int4": Quantize(bits=4, group_size=32),
    "feed-forward": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "low rank": LowRank(rank=12, weighting="fisher"),
    "student": Distill(keep=0.5, hidden_weight=1.0, max_steps=3, batch_size=8),
    "remembered": Distill(max_steps=12, batch_size=16),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_applies(step: str, model: Any) -> None:
    made = apply_step(bundle(copy.deepcopy(model)), STEPS[step]).model
    with torch.no_grad():
        logits = made(**tokenizer()(["the film was good"], return_tensors="pt")).logits
    assert logits.shape == (1, 3) and logits.isfinite().all()


def test_a_divergence_of_classes_is_refused() -> None:
    with pytest.raises(InputError, match="divergence reverse: outputs of multi-label-classification are not prob"):
        apply_step(bundle(labeller()), Distill(divergence="reverse", max_steps=1))


def evaluation(gold: Any, predicted: Any, scores: Any = None) -> Evaluation:
    size = gold.shape[1]

    def numbers(sets: Any) -> list[float]:
        return [masks(np.flatnonzero(row).tolist(), size)[0] for row in sets]

    columns: dict[str, list[float]] = {
        "tp": (gold & predicted).sum(1).astype(float).tolist(),
        "predicted": predicted.sum(1).astype(float).tolist(),
        "gold": gold.sum(1).astype(float).tolist(),
        "labels": [float(size)] * len(gold),
        "answer": numbers(predicted),
        "predicted_0": numbers(predicted),
        "gold_0": numbers(gold),
    }
    scores = np.where(predicted, 1.0, -1.0) if scores is None else scores
    columns |= {f"score_{label}": scores[:, label].tolist() for label in range(size)}
    return Evaluation(columns, True, 32, outputs=size)


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "average_precision"])
def test_a_model_that_has_learned_nothing_is_no_reference(metric: str) -> None:
    draw = np.random.default_rng(0)
    gold, random = draw.random((120, 4)) < 0.3, draw.random((120, 4)) < 0.3
    sound, unsound = (summarise(evaluation(gold, each), metric, None, None, 0) for each in (gold, random))
    assert unsound_reference(sound, "fp32 eager") is None
    assert "fp32 eager is not measurably better than chance" in str(unsound_reference(unsound, "fp32 eager"))
    one = evaluation(np.eye(4, dtype=bool)[:4], np.eye(4, dtype=bool)[:4])
    few = summarise(one, metric, None, None, 0)
    assert "only 3 of 4 examples have other labels than the most frequent ones" in str(unsound_reference(few, "x"))


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "average_precision"])
def test_differences_are_paired_over_examples(metric: str) -> None:
    draw = np.random.default_rng(2)
    gold = draw.random((300, 4)) < 0.3
    scores = np.where(gold, 1.0, -1.0) + draw.normal(0, 1, gold.shape)
    base = evaluation(gold, scores > 0, scores)
    moved = scores + draw.normal(0, 0.1, gold.shape)
    found = summarise(evaluation(gold, moved > 0, moved), metric, base, "fp32 eager", 0)
    assert found.delta is not None and found.delta.low <= 0 <= found.delta.high
    assert found.delta.high - found.delta.low < (found.estimate.high - found.estimate.low) / 1.5
    same = summarise(base, metric, base, "fp32 eager", 0)
    assert same.delta is not None and (same.delta.low, same.delta.high) == (0, 0) and same.flip_rate == 0


@pytest.mark.parametrize(
    "change", [{"gold_0": 0.5}, {"predicted_0": -1.0}, {"labels": 60.0}, {"labels": 0.0}, {"tp": 9.0}], ids=str
)
def test_sets_of_a_trace_are_checked(
    change: dict[str, float], finished: "subprocess.CompletedProcess[str]", workload: Path, tmp_path: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    result = result_files.read(result_of(workload))
    session = trace.read(trace.located(result_of(workload), result.traces[0]))
    first, *others = session.runners
    columns = {**first.outcomes, **{name: [value] * 80 for name, value in change.items()}}
    trace.write(tmp_path / "a", replace(session, runners=(replace(first, outcomes=columns), *others)))
    with pytest.raises(InputError, match=r"has counts below 0|has sets of labels that do not fit"):
        trace.read(tmp_path / "a")
