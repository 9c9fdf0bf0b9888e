"""Rankings of texts for queries: right values by independent code, ties, and which rows and models are refused."""

import itertools
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score

from compress.analysis import metrics
from compress.base.config import InputError
from compress.data import live, template
from compress.data.dataset import Dataset
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.data.tasks.ranks import ndcg, reciprocal_rank
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from compress.methods.calibrate import loss_of
from tests.helpers import bert, tokenizer
from tests.scored import encoder, searched

TASK = task_of("text-ranking")


def own(metric: str = "", **dataset: Any) -> Workload:
    spec = Dataset(path="d", **{"text": "query", **dataset})
    return Workload(task=TASK.name, model="m", dataset=spec, max_length=32, metric=metric)


def prepared(rows: dict[str, list[Any]], **dataset: Any) -> Any:
    return TASK.prepare(datasets.Dataset.from_dict(rows), tokenizer(), own(**dataset), encoder().config)


def ranked(grades: list[float], scores: list[float]) -> dict[str, Any]:
    """The outcomes of one query with texts of these grades and scores."""
    positives = ["the film"] * sum(grade > 0 for grade in grades)
    rows = {
        "query": ["plot"],
        "positives": [positives],
        "negatives": [["a story"] * (len(grades) - len(positives))],
        "grades": [[grade for grade in grades if grade > 0]],
    }
    order = [n for n, grade in enumerate(grades) if grade > 0] + [n for n, grade in enumerate(grades) if grade == 0]
    logits = torch.tensor([[scores[n]] for n in order], dtype=torch.float64)
    return dict(TASK.answers(TASK.outcomes(logits, {}), prepared(rows, grades="grades")))


def test_the_gain_of_a_grade_is_linear() -> None:
    found = ranked([3, 0, 2, 1], [0.2, 0.9, 0.8, 0.1])
    assert metrics.compute("ndcg_at_10", found) == pytest.approx(0.6704, abs=5e-5)  # 2^grade - 1 would give 0.62
    assert metrics.compute("mrr", found) == 0.5


def test_scores_are_ranked_in_full_precision_and_without_a_sigmoid() -> None:
    logits = torch.tensor([[10.0], [9.0], [8.0], [7.0], [6.0]]).bfloat16()
    rows = {"query": ["plot"], "positives": [["the film"]], "negatives": [["a story"] * 4]}
    found = TASK.answers(TASK.outcomes(logits, {}), prepared(rows))
    assert metrics.compute("mrr", found) == 1.0
    tied = TASK.answers(TASK.outcomes(torch.sigmoid(logits), {}), prepared(rows))
    assert metrics.compute("mrr", tied) < 1


@pytest.mark.parametrize("seed", range(8))
def test_ndcg_equals_scikit_learns_also_with_ties(seed: int) -> None:
    draw = np.random.default_rng(seed)
    grades, scores = draw.integers(0, 4, 15), np.round(draw.normal(0, 1, 15), seed % 3)
    grades[0] = 2
    assert ndcg(grades, scores) == pytest.approx(ndcg_score([grades], [scores], k=10), abs=1e-12)
    assert ndcg(grades, scores, 3) == pytest.approx(ndcg_score([grades], [scores], k=3), abs=1e-12)


@pytest.mark.parametrize("scores", [[1, 1, 1, 1], [2, 1, 1, 1], [0, 1, 1, 2], [3, 2, 1, 0], [1, 1, 2, 2]], ids=str)
@pytest.mark.parametrize("grades", [[1, 0, 0, 0], [0, 2, 1, 0], [0, 0, 0, 1], [1, 1, 1, 0]], ids=str)
def test_texts_with_equal_scores_count_with_the_mean_over_their_orders(grades: list[int], scores: list[int]) -> None:
    first = []
    for order in itertools.permutations(range(4)):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            first.append(1 / (1 + next(place for place, n in enumerate(order) if grades[n])))
    assert reciprocal_rank(grades, scores) == pytest.approx(np.mean(first), abs=1e-12)


def test_a_model_of_equal_scores_is_no_better_than_a_random_order_whatever_the_datas_order() -> None:
    found = ranked([1, 0, 0, 0], [5.0] * 4)
    assert (
        found["reciprocal_rank"] == found["random_reciprocal_rank"] == [pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)]
    )
    assert found["ndcg_at_10"] == found["random_ndcg_at_10"]


def test_a_query_has_a_row_for_each_text_and_one_answer() -> None:
    data = searched(12, 1)
    examples = prepared(data, grades="grades")
    counts = [len(good) + len(bad) for good, bad in zip(data["positives"], data["negatives"], strict=True)]
    assert [examples["number"].count(number) for number in range(12)] == counts
    assert examples["text"][0] == f"{data['query'][0]} | {data['positives'][0][0]}"
    batch = TASK.collate(list(examples), tokenizer())
    assert batch["labels"].tolist() == [float(grade > 0) for grade in examples["grade"]]
    model = encoder()
    found = [evaluate(model, TASK, examples, tokenizer(), torch.device("cpu"), size).outcomes for size in (1, 7, 32)]
    assert all(len(values) == 12 for values in found[0].values())
    assert found[0] == found[1] == found[2]


def test_a_point_is_of_pairs() -> None:
    batches = TASK.fixed(prepared(searched(12, 1)), tokenizer(), OperatingPoint(batch_size=3, sequence_length=16), 2, 0)
    assert [tuple(batch["input_ids"].shape) for batch in batches] == [(3, 16)] * 2


def test_single_texts_are_lists_of_one() -> None:
    rows = {"query": ["plot"], "positives": ["the film"], "negatives": ["a story"]}
    assert prepared(rows)["labels"] == [1.0, 0.0]


GOOD: dict[str, Any] = {"query": "plot", "positives": ["the film"], "negatives": ["a story"], "grades": [1.0]}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no positives": ({"positives": []}, "it has no positives; expected at least one relevant text"),
    "no negatives": ({"negatives": []}, "it has no negatives, so that any order of its texts is right"),
    "null": ({"negatives": None}, "its negatives are null; expected a list of texts"),
    "empty text": ({"positives": [" "]}, "its positives contain an empty text; remove it"),
    "too few grades": ({"positives": ["the film", "end"]}, "expected a number above 0 for each of its 2 positives"),
    "grade of 0": ({"grades": [0.0]}, r"its grades are \[0.0\]; expected a number above 0 for each of its 1 pos"),
}


@pytest.mark.parametrize("kind", BAD)
def test_queries_that_cannot_be_ranked_are_refused_by_their_row(kind: str) -> None:
    change, expected = BAD[kind]
    rows = {name: [value, change.get(name, value)] for name, value in GOOD.items()}
    with pytest.raises(InputError, match=f"^row 1: .*{expected}"):
        prepared(rows, grades="grades")


def test_missing_columns_and_other_heads_are_refused() -> None:
    rows = {"query": ["plot"], "positives": [["the film"]]}
    with pytest.raises(InputError, match=r"no negatives column 'negatives'; the data has query, positives; set data"):
        prepared(rows)
    examples = prepared(searched(4, 1))
    assert TASK.check(encoder(), tokenizer(), examples, own()) == []
    assert TASK.check(bert(), tokenizer(), examples, own())[0].startswith("has 2 outputs; expected 1 (num_labels in")


def test_the_training_loss_separates_relevant_texts_from_others() -> None:
    batch = TASK.collate(list(prepared(searched(6, 1))), tokenizer())
    outputs, loss = loss_of(TASK, encoder(), batch)
    chances = torch.sigmoid(outputs.logits[:, 0])
    expected = -torch.where(batch["labels"] > 0, chances, 1 - chances).log().mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_made_up_queries_are_prepared() -> None:
    assert len(live.prepare(TASK.made_up(), TASK.name, tokenizer(), encoder())) == 4


def test_init_finds_queries_and_their_texts(tmp_path: Path) -> None:
    encoder().save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(searched(4, 1)).to_parquet(tmp_path / "data" / "test.parquet")
    path = tmp_path / "made.yaml"
    path.write_text(template.init(str(tmp_path / "model"), str(tmp_path / "data"), TASK.name))
    dataset = Workload.load(path).dataset
    assert (dataset.text, dataset.positives, dataset.negatives, dataset.grades) == tuple(searched(1, 1))
