"""What cannot work is refused before anything is loaded, and a failure never replaces figures that still hold."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.base.config import InputError
from compress.base.device import CPU
from compress.harness import build, preflight, run
from compress.harness.plan import Options, Planned, plan
from compress.records import files as result_files
from compress.records.machine import describe
from compress.records.result import Result
from compress.spec.recipe import Recipe
from tests import factory

GOOD = factory.result("bert_sparse")


@pytest.fixture
def options(workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Options:
    """A run that must not come to look at the model."""
    monkeypatch.setattr(preflight, "check", lambda *_: pytest.fail("the model is looked at"))
    return Options(workload=str(workload), device="cpu", out=tmp_path / "r", artifacts=tmp_path / "a", rebuild=True)


def plan_sparse(options: Options) -> Planned:
    (planned,) = plan([Recipe.load("bert_sparse")], options, describe(CPU))
    return planned


def write_result_bytes(planned: Planned, data: bytes) -> None:
    planned.path.parent.mkdir(parents=True, exist_ok=True)
    planned.path.write_bytes(data)


def write_foreign_file(planned: Planned) -> None:
    planned.folder.mkdir(parents=True)
    (planned.folder / "notes.txt").write_text("mine")


def write_result(planned: Planned, **fields: Any) -> None:
    result_files.replace_file(planned.path, GOOD)
    write_result_bytes(planned, json.dumps({**json.loads(planned.path.read_bytes()), **fields}).encode())


REFUSED = {
    "files in the artifact's place": (write_foreign_file, "not overwritten, choose another folder"),
    "a file in the artifact's place": (
        lambda planned: [planned.folder.parent.mkdir(parents=True), planned.folder.write_text("x")], "is not a folder",
    ),
    "a file for the folder of artifacts": (
        lambda planned: [planned.folder.parent.parent.mkdir(parents=True), planned.folder.parent.write_text("x")],
        "--artifacts",
    ),
    "a newer result": (lambda planned: write_result(planned, schema=99), "reads 1 and 2"),
    "something else than a result": (lambda planned: write_result_bytes(planned, b"[]"), "not overwritten; move it"),
    "a folder in the result's place": (lambda planned: planned.path.mkdir(parents=True), "is a folder"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_run_may_not_replace_is_refused_before_the_model_is_looked_at(kind: str, options: Options) -> None:
    planned = plan_sparse(options)
    put, said = REFUSED[kind]
    put(planned)
    before = {path: path.is_file() and path.read_bytes() for path in options.out.parent.rglob("*")}
    with pytest.raises(InputError, match=said):
        run.run_all([planned.recipe], options)
    assert {path: path.is_file() and path.read_bytes() for path in options.out.parent.rglob("*")} == before


def test_a_failure_replaces_figures_of_another_plan_and_never_those_of_its_own(
    options: Options, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no memory is left")

    monkeypatch.setattr(preflight, "check", lambda *_: None)
    monkeypatch.setattr(build, "build", fail)
    planned = plan_sparse(options)

    def rerun(data: bytes) -> Result:
        write_result_bytes(planned, data)
        (failed,) = run.run_all([planned.recipe], options)
        assert "no memory is left" in str(failed.error)
        return result_files.read(planned.path)

    workload = {**GOOD.workload, "resolved": dict(planned.source.resolved)}
    good = replace(GOOD, fingerprint=planned.fingerprint, workload=workload)
    result_files.replace_file(planned.path, good)
    data = planned.path.read_bytes()
    assert rerun(data) == good
    assert "keeps the figures" in capsys.readouterr().err
    assert rerun(data.replace(planned.fingerprint.encode(), b"another")).error is not None
    assert rerun(data[:-100]).error is not None  # damaged: nothing to keep
