"""References are evaluated once: a later run recalls their outcomes, and measures their latency anew."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis.verify import verify
from compress.base.config import digest
from compress.base.files import content_hash
from compress.measure import session as sessions
from compress.measure.remembered import recalled
from compress.measure.session import run_session
from compress.records import files, trace
from compress.records.session import Memory, Runner
from tests.helpers import QUICK
from tests.measure.test_runners import job

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def evaluations(tmp_path: Path) -> Path:
    return tmp_path / "evaluations" / "key"


def planned(workload: Path, evaluations: Path) -> Any:
    return replace(job(workload, "together"), evaluations=str(evaluations))


def of(session: Any, name: str) -> Runner:
    """A runner without what every session measures anew."""
    return replace(session.runner(name), points=())


def test_a_reference_is_evaluated_once(workload: Path, evaluations: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first_job = planned(workload, evaluations)
    assert recalled(first_job) == {}
    first = run_session(first_job, {"fp32 eager": Memory(5, 6)})
    known = recalled(first_job)
    assert set(known) == {spec.name for spec in first_job.runners if spec.reference}
    monkeypatch.setattr(sessions, "answers", None)  # any call fails
    second = run_session(first_job, {"fp32 eager": Memory(5, 6)}, known)
    for name in known:
        assert of(second, name) == of(first, name)
        assert second.runner(name).points[0].windows != first.runner(name).points[0].windows
    assert known["fp32 eager"].memory == Memory(5, 6)


def test_other_jobs_recall_nothing(workload: Path, evaluations: Path) -> None:
    made = planned(workload, evaluations)
    run_session(made, {})
    assert recalled(made)
    assert recalled(replace(made, evaluations=None)) == {}
    assert recalled(replace(made, evaluations=str(evaluations.with_name("other")))) == {}
    assert recalled(replace(made, evaluates=False)) == {}
    other = tuple(replace(spec, padded_to=32) for spec in made.runners)
    assert recalled(replace(made, runners=other)) == {}


def test_a_reference_without_its_memory_is_not_remembered(workload: Path, evaluations: Path) -> None:
    made = planned(workload, evaluations)
    run_session(made, {"fp32 eager": Memory(reason="OSError: out of memory")})
    assert "fp32 eager" not in recalled(made)


def test_a_damaged_evaluation_is_made_again(workload: Path, evaluations: Path) -> None:
    made = planned(workload, evaluations)
    run_session(made, {})
    before = recalled(made)
    for stored in evaluations.iterdir():
        (runner,) = trace.read(stored).runners
        fewer = {name: list(values)[:-5] for name, values in runner.outcomes.items()}
        trace.write(stored, replace(trace.read(stored), runners=(replace(runner, outcomes=fewer),)))
    assert recalled(made) == {}
    run_session(made, {})
    assert {name: runner.outcomes for name, runner in recalled(made).items()} == {
        name: runner.outcomes for name, runner in before.items()
    }


def test_a_cache_that_cannot_be_written_is_stated(
    workload: Path, evaluations: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluations.parent.parent.mkdir(exist_ok=True)
    evaluations.parent.write_text("a file where the folder should be")
    session = run_session(planned(workload, evaluations), {})
    assert all(runner.error is None for runner in session.runners)
    assert "fp32 eager will be evaluated again by the next run" in capsys.readouterr().err


def test_an_evaluation_that_was_moved_is_not_taken(workload: Path, evaluations: Path) -> None:
    job = planned(workload, evaluations)
    run_session(job, {})
    assert set(recalled(job)) == {"fp32 eager", "bf16 eager"}
    one, two = evaluations.iterdir()
    swapped = [one.with_name(two.name[:17] + one.name[17:]), two.with_name(one.name[:17] + two.name[17:])]
    for before, after in zip((one, two), swapped, strict=True):
        before.rename(after)
    assert recalled(job) == {}
    for before, after in zip((one, two), swapped, strict=True):
        after.rename(before)
    assert len(recalled(job)) == 2
    elsewhere = evaluations.with_name("f" * 16)
    evaluations.rename(elsewhere)
    assert recalled(replace(job, evaluations=str(elsewhere))) == {}


def test_runs_share_evaluations_and_exported_graphs(
    run: Run, workload: Path, tmp_path: Path, forked_sessions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    command = ("run", "bert_int8", "--workload", workload, "--device", "cpu", *QUICK)
    places = ("--artifacts", tmp_path / "artifacts")
    assert run(*command, *places, "--out", tmp_path / "one")[0] == 0
    exported = list((tmp_path / "cache" / "references").glob("*/manifest.json"))
    assert len(exported) == 1
    written = exported[0].stat().st_mtime_ns
    stored = list((tmp_path / "cache" / "evaluations").glob("*/*"))
    assert len(stored) >= 2  # fp32 eager and fp32 onnxruntime
    for place in stored:
        (runner,) = trace.read(place).runners
        trace.write(place, replace(trace.read(place), runners=(replace(runner, remark="recalled"),)))
        spec = place.name.partition("-")[0]
        place.rename(place.with_name(f"{spec}-{digest([place.parent.name, spec, content_hash(place)])}"))
    assert run(*command, *places, "--out", tmp_path / "two")[0] == 0
    assert exported[0].stat().st_mtime_ns == written
    (path,) = (tmp_path / "two" / "my").glob("*.json")
    assert "recalled" in files.read(path).notes
    assert not verify(path).differences
    assert run(*command, *places, "--out", tmp_path / "two", "--fresh")[0] == 0
    assert "recalled" not in files.read(path).notes
