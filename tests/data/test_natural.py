"""Natural operating points: which points are measured, and which batches of a split's own texts."""

import statistics
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.data.dataset import Dataset
from compress.data.natural import MOST_BATCHES, natural, sampled
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.records.natural import Order, Texts
from tests.data.test_tasks import prepared_examples
from tests.helpers import assets, tokenizer

LENGTHS = [(37 * row) % 50 + 3 for row in range(203)]  # every length from 3 to 52, in no order
NATURAL = OperatingPoint(batch_size=8, natural="as_they_come")


def own(task: str = "text-classification", **fields: Any) -> Workload:
    return Workload(task=task, model="m", dataset=Dataset(path="d"), **fields)


def test_text_classification_is_measured_at_the_headline_and_a_natural_point_of_its_batch_size() -> None:
    workload = own(headline=OperatingPoint(batch_size=4, sequence_length=64), points=({"batch_size": 1},))
    natural_point = OperatingPoint(batch_size=4, natural="as_they_come")
    assert workload.measured_points("headline") == [workload.headline_point, natural_point]
    assert workload.measured_points("all") == [
        workload.headline_point,
        natural_point,
        OperatingPoint(batch_size=1),
    ]


def test_a_listed_natural_point_replaces_the_default_and_is_measured_once() -> None:
    listed = OperatingPoint(batch_size=32, natural="sorted")
    workload = own(points=(OperatingPoint(batch_size=1, sequence_length=64), listed))
    assert workload.measured_points("headline") == [workload.headline_point, listed]
    assert workload.measured_points("all") == [workload.headline_point, listed, workload.points[0]]


def test_natural_points_of_larger_batches_than_the_split_are_one() -> None:
    points = tuple(OperatingPoint(batch_size=size, natural="as_they_come") for size in (100, 60, 8, 61))
    workload = own(points=(*points, OperatingPoint(batch_size=100, sequence_length=64)))
    found = workload.measured_points("all", 60)
    assert [(point.batch_size, point.natural) for point in found] == [
        (workload.headline_point.batch_size, None), (60, "as_they_come"), (8, "as_they_come"), (100, None),
    ]  # fmt: skip
    assert len(workload.measured_points("all", 100)) == len(workload.measured_points("all")) == 6


@pytest.mark.parametrize("task", ["image-classification", "causal-lm"])
def test_other_tasks_have_no_natural_point(task: str) -> None:
    points = own(task).measured_points("headline")
    assert points[0] == own(task).headline_point and all(point.natural is None for point in points)
    assert [point.phase for point in points[1:]] == (["prefill"] if task == "causal-lm" else [])
    with pytest.raises(ValueError, match="natural as_they_come: only text-classification"):
        own(task, points=(NATURAL,))


def test_a_natural_point_has_no_length_and_is_no_headline() -> None:
    with pytest.raises(ValueError, match="texts keep their own lengths"):
        OperatingPoint(batch_size=8, sequence_length=64, natural="sorted")
    with pytest.raises(ValueError, match="headline natural: verdicts are for batches of one shape"):
        own(headline=NATURAL)


@pytest.mark.parametrize("order", ["as_they_come", "sorted"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_sampled_batches_are_whole_batches_of_the_split_in_its_order(order: Order, batch_size: int) -> None:
    rows = list(range(len(LENGTHS)))
    if order == "sorted":
        rows.sort(key=lambda row: (LENGTHS[row], row))
    whole = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    whole = [batch for batch in whole if len(batch) == batch_size]
    chosen = sampled(LENGTHS, batch_size, order)
    assert len(chosen) == MOST_BATCHES
    places = [whole.index(batch) for batch in chosen]
    assert places == sorted(set(places))
    padded, all_padded = (statistics.mean(max(LENGTHS[r] for r in b) for b in many) for many in (chosen, whole))
    assert padded == pytest.approx(all_padded, rel=0.03)  # a mean of 8 random ones is off by up to a third


def test_a_split_of_few_batches_is_taken_whole_but_for_the_last_incomplete_one() -> None:
    assert sampled([5, 6, 7, 8, 9, 4, 3], 3, "as_they_come") == [[0, 1, 2], [3, 4, 5]]
    assert sampled([5, 6, 7, 8, 9, 4, 3], 3, "sorted") == [[6, 5, 0], [1, 2, 3]]
    assert sampled([5, 3], 8, "as_they_come") == [[0, 1]]  # smaller than a batch


@pytest.mark.parametrize(("count", "size"), [(24, 8), (5, 5)])
def test_batches_hold_the_texts_as_they_are_and_their_facts(count: int, size: int) -> None:
    examples, task = prepared_examples(count), task_of("text-classification")
    batches, made, texts = natural(examples, task, tokenizer(), 8, "as_they_come")
    assert made == size
    ids = [
        row[mask.bool()].tolist()
        for b in batches
        for row, mask in zip(b["input_ids"], b["attention_mask"], strict=True)
    ]
    assert ids == examples["input_ids"]
    assert all("labels" not in batch for batch in batches)
    for batch in batches:
        assert batch["input_ids"].shape[1] == int(batch["attention_mask"].sum(1).max())  # padded to its longest
    tokens = sum(int(torch.count_nonzero(batch["attention_mask"])) for batch in batches)
    assert texts == Texts(count // size, tokens / count)


def test_a_pass_over_the_real_sst2_is_padded_as_the_split_is() -> None:
    import pyarrow.parquet as pq
    from transformers import AutoTokenizer

    (file,) = (assets("data/sst2") / "data").glob("validation-*.parquet")
    tokens = AutoTokenizer.from_pretrained(assets("models/minilm-l6-sst2"))
    lengths = [len(ids) for ids in tokens(pq.read_table(file)["sentence"].to_pylist())["input_ids"]]
    assert statistics.mean(lengths) == pytest.approx(25.164, abs=0.001)
    for order, padded in (("as_they_come", 40.68), ("sorted", 25.38)):
        chosen = sampled(lengths, 8, order)  # type: ignore[arg-type]
        assert statistics.mean(max(lengths[row] for row in rows) for rows in chosen) == pytest.approx(padded, rel=0.015)


def test_an_unknown_order_is_refused_with_the_choices() -> None:
    with pytest.raises((InputError, ValueError), match="as_they_come"):
        OperatingPoint.model_validate({"batch_size": 8, "natural": "random"})
