"""Questions from a workload to a card: metric, intervals, int8, steps and refusals."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from compress import load
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.soundness import unsound_reference
from compress.data import live
from compress.data.tasks import task_of
from compress.methods import apply_step
from compress.methods.calibrate import loss_of
from compress.methods.distill import soft_loss
from compress.model.bundle import Bundle, linear_layers
from compress.model.outputs import logits_of
from compress.records import files as result_files
from compress.report.page.answered import changed_answers
from compress.spec.steps import Distill, Layers, LowRank, Prune, Quantize, Step
from tests.asked import questions, reader, tokenizer, trained_reader, write_asked
from tests.helpers import QUICK, compress
from tests.task_runs import graph_of, read_by, refused, verified

TASK = task_of("question-answering")


@pytest.fixture(scope="module")
def trained() -> Any:
    return trained_reader()


@pytest.fixture(scope="module")
def workload(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_asked(tmp_path_factory.mktemp("asked"), trained)


@pytest.fixture(scope="module")
def finished(workload: Path) -> "subprocess.CompletedProcess[str]":
    return compress("run", "bert_int8", "--workload", workload, *QUICK, cwd=workload.parent)


def result_of(workload: Path) -> Path:
    (file,) = (workload.parent / "results" / "asked").glob("bert_int8-*.json")
    return file


def test_int8_is_judged_by_the_answers_of_questions(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "Judged by f1" in finished.stdout and "on 60 test examples" in " ".join(finished.stdout.split())
    result = result_files.read(result_of(workload))
    accuracy = result.accuracy
    assert accuracy is not None and accuracy.metric == "f1" and accuracy.unit == "points"
    assert accuracy.variant == "answers of at most 30 tokens in windows of 32 that share 10"
    assert 0.4 < accuracy.estimate.low < accuracy.estimate.value < accuracy.estimate.high <= 1
    assert accuracy.delta is not None and accuracy.delta.low <= accuracy.delta.value <= accuracy.delta.high
    assert accuracy.flip_rate is not None and accuracy.batch_sensitivity is not None
    assert accuracy.mcnemar_p is None and "overlap" in accuracy.reasons["mcnemar_p"]
    assert result.kernel is not None and result.kernel.label == "real"
    assert any("windows per question" in note for note in result.notes)
    assert (result.points[0].batch_size, result.points[0].sequence_length) == (4, 16)


def test_its_figures_are_the_means_of_the_scores_in_the_trace(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    result, scores = verified(result_of(workload), "bert_int8")
    assert result.accuracy is not None
    assert result.accuracy.estimate.value == pytest.approx(sum(scores["f1"]) / 60, abs=1e-12)


@pytest.mark.parametrize("command", ["show", "pareto", "check", "card"])
def test_other_commands_read_its_result(
    command: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    artifact = workload.parent / "artifacts" / "asked" / "bert_int8"
    found = read_by(command, result_of(workload), artifact, "question-answering", "f1")
    assert ("windows per question" if command == "pareto" else "f1") in found


def test_the_artifact_gives_start_and_end_of_every_token(
    finished: "subprocess.CompletedProcess[str]", workload: Path, trained: Any
) -> None:
    assert finished.returncode == 0, finished.stderr
    model, processor = load(workload.parent / "artifacts" / "asked" / "bert_int8")
    batch = processor("who lives there ?", "clara wieck was born near the river", return_tensors="pt")
    with torch.no_grad():
        logits, expected = logits_of(model(**batch)), logits_of(trained(**batch))
    assert logits.shape == expected.shape == (1, batch["input_ids"].shape[1], 2)
    assert torch.equal(logits.argmax(1), expected.argmax(1))


def bundle(model: Any, **changes: Any) -> Bundle:
    def examples(*_: Any) -> Any:
        rows = [
            {"text": row["question"], "text_pair": row["context"], "label": row["answers"]}
            for row in questions(48, seed=7, unanswerable=0.2)
        ]
        return live.prepare(datasets.Dataset.from_list(rows), TASK.name, tokenizer(), model)

    return Bundle(
        model, tokenizer(), TASK.name, torch.device("cpu"), train=lambda: TASK.rows(examples()), examples=examples,
        teacher=lambda: copy.deepcopy(model), **changes,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_graph_gives_one_tensor_of_equal_logits(kind: str, runtime: str) -> None:
    model = reader(kind=kind)
    graph = graph_of(bundle(model), runtime)
    batch = dict(tokenizer()([["who ?", "old"], ["who ?", "the old house"]], padding=True, return_tensors="pt"))
    batch = {name: value for name, value in batch.items() if name in graph.inputs}
    with torch.no_grad():
        output = model(**batch)
    expected = torch.stack([output.start_logits, output.end_logits], -1)
    kept = batch["attention_mask"].bool()
    assert torch.allclose(graph(**batch).logits[kept], expected[kept], atol=1e-5 if runtime == "onnxruntime" else 2e-2)


STEPS: dict[str, Step] = {
    "int4": Quantize(bits=4, group_size=32),
    "gptq": Quantize(bits=4, group_size=32, rounding="gptq"),
    "feed-forward": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "heads": Prune(structure="heads", fraction=0.25, importance="obd"),
    "layers": Prune(structure="layers", fraction=0.5, importance="influence"),
    "weights": Prune(structure="unstructured", fraction=0.3, importance="wanda"),
    "hidden": Prune(structure="hidden", fraction=0.25),
    "low rank": LowRank(rank=12, weighting="fisher"),
    "student": Distill(keep=0.5, hidden_weight=1.0, attention_weight=1.0, max_steps=3, batch_size=8),
    "answers": Distill(max_steps=12, batch_size=16, soft_weight=0.0),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_applies(step: str, trained: Any) -> None:
    made = apply_step(bundle(copy.deepcopy(trained)), STEPS[step]).model
    batch = tokenizer()("who lives there ?", "clara wieck was born near the river", return_tensors="pt")
    with torch.no_grad():
        logits = logits_of(made(**batch))
    assert logits.shape == (1, batch["input_ids"].shape[1], 2) and logits.isfinite().all()


def test_the_head_is_left_out_by_default_and_named_by_a_pattern(trained: Any) -> None:
    names = [[name for name, _ in linear_layers(trained, each)] for each in (Layers(), Layers(exclude=()))]
    assert set(names[1]) - set(names[0]) == {"qa_outputs"}
    (only,) = linear_layers(trained, Layers(include=("*qa_outputs*",), exclude=()))
    assert only[0] == "qa_outputs"


def test_a_student_is_compared_over_possible_tokens_only() -> None:
    labels = torch.tensor([[0, -100, 1, 2, -100]])
    student, teacher = torch.zeros(1, 5, 2), torch.zeros(1, 5, 2)
    teacher[0, 1], teacher[0, 4] = 9.0, 9.0  # a token of the question, and padding
    (ours, counted), (theirs, _) = TASK.aligned(student, labels), TASK.aligned(teacher, labels)
    assert soft_loss(ours, theirs, 2.0, counted != -100) == 0
    teacher[0, 2, 0] = 9.0
    theirs, _ = TASK.aligned(teacher, labels)
    start = torch.log_softmax(torch.tensor([0.0, 4.5, 0.0]), 0)
    expected = 4 * float((start.exp() * (start - torch.log(torch.tensor(1 / 3)))).sum()) / 2  # ends do not differ
    assert float(soft_loss(ours, theirs, 2.0, counted != -100)) == pytest.approx(expected, rel=1e-5)


def test_the_hard_loss_is_the_tasks_own(trained: Any) -> None:
    rows = bundle(trained).train_examples("test").select(range(6))
    batch = TASK.collate(list(rows), tokenizer())
    output, loss = loss_of(TASK, trained, batch)
    sums, counts = TASK.losses(logits_of(output), batch["labels"])
    assert float(loss.detach()) == pytest.approx(float((sums.sum() / counts.sum()).detach()), rel=1e-6)


REFUSED = {
    "llama.cpp": ("runtime", "llama.cpp", "causal language models only; the task is question-answering"),
    "static cache": ("kv_cache", "static", "question-answering"),
    "fixed padding": ("padding", "fixed", "is of question-answering, whose batches keep their own shapes"),
    "vocabulary": ("steps", "[{method: prune, structure: vocabulary}]", "expected a language model"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_apply_is_refused_with_the_reason(kind: str, workload: Path) -> None:
    refused(workload, *REFUSED[kind])


def scores(f1: list[float], answer: list[float]) -> dict[str, list[float]]:
    none = [0.0] * len(f1)
    return {
        "em": [float(v == 1) for v in f1],
        "f1": f1,
        "no_answer": none,
        "context_f1": [0.1] * len(f1),
        "answer": answer,
    }


@pytest.mark.parametrize("metric", ["f1", "exact_match"])
def test_a_model_that_has_learned_nothing_is_no_reference(metric: str) -> None:
    guess, good = scores([0.1] * 40, [0.0] * 40), scores([1.0] * 30 + [0.5] * 10, [1.0] * 40)
    bad, sound = (summarise(Evaluation(each, True, 32, outputs=2), metric, None, None, 0) for each in (guess, good))
    assert "is not measurably better than chance" in str(unsound_reference(bad, "fp32 eager"))
    assert unsound_reference(sound, "fp32 eager") is None
    assert bad.chance == pytest.approx(0.1 if metric == "f1" else 0)
    half = {**good, "no_answer": [1.0] * 20 + [0.0] * 20}
    found = summarise(Evaluation(half, True, 32, outputs=2), metric, None, None, 0)
    assert found.chance == 0.5, "a model that never answers"


def test_differences_are_paired_over_questions() -> None:
    base, lost = scores([1.0] * 60, [1.0] * 60), scores([0.5] * 12 + [1.0] * 48, [2.0] * 12 + [1.0] * 48)
    found = summarise(Evaluation(lost, True, 32), "f1", Evaluation(base, True, 32), "fp32 eager", 0)
    assert found.delta is not None and found.delta.value == pytest.approx(-0.1)
    assert -0.16 < found.delta.low < found.delta.high < -0.04  # a binomial share of .2 of 60 questions: .1 +- .05
    assert found.flip_rate == 12 / 60
    exact = summarise(Evaluation(lost, True, 32), "exact_match", Evaluation(base, True, 32), "fp32 eager", 0)
    assert exact.delta is not None and exact.delta.value == pytest.approx(-0.2)


def test_a_card_lists_questions_with_another_answer() -> None:
    import numpy as np

    ours, base = (
        {name: np.array(values) for name, values in each.items()}
        for each in (scores([0.5, 1.0, 1.0, 0.0], [2, 1, 3, 4]), scores([1.0, 1.0, 0.5, 0.0], [1, 1, 1, 1]))
    )
    found = changed_answers(ours, base, "bf16 eager", {0: "who ? | clara"}, 60)
    assert found["counts"] == [1, 1, 1] and found["n"] == 4
    assert found["rows"][0] == [0, "who ? | clara", "an answer", "F1 1.00", "F1 0.50", 0]
    assert "Of 4 questions, 3 have another answer than under bf16 eager" in found["sentence"]
