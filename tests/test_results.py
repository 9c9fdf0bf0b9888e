"""Result files: what is written is read back, whole, or refused with one sentence."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from compress.base.config import InputError
from compress.base.files import write_atomic
from compress.records.files import read, read_all, write
from compress.records.stats import Estimate
from tests import factory


@pytest.mark.parametrize("made", [factory.result(), factory.failed(), *factory.family()[:2]], ids=lambda r: r.name)
def test_a_result_is_read_back_equal(made, tmp_path):
    assert read(write(tmp_path, made)) == made


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
        (b'{"schema": 99}', "result schema 99; this version reads 1"),
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
