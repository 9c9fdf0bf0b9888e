"""Several labels per text: right values by independent code, what the data may hold, and what is refused."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional as F

from compress.analysis import chance, metrics
from compress.base.bits import are_masks, masks, unpacked
from compress.base.config import InputError
from compress.data import live, template
from compress.data.dataset import Dataset
from compress.data.tasks import task_of, task_of_class
from compress.data.workload import Workload
from compress.methods.calibrate import loss_of, shortened
from compress.methods.distill import Compared, distillation_loss
from compress.spec.steps import Distill
from tests.helpers import bert, tokenizer
from tests.scored import TOPICS, encoder, labelled, labeller

TASK = task_of("multi-label-classification")


def own(metric: str = "", threshold: float | None = None, **dataset: Any) -> Workload:
    fields = {} if threshold is None else {"threshold": threshold}
    spec = Dataset(path="d", **dataset)
    return Workload(task=TASK.name, model="m", dataset=spec, max_length=32, metric=metric, **fields)


def prepared(labels: list[Any], model: Any = None, metric: str = "", threshold: float | None = None) -> Any:
    raw = datasets.Dataset.from_dict({"text": ["the film was good"] * len(labels), "label": labels})
    return TASK.prepare(raw, tokenizer(), own(metric, threshold), (model or labeller()).config)


def scored(logits: Any, examples: Any) -> Any:
    return TASK.answers(TASK.outcomes(torch.as_tensor(logits), {}), examples)


def test_labels_are_those_whose_sigmoid_is_over_the_threshold_and_not_the_largest() -> None:
    logits = [[2.0, 1.0, -3.0], [-2.0, -1.0, -3.0], [-1.0, 3.0, 2.0]]
    examples = prepared([["praise", "blame"], [], ["blame", "story"]])
    found = scored(logits, examples)
    assert (found["tp"], found["predicted"], found["gold"]) == ([2, 0, 2], [2, 0, 2], [2, 0, 2])
    assert metrics.compute("f1_micro", found) == 1.0
    argmax = F.one_hot(torch.tensor(logits).argmax(1), 3).double() * 2 - 1  # what a softmax would choose
    assert metrics.compute("f1_micro", scored(argmax, examples)) == pytest.approx(0.5714, abs=1e-4)


@pytest.mark.parametrize(("threshold", "predicted"), [(0.2, 3), (0.5, 2), (0.8, 1), (0.95, 0)])
def test_the_threshold_is_that_of_the_workload(threshold: float, predicted: int) -> None:
    examples = prepared([["praise"]], threshold=threshold)
    assert scored([[2.0, 0.5, -1.0]], examples)["predicted"] == [predicted]  # sigmoids 0.88, 0.62, 0.27


@pytest.mark.parametrize("size", [2, 28, 48, 49, 100])
def test_f1_and_average_precision_equal_scikit_learns(size: int) -> None:
    draw = np.random.default_rng(size)
    gold = draw.random((120, size)) < 0.2
    gold[0] = True  # every label is there
    logits = np.round(draw.normal(-1, 1, gold.shape) + 2 * gold, 1)  # with ties
    config = encoder(size)
    examples = prepared([np.flatnonzero(row).tolist() for row in gold], config, "average_precision")
    found = scored(logits, examples)
    for average in ("micro", "macro"):
        expected = f1_score(gold, logits > 0, average=average, zero_division=0)
        assert metrics.compute(f"f1_{average}", found) == pytest.approx(expected, abs=1e-12)
    expected = average_precision_score(gold, logits)
    assert metrics.compute("average_precision", found) == pytest.approx(expected, abs=1e-12)


def test_resamples_sum_the_counts_of_their_examples() -> None:
    draw = np.random.default_rng(3)
    gold, logits = draw.random((60, 5)) < 0.3, draw.normal(0, 1, (60, 5))
    found = scored(logits, prepared([np.flatnonzero(row).tolist() for row in gold], encoder(5)))
    index = draw.integers(0, 60, 60)
    columns = {name: np.array(values)[index] for name, values in found.items()}
    for average in ("micro", "macro"):
        score = metrics.resampler(f"f1_{average}", found, {})
        expected = f1_score(gold[index], logits[index] > 0, average=average, zero_division=0)
        assert score(columns) == pytest.approx(expected, abs=1e-12)


def test_a_label_that_no_example_has_counts_in_macro_f1_and_has_no_precision() -> None:
    found = scored(
        [[1.0, -1.0, -1.0], [1.0, 2.0, -1.0]], prepared([["praise"], ["praise", "blame"]], metric="average_precision")
    )
    assert metrics.compute("f1_macro", found) == pytest.approx(2 / 3)
    assert metrics.compute("average_precision", found) == 1.0


def test_traces_are_small_unless_scores_are_ranked() -> None:
    found = scored(np.zeros((2, 28)), prepared([[3], [27]], encoder(28)))
    assert sorted(found) == ["answer", "gold", "gold_0", "labels", "predicted", "predicted_0", "tp"]
    assert len(scored(np.zeros((2, 28)), prepared([[3], [27]], encoder(28), "average_precision"))) == 7 + 28


@pytest.mark.parametrize("size", [1, 47, 48, 49, 97])
def test_sets_of_labels_are_exact_numbers(size: int) -> None:
    draw = np.random.default_rng(size)
    has = draw.random((20, size)) < 0.5
    numbers = np.array([masks(np.flatnonzero(row).tolist(), size) for row in has])
    assert np.array_equal(unpacked(numbers, size), has)
    assert are_masks(numbers.ravel().tolist()) and not are_masks([0.5]) and not are_masks([-1.0])
    assert not are_masks([2.0**48])


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "average_precision"])
def test_the_floor_is_the_best_constant_answer(metric: str) -> None:
    draw = np.random.default_rng(1)
    gold = draw.random((40, 3)) < [0.7, 0.4, 0.2]
    found = scored(draw.normal(0, 1, (40, 3)), prepared([np.flatnonzero(row).tolist() for row in gold], metric=metric))
    floor = chance.constant(found, metric, {})
    assert floor is not None
    sets = [np.array([number >> label & 1 for label in range(3)], bool) for number in range(1, 8)]
    every = {
        "f1_micro": [f1_score(gold, np.tile(one, (40, 1)), average="micro") for one in sets],
        "f1_macro": [f1_score(gold, np.tile(one, (40, 1)), average="macro", zero_division=0) for one in sets],
        "average_precision": [average_precision_score(gold, np.zeros(gold.shape))],
    }[metric]
    assert metrics.compute(metric, floor) == pytest.approx(max(every), abs=1e-12)


def test_names_ids_and_columns_mean_the_same_labels() -> None:
    names = prepared([["blame", "praise"], [], ["story"]])["labels"]
    assert names == prepared([[1, 0], [], [2]])["labels"] == [[0, 1], [], [2]]
    table = {"story": ["0", "false", "1"], "praise": [1, 0, 0], "blame": [True, False, False]}
    raw = datasets.Dataset.from_dict({"text": ["the film"] * 3, **table})
    workload = own(label_columns=("story", "praise", "blame"))
    assert TASK.prepare(raw, tokenizer(), workload, labeller().config)["labels"] == names


def test_the_datas_order_of_names_is_not_the_models() -> None:
    raw = datasets.Dataset.from_dict({"text": ["the film"] * 2, "label": [[0], [1, 2]]})
    raw = raw.cast_column("label", datasets.List(datasets.ClassLabel(names=["story", "blame", "praise"])))
    assert TASK.prepare(raw, tokenizer(), own(), labeller().config)["labels"] == [[2], [0, 1]]


BAD: dict[str, tuple[list[Any], str]] = {
    "unknown": ([["praise"], ["envy"]], "^row 1: label column 'label': 'envy' is neither a number nor a label"),
    "id": ([[0], [1, 3]], "^row 1: label column 'label': label 3, but the model has 3 labels"),
    "hidden": ([[0], [-1]], "^row 1: its labels contain -1, as in hidden test sets"),
    "null": ([["praise"], None], "^row 1: its labels are null; expected a list"),
    "text": (["praise", "blame"], "^row 0: its labels are 'praise'; expected a list, which csv and tsv cannot hold"),
    "none": ([[], []], "^none of the 2 examples has a label"),
}


@pytest.mark.parametrize("kind", BAD)
def test_rows_whose_labels_cannot_be_read_are_refused_by_their_number(kind: str) -> None:
    labels, expected = BAD[kind]
    with pytest.raises(InputError, match=expected):
        prepared(labels)


def of_columns(table: dict[str, list[Any]], model: Any = None) -> Any:
    raw = datasets.Dataset.from_dict({"text": ["the film"] * 2, **table})
    return TASK.prepare(raw, tokenizer(), own(label_columns=tuple(table)), (model or labeller()).config)


def test_columns_of_labels_are_checked_against_the_model_and_row_by_row() -> None:
    good: dict[str, list[Any]] = {name: [1, 0] for name in TOPICS}
    with pytest.raises(InputError, match=r"^row 1: column 'story' has -1; expected 1 or 0"):
        of_columns({**good, "story": [1, -1]})
    with pytest.raises(
        InputError, match="has no column for the model's story; expected a column for each of its labels"
    ):
        of_columns({"praise": [1, 0], "blame": [1, 0]})
    with pytest.raises(InputError, match="'envy' is neither a number nor a label of the model"):
        of_columns({**good, "envy": [0, 0]})
    unnamed = of_columns(good, encoder(3))
    assert unnamed["labels"] == [[0, 1, 2], []] and "taken in order" in unnamed.info.description
    with pytest.raises(
        ValueError, match="text-classification has one label column; only multi-label-classification has"
    ):
        Workload(task="text-classification", model="m", dataset=Dataset(path="d", label_columns=("a", "b")))


def test_only_this_task_has_a_threshold_and_its_results_state_it() -> None:
    with pytest.raises(
        ValueError, match=r"threshold 0\.3: text-classification has no such setting; only multi-label-cl"
    ):
        Workload(task="text-classification", model="m", dataset=Dataset(path="d"), threshold=0.3)
    assert own(threshold=0.3).protocol == "labels with a sigmoid over 0.3"
    assert own("average_precision").protocol == ""
    assert "threshold" not in own().model_dump()


def test_models_that_choose_one_class_are_refused() -> None:
    def problems(model: Any) -> list[str]:
        return TASK.check(model, tokenizer(), prepared([["praise"]]), own())

    assert problems(labeller()) == problems(labeller(problem_type=None)) == []
    assert problems(encoder())[0].startswith("has 1 output; expected one for each of at least 2 labels")
    (single,) = problems(labeller(problem_type="single_label_classification"))
    assert single.endswith(
        "trained to choose one class; expected multi_label_classification: set task to text-classification"
    )
    name = "BertForSequenceClassification"
    assert task_of_class(name, labeller().config.to_dict()) == TASK.name
    assert task_of_class(name, bert().config.to_dict()) == "text-classification"


def test_training_and_distillation_decide_every_label_on_its_own() -> None:
    examples = prepared([["praise", "story"], []])
    batch = TASK.collate(list(examples), tokenizer())
    assert batch["labels"].tolist() == [[1, 0, 1], [0, 0, 0]]
    student, teacher = labeller(), labeller()
    torch.nn.init.normal_(teacher.classifier.weight)
    outputs, loss = loss_of(TASK, student, batch)
    assert loss.item() == pytest.approx(student(**batch).loss.item(), rel=1e-6)
    with torch.no_grad():
        logits = teacher(**{name: value for name, value in batch.items() if name != "labels"}).logits
    for temperature in (1.0, 3.0):
        config = Distill(soft_weight=1.0, temperature=temperature)
        found, _ = distillation_loss(student, teacher, batch, config, Compared(task=TASK))
        ours, target = outputs.logits / temperature, torch.sigmoid(logits / temperature)
        entropy = F.binary_cross_entropy(target, target)
        expected = temperature**2 * (F.binary_cross_entropy_with_logits(ours, target) - entropy)
        assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert distillation_loss(teacher, teacher, batch, Distill(soft_weight=1.0), Compared(task=TASK))[0].item() == 0


def test_shorter_texts_keep_all_of_their_labels() -> None:
    examples = [{"input_ids": [2, 5, 6, 7, 3], "labels": [0, 1, 2, 3, 4]}]
    (cut,) = shortened(examples, 3, tokenizer(), TASK)
    assert cut == {"input_ids": [2, 5, 3], "labels": [0, 1, 2, 3, 4]}
    (cut,) = shortened(examples, 3, tokenizer(), task_of("token-classification"))
    assert cut == {"input_ids": [2, 5, 3], "labels": [0, 1, 4]}


def test_made_up_texts_are_prepared() -> None:
    examples = live.prepare(TASK.made_up(), TASK.name, tokenizer(), labeller())
    assert TASK.collate(list(examples), tokenizer())["labels"].sum() == 4


def test_init_finds_a_column_of_lists_or_one_for_each_label(tmp_path: Path) -> None:
    labeller().save_pretrained(tmp_path / "model")
    (tmp_path / "lists").mkdir()
    rows = [json.dumps({"text": text, "labels": names}) for text, names in zip(*labelled(4, 1).values(), strict=True)]
    (tmp_path / "lists" / "test.jsonl").write_text("\n".join(rows))
    (tmp_path / "each").mkdir()
    (tmp_path / "each" / "test.csv").write_text("text,praise,blame,story\na film,1,0,0\na plot,0,0,1\n")
    made = tmp_path / "made.yaml"
    for data in ("lists", "each"):
        made.write_text(template.init(str(tmp_path / "model"), str(tmp_path / data), TASK.name))
        dataset = Workload.load(made).dataset
        assert (dataset.label if data == "lists" else dataset.label_columns) == (
            "labels" if data == "lists" else TOPICS
        )
