"""Names and paths in results of others: data that stays inside the folder it belongs to, whoever reads it."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis.merge import merge
from compress.base.config import InputError
from compress.records import files as result_files
from compress.records import trace
from compress.records.result import Result
from compress.records.session import MeterFacts, Session
from compress.report.trackers.facts import facts
from compress.report.trackers.tensorboard import send
from tests import factory
from tests.helpers import compress

NAMES = ["../victim", "/tmp/victim", "a/b", "a\\b", "..", ".", ".hidden", "", "a\x00b", "a\x1b[31mb", "a\nb", "x" * 300]


def workload(name: str) -> dict[str, Any]:
    return {"name": name, "model": "mine", "dataset": {"path": "data"}}


FIELDS: dict[str, Callable[[str], Result]] = {
    "workload": lambda name: factory.result(workload=workload(name)),
    "recipe": factory.result,
    "machine": lambda name: factory.result(machine=factory.machine(name)),
}


def plant_result(folder: Path, result: Result) -> Path:
    """A result file as an attacker leaves it: its place says nothing about what is in it."""
    path = folder / "w" / "r-m1.json"
    result_files.replace_file(path, result)
    return path


def everything(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", FIELDS)
def test_merge_writes_nothing_for_a_name_that_is_none_of_a_file(field: str, name: str, tmp_path: Path) -> None:
    plant_result(tmp_path / "a", FIELDS[field](name))
    result_files.write(tmp_path / "b", factory.result("fine"))
    before = everything(tmp_path)
    with pytest.raises(InputError, match="expected") as refused:
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert everything(tmp_path) == before
    assert all(problem.isprintable() for problem in refused.value.problems)


def linked_folder(results: Path, outside: Path) -> None:
    (results / "w" / "traces").symlink_to(outside)


def linked_file(results: Path, outside: Path) -> None:
    (results / "w/traces/s1").mkdir(parents=True)
    (results / "w/traces/s1/session.json").symlink_to(outside / "s1/session.json")


def hard_link(results: Path, outside: Path) -> None:
    (results / "w/traces/s1").mkdir(parents=True)
    os.link(outside / "s1/session.json", results / "w/traces/s1/session.json")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    (tmp_path / "secret" / "s1").mkdir(parents=True)
    (tmp_path / "secret/s1/session.json").write_text('{"password": 1}')
    return tmp_path / "secret"


@pytest.mark.parametrize("plant", [linked_folder, linked_file, hard_link], ids=lambda plant: plant.__name__)
def test_links_inside_a_trace_are_not_followed(
    plant: Callable[[Path, Path], None], tmp_path: Path, secret: Path
) -> None:
    path = plant_result(tmp_path / "a", factory.result(trace="w/traces/s1"))
    plant(tmp_path / "a", secret)
    result_files.write(tmp_path / "b", factory.result("fine"))
    done = compress("merge", "a", "b", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2 and "link" in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()
    if plant is not hard_link:  # a hard link's content is a file of its own to a reader; it is only never copied
        done = compress("verify", path, cwd=tmp_path)
        assert done.returncode == 2 and "link" in done.stderr, done.stderr


@pytest.mark.parametrize("stated", ["../secret/s1", "/etc", "w/../../secret/s1", "w\\..\\x", "a\x00b"])
def test_a_trace_elsewhere_is_read_by_nobody(stated: str, tmp_path: Path, secret: Path) -> None:
    path = plant_result(tmp_path / "a", factory.result(trace=stated))
    said = "lies outside of the folder" if stated.isprintable() else "has a name that cannot be printed"
    readings = tmp_path / "readings.csv"
    readings.write_text("time,watts\n1,2\n")
    for command in (("verify", path), ("plot", path, "--kind", "trace", "--out", tmp_path / "x.png"),
                    ("external", path, readings, "--boundary", "wall")):  # fmt: skip
        done = compress(*command, cwd=tmp_path)
        assert done.returncode == 2, (command[0], done.stderr)
        assert said in done.stderr or command[0] == "external", done.stderr
    assert said in str(facts(path).untraced)


def test_a_link_below_out_is_not_written_through(tmp_path: Path, secret: Path) -> None:
    for name in ("a", "b"):
        result_files.write(tmp_path / name, factory.result(name, trace="w/traces/s1"))
        trace_folder = tmp_path / name / "w/traces/s1"
        trace_folder.mkdir(parents=True)
        (trace_folder / "session.json").write_text("{}")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "w").symlink_to(secret)
    with pytest.raises(InputError, match="behind a link"):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert everything(secret) == {str(secret / "s1"), str(secret / "s1/session.json")}


def test_a_link_to_a_file_elsewhere_is_no_result_of_the_folder(tmp_path: Path) -> None:
    path = plant_result(tmp_path / "elsewhere", factory.result())
    result_files.write(tmp_path / "a", factory.result("fine"))
    (tmp_path / "a" / "linked.json").symlink_to(path)
    found, problems = result_files.read_all(tmp_path / "a")
    assert [result.name for result in found] == ["fine"]
    assert len(problems) == 1 and "behind a link" in problems[0]


def test_trackers_write_below_their_folder_only(tmp_path: Path) -> None:
    told = facts(plant_result(tmp_path / "a", factory.result(workload=workload("../../victim"))))
    with pytest.raises(InputError, match=r"workload\.name"):
        send(told, tmp_path / "runs", "compress")
    with pytest.raises(InputError, match="--project"):
        send(replace(told, workload="w"), tmp_path / "runs", "../compress")
    assert not (tmp_path / "runs").exists()


def test_every_file_of_a_trace_is_in_its_list(tmp_path: Path) -> None:
    trace.write(tmp_path, Session(runners=(), meter=MeterFacts(), examples=()))
    assert {path.name for path in tmp_path.iterdir()} == set(trace.FILES)
