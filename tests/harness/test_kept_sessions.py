"""Sessions of an interrupted job: kept beside the results, read by the next run, removed when results are written."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress import Recipe
from compress.analysis.verify import verify
from compress.harness import engine, kept
from compress.harness import run as harness
from compress.harness.plan import Options
from compress.records import files as result_files
from compress.records import trace
from compress.records.session import MeterFacts, Runner, Session
from tests.harness.test_several_sessions import TWICE

THRICE = TWICE.model_copy(update={"sessions": 3})


class Fake:
    """Sessions that know their number; that of `ends` is interrupted."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.ends = ""

    def __call__(self, job: Any, folder: Path) -> Session:
        if folder.name == self.ends:
            raise KeyboardInterrupt
        self.ran.append(folder.name)
        number = float(folder.name.rpartition("-")[2])
        return Session((Runner("ours", {}, True, 1, "", None, ()),), MeterFacts(), finished=number)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake()
    monkeypatch.setattr(engine, "one_session", made)
    monkeypatch.setattr(engine, "further_job", lambda job, _: job)
    return made


def sessions_of(folder: Path | None, scratch: Path) -> list[float | None]:
    """Run a job of three sessions; return when each finished."""
    job: Any = SimpleNamespace(settings=SimpleNamespace(sessions=3), kept=folder)
    handed: list[Sequence[Session]] = []
    engine.Local().run(lambda waited: job, handed.append, scratch)
    return [session.finished for session in handed[0]]


def test_a_job_goes_on_after_its_last_finished_session(
    fake: Fake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "traces" / ".sessions-0"
    for ends in ("session-2", "session-3"):
        fake.ends = ends
        with pytest.raises(KeyboardInterrupt):
            sessions_of(folder, tmp_path)
    fake.ends = ""
    assert sessions_of(folder, tmp_path) == [1, 2, 3]
    assert fake.ran == ["session-1", "session-2", "session-3"]
    assert "session 2 of 3, kept from the run that was interrupted" in capsys.readouterr().err


def test_a_job_that_keeps_nothing_runs_all_its_sessions_again(fake: Fake, tmp_path: Path) -> None:
    fake.ends = "session-3"
    with pytest.raises(KeyboardInterrupt):
        sessions_of(None, tmp_path)
    fake.ends = ""
    assert sessions_of(None, tmp_path) == [1, 2, 3]
    assert fake.ran == ["session-1", "session-2", "session-1", "session-2", "session-3"]


def _damaged(folder: Path) -> None:
    (folder / "session-1" / "windows.parquet").write_bytes(b"no table")


def _old(folder: Path) -> None:
    then = time.time() - kept.LONGEST_S - 60
    os.utime(folder / "session-1", (then, then))


@pytest.mark.parametrize("change", [_damaged, _old])
def test_without_its_first_session_all_are_run_again(
    fake: Fake, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "traces" / ".sessions-0"
    fake.ends = "session-3"
    with pytest.raises(KeyboardInterrupt):
        sessions_of(folder, tmp_path)
    change(folder)
    fake.ends, fake.ran = "", []
    assert sessions_of(folder, tmp_path) == [1, 2, 3]
    assert fake.ran == ["session-1", "session-2", "session-3"]


def test_old_sessions_of_other_jobs_are_removed(fake: Fake, tmp_path: Path) -> None:
    old, new = tmp_path / "traces" / ".sessions-1", tmp_path / "traces" / ".sessions-2"
    for other in (old, new):
        other.mkdir(parents=True)
    then = time.time() - kept.LONGEST_S - 60
    os.utime(old, (then, then))
    sessions_of(tmp_path / "traces" / ".sessions-0", tmp_path)
    assert not old.exists() and new.exists()


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch, forked_sessions: None) -> Callable[[int | None], list[str]]:
    """Let the measuring process of this session be interrupted; return the list of those that ran."""
    real = engine.run_child

    def at(session: int | None) -> list[str]:
        ran: list[str] = []

        def child(command: Sequence[str], *rest: Any) -> None:
            name = Path(command[-1]).parent.name
            if name == f"session-{session}":
                raise KeyboardInterrupt
            ran.append(name)
            real(command, *rest)

        monkeypatch.setattr(engine, "run_child", child)
        return ran

    return at


@pytest.mark.parametrize(
    ("change", "fresh", "expected"),
    [
        ({}, False, ["session-3"]),
        ({}, True, ["session-1", "session-2", "session-3"]),
        ({"rounds": 4}, False, ["session-1", "session-2", "session-3"]),
    ],
    ids=["the same command", "fresh", "other settings"],
)
def test_the_same_command_goes_on_from_the_sessions_of_an_interrupted_run(
    workload: Path,
    tmp_path: Path,
    interrupted: Callable[[int | None], list[str]],
    change: dict[str, int],
    fresh: bool,
    expected: list[str],
) -> None:
    options = Options(str(workload), "cpu", tmp_path / "results", tmp_path / "artifacts", limit=8)
    interrupted(3)
    with pytest.raises(KeyboardInterrupt):
        harness.run_all([Recipe(name="one", measure=THRICE)], options)
    traces = tmp_path / "results" / "my" / trace.FOLDER
    (folder,) = traces.iterdir()
    first, second = (trace.read(folder / f"session-{number}") for number in (1, 2))
    assert result_files.read_all(tmp_path / "results") == ([], [])
    ran = interrupted(None)
    again = Recipe(name="one", measure=THRICE.model_copy(update=change))
    (result,) = harness.run_all([again], replace(options, fresh=fresh))
    assert result.error is None and ran == expected
    stored = [trace.read(tmp_path / "results" / place) for place in result.traces]
    goes_on = ran == ["session-3"]
    assert (stored[0].windows == first.windows, stored[1].windows == second.windows) == (goes_on, goes_on)
    assert verify(tmp_path / "results" / result_files.own_path(result)).differences == ()
    assert folder.exists() == bool(change)
    assert len([path for path in traces.iterdir() if not path.name.startswith(".")]) == 3


def test_sessions_are_kept_until_the_results_are_on_disk(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interrupted: Callable[[int | None], list[str]]
) -> None:
    options = Options(str(workload), "cpu", tmp_path / "results", tmp_path / "artifacts", limit=8)

    def full(path: Path, result: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(result_files, "replace_file", full)
        interrupted(None)
        with pytest.raises(RuntimeError, match="cannot be written"):
            harness.run_all([Recipe(name="one", measure=THRICE)], options)
    ran = interrupted(None)
    (result,) = harness.run_all([Recipe(name="one", measure=THRICE)], options)
    assert result.error is None and ran == []
    assert not list((tmp_path / "results" / "my" / trace.FOLDER).glob(".*"))
