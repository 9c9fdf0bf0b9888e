"""Result files: what is written is read back, whole, or refused with one sentence."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.gate import Limits, check
from compress.analysis.judging import judged
from compress.analysis.pareto import group
from compress.base.config import InputError
from compress.base.files import write_atomic
from compress.records.files import read, read_all, write
from compress.records.stats import Estimate
from compress.report.describe import describe
from compress.report.notes import footnotes
from compress.report.table import rows
from compress.spec.measure import PROFILES
from tests import factory

MADE = (factory.result(), factory.failed(), *factory.family()[:2], factory.result("timed", settings=PROFILES["quick"]))


@pytest.mark.parametrize("made", MADE, ids=lambda r: r.name)
def test_a_result_is_read_back_equal(made, tmp_path):
    assert read(write(tmp_path, made)) == made


def test_the_margin_of_a_result_is_kept_and_checked(tmp_path):
    path = write(tmp_path, factory.result(margin="0.3pt"))
    assert read(path).margin == "0.3pt"
    stored = json.loads(path.read_text())
    for text, why in (("0.3%", "margin is 0.3%; expected points for accuracy"), ("wide", "margin: expected points")):
        path.write_text(json.dumps({**stored, "margin": text}))
        with pytest.raises(InputError, match=why):
            read(path)
    del stored["margin"]
    path.write_text(json.dumps(stored))
    assert read(path).margin is None  # as in schema 1


def test_damaged_settings_are_refused_and_missing_ones_are_of_an_older_version(tmp_path):
    path = write(tmp_path, factory.result(settings=PROFILES["publish"]))
    stored = json.loads(path.read_text())
    assert stored["settings"]["sessions"] == 3
    for field, value in (("rounds", "many"), ("window_s", None), ("points", "some")):
        path.write_text(json.dumps({**stored, "settings": {**stored["settings"], field: value}}))
        with pytest.raises(InputError, match=f"not a result: settings.{field}"):
            read(path)
    del stored["settings"]
    path.write_text(json.dumps(stored))
    assert read(path).settings is None


def test_infinite_and_missing_figures_survive_the_file(tmp_path):
    made = factory.result()
    endless = replace(made.points[0], latency_s=Estimate(0.1, -math.inf, math.inf, 1), energy_j=None)
    path = write(tmp_path, replace(made, points=(endless,)))
    back = read(path)
    assert back.points[0].latency_s.high == math.inf
    assert back.points[0].latency_s.low == -math.inf
    assert back.points[0].energy_j is None
    json.loads(
        path.read_text(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON")
    )  # Infinity and NaN without quotes are not JSON


def perplexity(nll):
    return Evaluation({"nll": nll, "tokens": [1.0] * len(nll), "bytes": [3.0] * len(nll)}, True, 32, outputs=1000)


def own(folder):
    path = folder / "own.py"
    path.write_text(
        "import datasets, evaluate\nclass Own(evaluate.Metric):\n    def _info(self):\n"
        "        ids = datasets.Value('int64')\n"
        "        kept = datasets.Features({'predictions': ids, 'references': ids})\n"
        "        return evaluate.MetricInfo(description='', citation='', inputs_description='', features=kept)\n"
        "    def _compute(self, predictions, references):\n"
        "        named = [r for p, r in zip(predictions, references) if p == 1]\n"
        "        return {'own': sum(named) / len(named) if named else float('nan')}\n"
    )
    labels = [0.0, 1.0] * 30
    answers = ([0.0] * 60, labels)  # precision of class 1, which the first never answers
    return str(path), *(Evaluation({"prediction": a, "reference": labels}, True, 32, outputs=2) for a in answers)


@pytest.mark.parametrize("case", ["own metric", "perplexity"])
def test_a_metric_without_a_value_is_written_read_and_shown_as_broken_with_its_reason(case, tmp_path):
    perplexities = ("perplexity", perplexity([800.0, 810.0]), perplexity([2.0, 2.1]))
    metric, ours, theirs = own(tmp_path) if case == "own metric" else perplexities
    why = "beyond what a double can hold" if case == "perplexity" else "undefined (nan)"
    good = factory.result(references=(factory.reference(accuracy=summarise(theirs, metric, None, None, 0)),))
    found = judged(replace(good, accuracy=summarise(ours, metric, theirs, factory.FP32, 0)))
    back = read(write(tmp_path / "results", found))
    assert math.isnan(back.accuracy.estimate.value) and back.accuracy.delta is None
    assert back.accuracy.reasons == found.accuracy.reasons
    assert back.verdict.word == "BROKEN" and why in back.verdict.sentence
    shown = "\n".join(describe(back))
    assert "BROKEN" in shown and why in shown and ": unknown, " in shown
    (table,) = group([back])
    (row, _) = rows(table)
    assert row.cells["verdict"] == ("BROKEN",) and table.front == {factory.FP32}
    assert any(why in note for note in footnotes(table))
    sound = replace(found, accuracy=summarise(theirs, metric, theirs, factory.FP32, 0))
    (checked,) = check([back], [judged(sound)], Limits(loss=(0.01, "percent")))
    assert (checked.state, checked.detail) == ("FAILED", "BROKEN now, but not in the baseline")


def test_a_value_that_is_no_number_and_has_no_reason_is_refused(tmp_path):
    found = factory.accuracy()
    found = replace(found, estimate=Estimate(math.nan, -math.inf, math.inf, 872), delta=None)
    with pytest.raises(InputError, match=r"estimate\.value is nan; expected a finite number"):
        read(write(tmp_path, replace(factory.result(), accuracy=found)))


def test_a_result_lies_under_its_workload_named_by_recipe_and_machine(tmp_path):
    assert write(tmp_path, factory.result()) == tmp_path / "stdlib-bert" / "bert_int8-m1.json"


def test_a_limited_result_lies_beside_the_whole_one(tmp_path):
    whole, limited = factory.result(), replace(factory.result(), limit=20)
    assert write(tmp_path, whole) != write(tmp_path, limited)
    assert [r.limit for r in read_all(tmp_path)[0]] == [20, None]


def test_writing_leaves_no_temporary_file(tmp_path):
    write(tmp_path, factory.result())
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["bert_int8-m1.json"]


def test_a_failed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new and longer")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "result schema None"),
        (b'{"schema": 99}', "result schema 99; this version reads 1 and 2"),
        (b'{"schema": 1}', "not a result: name is missing"),
    ],
    ids=["cut", "empty", "binary", "list", "newer", "fields missing"],
)
def test_a_damaged_file_is_one_sentence_with_its_path(content, says, tmp_path):
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert len(caught.value.problems) == 1
    assert str(path) in str(caught.value) and says in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such result file"):
        read(tmp_path / "none.json")
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)


def test_read_all_keeps_the_whole_files_and_names_the_damaged_ones(tmp_path):
    write(tmp_path, factory.result("a"))
    damaged = write(tmp_path, factory.result("b"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    results, problems = read_all(tmp_path)
    assert [r.name for r in results] == ["a"]
    assert len(problems) == 1 and str(damaged) in problems[0]


def test_read_all_of_a_missing_folder_says_what_to_run(tmp_path):
    with pytest.raises(InputError, match="compress run"):
        read_all(Path(tmp_path / "none"))
