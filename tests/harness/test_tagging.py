"""A tagger of words from its workload to its card: metric, intervals, int8, steps and refusals."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from compress import load
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.soundness import unsound_reference
from compress.base.config import InputError
from compress.data import loading, locate
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.methods import apply_step
from compress.methods.distill import soft_loss
from compress.model.bundle import Bundle
from compress.model.padding import check_padding
from compress.records import files as result_files
from compress.spec.steps import Distill, LowRank, Prune, Quantize, Step
from tests.helpers import QUICK, compress
from tests.tagged import sentences, tagger, tokenizer, trained_tagger, write_tagged
from tests.task_runs import bundled, graph_of, read_by, refused, verified

TASK = task_of("token-classification")


@pytest.fixture(scope="module")
def trained() -> Any:
    return trained_tagger(steps=12)


@pytest.fixture(scope="module")
def workload(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tagged(tmp_path_factory.mktemp("tagged"), trained)


@pytest.fixture(scope="module")
def finished(workload: Path) -> "subprocess.CompletedProcess[str]":
    return compress("run", "bert_int8", "--workload", workload, *QUICK, cwd=workload.parent)


def result_of(workload: Path) -> Path:
    (file,) = (workload.parent / "results" / "tags").glob("bert_int8-*.json")
    return file


def test_int8_of_a_tagger_is_judged_by_its_entities(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    assert "Judged by entity_f1 on 60 test examples; naming no entity gives 0.000" in " ".join(finished.stdout.split())
    result = result_files.read(result_of(workload))
    accuracy = result.accuracy
    assert accuracy is not None and accuracy.metric == "entity_f1" and accuracy.unit == "points"
    assert 0.5 < accuracy.estimate.low < accuracy.estimate.value < accuracy.estimate.high <= 1
    assert accuracy.delta is not None and accuracy.delta.low <= accuracy.delta.value <= accuracy.delta.high
    assert accuracy.flip_rate is not None and accuracy.batch_sensitivity is not None
    assert accuracy.mcnemar_p is None and "counted" in accuracy.reasons["mcnemar_p"]
    assert result.kernel is not None and result.kernel.label == "real"
    (points, natural) = result.points[:2]
    assert (points.batch_size, points.sequence_length) == (4, 16)
    assert natural.natural is not None and natural.natural.order == "as_they_come"


def test_its_figures_are_those_of_the_counts_in_the_trace(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    result, counts = verified(result_of(workload), "bert_int8")
    assert result.accuracy is not None
    expected = 2 * sum(counts["tp"]) / (sum(counts["predicted"]) + sum(counts["gold"]))
    assert result.accuracy.estimate.value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("command", ["show", "pareto", "check", "card"])
def test_other_commands_read_its_result(
    command: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    artifact = workload.parent / "artifacts" / "tags" / "bert_int8"
    assert "entity_f1" in read_by(command, result_of(workload), artifact, "token-classification", "entity_f1")


def test_the_artifact_gives_the_logits_of_its_tokens(
    finished: "subprocess.CompletedProcess[str]", workload: Path, trained: Any
) -> None:
    assert finished.returncode == 0, finished.stderr
    model, processor = load(workload.parent / "artifacts" / "tags" / "bert_int8")
    batch = processor([["clara", "wieck", "in", "leipzig"]], is_split_into_words=True, return_tensors="pt")
    logits, expected = model(**batch).logits, trained(**batch).logits
    assert logits.shape == expected.shape == (1, 9, 5)
    assert torch.equal(logits.argmax(-1)[0, 1:-1], expected.argmax(-1)[0, 1:-1])


def bundle(model: Any, **changes: Any) -> Bundle:
    data = sentences(48, seed=7)
    return bundled(model, TASK, {"text": data["tokens"], "label": data["ner_tags"]}, tokenizer(), **changes)


@pytest.mark.parametrize("kind", ["Bert", "DistilBert"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_an_exported_graph_gives_equal_logits_for_every_token(kind: str, runtime: str) -> None:
    model = tagger(kind=kind)
    graph = graph_of(bundle(model), runtime)
    words = [["clara", "wieck", "in", "leipzig"], ["old"]]
    batch = dict(tokenizer()(words, is_split_into_words=True, padding=True, return_tensors="pt"))
    batch = {name: value for name, value in batch.items() if name in graph.inputs}
    with torch.no_grad():
        expected = model(**batch).logits
    kept = batch["attention_mask"].bool()
    assert torch.allclose(graph(**batch).logits[kept], expected[kept], atol=1e-5 if runtime == "onnxruntime" else 2e-2)


STEPS: dict[str, Step] = {
    "int4": Quantize(bits=4, group_size=32),
    "gptq": Quantize(bits=4, group_size=32, rounding="gptq"),
    "feed-forward": Prune(structure="feed_forward", fraction=0.25, importance="taylor"),
    "heads": Prune(structure="heads", fraction=0.25, importance="obd"),
    "layers": Prune(structure="layers", fraction=0.5, importance="influence"),
    "weights": Prune(structure="unstructured", fraction=0.3, importance="wanda"),
    "low rank": LowRank(rank=12, weighting="fisher"),
    "student": Distill(keep=0.5, hidden_weight=1.0, attention_weight=1.0, max_steps=3, batch_size=8),
    "remembered": Distill(max_steps=12, batch_size=16),
}


@pytest.mark.parametrize("step", STEPS)
def test_every_step_applies_to_a_tagger(step: str, trained: Any) -> None:
    made = apply_step(bundle(copy.deepcopy(trained)), STEPS[step]).model
    batch = tokenizer()([["clara", "wieck", "in", "leipzig"]], is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        logits = made(**batch).logits
    assert logits.shape == (1, 9, 5) and logits.isfinite().all()


def test_a_student_is_compared_at_judged_tokens_only() -> None:
    student, teacher = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    teacher[:, 0, 1], teacher[1, 2, 3] = 9.0, 9.0  # a special token, and padding
    labels = torch.tensor([[-100, 2, 1], [-100, 0, -100]])
    assert soft_loss(student, teacher, 1.0, labels != -100) == 0
    assert soft_loss(student, teacher, 1.0) > 0


REFUSED = {
    "llama.cpp": ("runtime", "llama.cpp", "causal language models only; the task is token-classification"),
    "static cache": ("kv_cache", "static", "token-classification"),
    "fixed padding": ("padding", "fixed", "is of token-classification, whose batches keep their own shapes"),
    "vocabulary": ("steps", "[{method: prune, structure: vocabulary}]", "expected a language model"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_apply_to_a_tagger_is_refused_with_the_reason(kind: str, workload: Path) -> None:
    refused(workload, *REFUSED[kind])


@pytest.mark.parametrize("metric", ["entity_f1", "token_accuracy"])
def test_a_model_that_has_learned_nothing_is_no_reference(metric: str) -> None:
    gold = [1.0 + example % 2 for example in range(40)]
    words, outside = [20.0] * 40, [20.0 - 2 * count for count in gold]
    none = {
        "tp": [0.0] * 40, "predicted": [0.0] * 40, "gold": gold,
        "right": outside, "words": words, "commonest": outside, "answer": [0.0] * 40,
    }  # fmt: skip
    good = none | {"tp": gold, "predicted": gold, "right": words, "answer": gold}
    bad, sound = (summarise(Evaluation(each, True, 32, outputs=5), metric, None, None, 0) for each in (none, good))
    assert "is not measurably better than chance" in str(unsound_reference(bad, "fp32 eager"))
    assert unsound_reference(sound, "fp32 eager") is None
    assert sound.chance == (0 if metric == "entity_f1" else sum(outside) / sum(words))
    few = {name: [value for value, count in zip(values, gold, strict=True)][:4] for name, values in good.items()}
    why = unsound_reference(summarise(Evaluation(few, True, 32), metric, None, None, 0), "fp32 eager")
    assert "only 4 of 4 examples have a" in str(why)


def test_differences_are_paired_over_examples() -> None:
    gold = [2.0] * 60
    base = {"tp": gold, "predicted": gold, "gold": gold, "right": [9.0] * 60, "words": [10.0] * 60, "answer": gold}
    lost = {**base, "tp": [1.0] * 12 + [2.0] * 48, "answer": [3.0] * 12 + gold[12:]}
    found = summarise(Evaluation(lost, True, 32), "entity_f1", Evaluation(base, True, 32), "fp32 eager", 0)
    assert found.estimate.value == pytest.approx(2 * 108 / 240)
    assert found.delta is not None and found.delta.value == pytest.approx(-0.1)
    assert -0.16 < found.delta.low < found.delta.high < -0.04  # a binomial share of .2 of 60 examples: .1 +- .05
    assert found.flip_rate == 12 / 60
    same = summarise(Evaluation(lost, True, 32), "token_accuracy", Evaluation(base, True, 32), "fp32 eager", 0)
    assert same.delta is not None and same.delta.value == 0


def test_a_tagger_whose_answers_depend_on_padding_is_refused(workload: Path) -> None:
    found = locate.resolve(Workload.load(workload))
    model, processor = loading.load_model(found)
    examples = loading.load_examples(found, "test", processor, model.config)
    made = Bundle(model, processor, TASK.name, torch.device("cpu"), examples=lambda _: examples)
    check_padding(made, "here")
    forward = model.forward
    model.forward = lambda **given: forward(**{**given, "attention_mask": torch.ones_like(given["input_ids"])})
    with pytest.raises(InputError, match="padding changes its answers"):
        check_padding(made, "here")
