"""Scores of texts: right values, what the data's numbers may be, and which models and rows are refused."""

import math
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from scipy import stats

from compress.analysis import metrics
from compress.base.config import InputError
from compress.data import live, template
from compress.data.dataset import Dataset
from compress.data.tasks import task_of, task_of_class
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from compress.methods.calibrate import loss_of
from compress.methods.distill import Compared, distillation_loss
from compress.spec.steps import Distill
from tests.helpers import bert, tokenizer
from tests.scored import encoder, graded

TASK = task_of("text-regression")


def own(metric: str = "", **dataset: Any) -> Workload:
    return Workload(task=TASK.name, model="m", dataset=Dataset(path="d", **dataset), max_length=32, metric=metric)


def prepared(labels: list[Any], **dataset: Any) -> datasets.Dataset:
    raw = datasets.Dataset.from_dict({"text": ["the film was good"] * len(labels), "label": labels})
    return TASK.prepare(raw, tokenizer(), own(**dataset), encoder().config)


def test_scores_are_ranked_in_full_precision_and_without_a_sigmoid() -> None:
    logits = torch.tensor([[6.0], [7.0], [8.0], [9.0], [10.0]])
    examples = prepared([1, 2, 3, 4, 5])
    found = TASK.answers(TASK.outcomes(logits.bfloat16(), {}), examples)
    assert metrics.compute("spearman", found) == pytest.approx(1, abs=1e-12)
    tied = torch.sigmoid(logits.bfloat16()).float()[:, 0].tolist()
    wrong = metrics.compute("spearman", {**found, "score": tied})
    assert wrong == pytest.approx(0.7071, abs=1e-4) == stats.spearmanr(tied, found["reference"])[0]


@pytest.mark.parametrize("seed", range(5))
def test_correlations_and_errors_equal_independent_code(seed: int) -> None:
    draw = np.random.default_rng(seed)
    reference = draw.integers(0, 6, 200) / 2  # with ties
    score = np.round(reference + draw.normal(0, 2, 200), seed % 3)
    outcomes = {"score": score.tolist(), "reference": reference.tolist()}
    assert metrics.compute("spearman", outcomes) == pytest.approx(stats.spearmanr(score, reference)[0], abs=1e-12)
    assert metrics.compute("pearson", outcomes) == pytest.approx(stats.pearsonr(score, reference)[0], abs=1e-12)
    assert metrics.compute("mse", outcomes) == pytest.approx(float(np.mean((score - reference) ** 2)), rel=1e-12)


@pytest.mark.parametrize("metric", ["spearman", "pearson"])
def test_a_correlation_of_equal_scores_is_undefined_and_not_0(metric: str) -> None:
    references = [1.0, 2.0, 3.0]
    assert math.isnan(metrics.compute(metric, {"score": [1.0] * 3, "reference": references}))
    assert math.isnan(metrics.compute(metric, {"score": references, "reference": [1.0] * 3}))
    assert math.isnan(metrics.compute(metric, {"score": [1.0, math.nan, 2.0], "reference": references}))
    assert metrics.compute(metric, {"score": [1e-300, 2e-300, 3e-300], "reference": references}) == pytest.approx(1)
    assert metrics.compute(metric, {"score": [1e300, 2e300, 3e300], "reference": references}) == pytest.approx(1)


def test_only_errors_and_perplexity_are_better_if_smaller() -> None:
    assert not metrics.higher_is_better("mse") and metrics.unit("mse") == "percent"
    assert metrics.higher_is_better("spearman") and metrics.unit("pearson") == "points"


@pytest.mark.parametrize("labels", [[1, 2, 0], [1.5, 0.25, 3.8], ["1.5", " 2 ", "3e-1"]], ids=["int", "float", "text"])
def test_numbers_are_kept_exactly(labels: list[Any]) -> None:
    examples = prepared(labels)
    assert examples["labels"] == [float(label) for label in labels]
    found = TASK.answers(TASK.outcomes(torch.zeros(3, 1), {}), examples)
    assert found["reference"] == [float(label) for label in labels]  # 3.8 as a float32 is 3.7999999523


def test_classes_whose_names_are_numbers_count_as_these() -> None:
    raw = datasets.Dataset.from_dict({"text": ["the film"] * 3, "label": [0, 1, 2]})
    raw = raw.cast_column("label", datasets.ClassLabel(names=["0.0", "2.5", "5.0"]))
    assert TASK.prepare(raw, tokenizer(), own(), encoder().config)["labels"] == [0.0, 2.5, 5.0]


@pytest.mark.parametrize(
    ("labels", "shown"),
    [([1.0, None], "null"), (["1", "high"], "'high'"), ([0.5, math.nan], "nan"), ([[1.0], [2.0]], r"\[1.0\]")],
    ids=["null", "word", "nan", "list"],
)
def test_rows_without_a_number_are_refused_by_their_number(labels: list[Any], shown: str) -> None:
    match = rf"rows? [01]: label column 'label' has {shown}; expected a number: write a number, or remove the row"
    with pytest.raises(InputError, match=match.replace("rows?", "row")):
        prepared(labels)


def problems(model: Any, labels: list[float], metric: str = "") -> list[str]:
    return TASK.check(model, tokenizer(), prepared(labels), own(metric))


def test_models_and_data_that_do_not_fit_are_refused() -> None:
    assert problems(encoder(), [1.0, 2.0]) == []
    (wide,) = problems(bert(), [1.0, 2.0])
    assert wide.startswith("has 2 outputs; expected 1 (num_labels in config.json)")
    (other,) = problems(encoder(problem_type="multi_label_classification"), [1.0, 2.0])
    assert other.startswith("is a multi_label_classification model (problem_type in config.json); expected regression")
    (hidden,) = problems(encoder(), [-1.0, -1.0])
    assert hidden.startswith("cannot be judged by spearman: all 2 labels are -1, as in hidden test sets")
    assert problems(encoder(), [-1.0, -1.0], "mse") == []


def test_a_classification_metric_is_refused_with_the_outcomes_there_are() -> None:
    with pytest.raises(
        InputError, match="metric accuracy: needs predictions, references; the task gives references, sc"
    ):
        metrics.check("accuracy", TASK.sample_outcomes)


def test_the_head_decides_the_task_of_a_class() -> None:
    name = "BertForSequenceClassification"
    assert task_of_class(name, encoder().config.to_dict()) == TASK.name
    assert task_of_class(name, bert().config.to_dict()) == task_of_class(name) == "text-classification"


def test_the_training_loss_is_the_squared_error_whatever_the_models_problem_type() -> None:
    model, labels = encoder(problem_type="multi_label_classification"), torch.tensor([-100.0, 2.0])
    batch = dict(tokenizer()(["the film", "a plot"], return_tensors="pt")) | {"labels": labels}
    outputs, loss = loss_of(TASK, model, batch)
    assert loss.item() == pytest.approx(((outputs.logits[:, 0] - labels) ** 2).mean().item(), rel=1e-6)
    assert loss.requires_grad


def test_a_student_learns_the_teachers_scores() -> None:
    student, teacher = encoder(), encoder()
    torch.nn.init.constant_(teacher.classifier.bias, 3.0)
    batch = dict(tokenizer()(["the film", "a plot"], return_tensors="pt")) | {"labels": torch.tensor([-100.0, 2.0])}
    compared = Compared(task=TASK)
    for temperature in (1.0, 4.0):
        config = Distill(soft_weight=1.0, temperature=temperature)
        loss, _ = distillation_loss(student, teacher, batch, config, compared)
        assert loss.item() == pytest.approx(9.0, rel=1e-5)  # a softmax over one score would give 0
    assert distillation_loss(teacher, teacher, batch, Distill(soft_weight=1.0), compared)[0].item() == 0


def test_answers_do_not_depend_on_the_batch_size() -> None:
    raw = datasets.Dataset.from_dict(graded(24, 5))
    examples, model = TASK.prepare(raw, tokenizer(), own(), encoder().config), encoder()
    found = [evaluate(model, TASK, examples, tokenizer(), torch.device("cpu"), size).outcomes for size in (1, 7, 24)]
    assert found[0]["reference"] == raw["label"]
    for other in found[1:]:
        assert np.allclose(found[0]["score"], other["score"], atol=1e-6)


def test_a_live_data_set_and_made_up_texts_are_prepared() -> None:
    examples = live.prepare(TASK.made_up(), TASK.name, tokenizer(), encoder())
    batch = TASK.collate(list(examples), tokenizer())
    assert batch["labels"].dtype == torch.float32 and batch["labels"].tolist() == [0.0, 0.5, 1.0]


def test_init_finds_the_columns_of_scored_pairs(tmp_path: Any) -> None:
    encoder().save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.csv").write_text("sentence1,sentence2,similarity_score\na film,a plot,2.5\nx,y,1\n")
    path = tmp_path / "made.yaml"
    path.write_text(template.init(str(tmp_path / "model"), str(tmp_path / "data"), TASK.name))
    made = Workload.load(path)
    assert (made.dataset.text, made.dataset.text_pair, made.dataset.label) == (
        "sentence1",
        "sentence2",
        "similarity_score",
    )
    assert made.metric_name == "spearman"
