"""Sessions at a natural point: whole passes over the same texts for every runner, and costs per example really run."""

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from compress.analysis import costs, figures
from compress.data import loading, locate
from compress.data.natural import sampled
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.measure import latency
from compress.measure.session import run_session
from compress.records import trace
from tests.helpers import FILLER, write_workload
from tests.measure.test_runners import job

SIZE = 4  # the headline's batch in the made workload
ONE = {"input_ids": torch.zeros(1)}


@pytest.mark.parametrize(("batches", "multiple"), [((ONE,) * 3, 1), (latency.Pass((ONE,) * 3), 3)])
def test_only_a_pass_is_run_as_a_whole(batches: Any, multiple: int) -> None:
    assert latency.whole(batches) == multiple


@pytest.mark.parametrize(("least", "multiple", "count"), [(2, 1, 2), (4, 3, 6), (2, 5, 5), (10, 5, 10)])
def test_a_run_ends_after_a_multiple_of_its_batches(least: int, multiple: int, count: int) -> None:
    ran: list[dict[str, Any]] = []
    times = latency.run_for(lambda **batch: ran.append(batch), [ONE], 0.0, lambda: None, least, multiple)
    assert len(times) == len(ran) == count


def test_a_session_measures_own_texts_after_the_headline(workload: Path, tmp_path: Path) -> None:
    asked = job(workload, "together")
    measured = run_session(asked, {})
    examples = _examples(asked.workload)
    lengths = task_of("text-classification").lengths(examples)
    chosen = sampled(lengths, SIZE, "as_they_come")
    tokens = sum(lengths[row] for rows in chosen for row in rows)
    for runner in measured.runners:
        headline, natural = runner.points
        assert headline.point.natural is None
        assert headline.texts is None
        assert (natural.point.batch_size, natural.point.sequence_length) == (SIZE, None)
        assert natural.point.natural == "as_they_come"
        assert natural.texts is not None
        assert natural.texts.batches == len(chosen)
        assert natural.texts.tokens_per_example * SIZE * len(chosen) == pytest.approx(tokens)
        assert len(natural.windows) == 3
        for window in natural.windows:
            assert len(window.batch_ns) % len(chosen) == 0
    raw = costs.Raw(measured, ("fp32 eager", "bf16 eager"), "fp32 eager", "accuracy", 0)
    point = figures.points(raw, "bf16 eager")[1]
    windows = measured.runner("bf16 eager").points[1].windows
    each_s = [w.duration_s / (len(w.batch_ns) * SIZE) for w in windows]
    assert point.natural is not None
    assert point.natural.latency_per_example_s.value == pytest.approx(statistics.geometric_mean(each_s), rel=1e-9)
    stored = replace(measured, judged_by=raw.judged_by)
    trace.write(tmp_path / "trace", stored)
    assert trace.read(tmp_path / "trace") == stored


def test_a_split_smaller_than_a_batch_is_one_smaller_batch(workload: Path) -> None:
    short = job(workload, "together")
    limited = replace(short, limit=3, runners=short.runners[:1])
    natural = run_session(limited, {}).runners[0].points[1]
    assert natural.point.batch_size == 3
    assert natural.texts is not None
    assert natural.texts.batches == 1


@pytest.mark.parametrize("length", [8, 16])
def test_texts_that_all_have_the_headlines_length_are_measured_once(length: int, tmp_path: Path) -> None:
    path = write_workload(tmp_path, headline={"batch_size": SIZE, "sequence_length": length}, max_length=length)
    texts = [" ".join(FILLER[i : i + 6]) for i in range(4)] * 5  # eight tokens with the special ones
    for split in ("train", "test"):
        rows = {"text": [f"{text} {split}" for text in texts] if split == "train" else texts, "label": [0, 1] * 10}
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "data" / f"{split}.parquet")
    measured = run_session(job(path, "together"), {})
    for runner in measured.runners:
        headline, natural = runner.points
        assert (natural.point.natural, natural.point.batch_size) == ("as_they_come", SIZE)
        assert natural.texts is not None and natural.texts.tokens_per_example == 8
        assert (natural.windows == headline.windows) == (length == 8)
        assert (natural.rounds_s is None) == (length == 8)
    trace.write(tmp_path / "trace", measured)
    assert trace.read(tmp_path / "trace") == measured
    raw = costs.Raw(measured, ("fp32 eager", "bf16 eager"), "fp32 eager", "accuracy", 0)
    first, second = figures.points(raw, "bf16 eager")
    assert second.natural is not None
    if length == 8:
        assert second.ratios == first.ratios
        assert second.natural.latency_per_example_s.value == pytest.approx(first.latency_s.value / SIZE)


def _examples(workload: Workload) -> Any:
    source = locate.resolve(workload)
    processor = loading.load_processor(source)
    model, _ = loading.load_model(source)
    return loading.load_examples(source, "test", processor, model.config)
