"""Engines: run and compare know the protocol only, and references are built before an engine's turn."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress import Recipe
from compress.base.config import InputError
from compress.harness import engine
from compress.harness import run as harness
from compress.harness.compare import compare
from compress.harness.plan import Options
from compress.records.session import MeterFacts, Runner, Session
from compress.spec.measure import Measure

SHORT = Measure(profile="quick", rounds=2, window_s=0.02, preroll_s=0.01, warmup_s=0.1, points="headline")


class Recording:
    """A second engine: the local one's sessions, with what the harness asked for."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def run(self, prepare: engine.Prepare, finish: engine.Finish, scratch: Path) -> None:
        def counted(waited: bool) -> Any:
            self.events.append("turn")
            return prepare(waited)

        engine.Local().run(counted, finish, scratch)


def test_a_second_engine_is_one_line_of_a_table(
    workload: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forked_sessions: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    events: list[str] = []
    monkeypatch.setitem(engine.ENGINES, "recording", Recording(events))
    build = harness.build_references
    monkeypatch.setattr(harness, "build_references", lambda *args: events.append("references") or build(*args))
    recipes = [Recipe(name="one", measure=SHORT), Recipe(name="two", measure=SHORT)]
    options = Options(str(workload), "cpu", tmp_path / "results", tmp_path / "artifacts", limit=8, engine="recording")
    result = harness.run_all(recipes[:1], options)[0]
    assert result.error is None
    assert events == ["references", "turn"]
    compared = compare(recipes, options)
    assert events == ["references", "turn"] * 3  # the second recipe, then both together
    assert "one and two come from two sessions, whose speeds may differ: both are measured" in capsys.readouterr().err
    assert compared.point.ratios[0].latency.n == 2


def test_an_unknown_engine_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="engine locl: unknown; did you mean local"):
        harness.run_all([Recipe(name="one")], Options(out=tmp_path / "results", engine="locl"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [RuntimeError("exit code -9"), OSError("no space left"), InputError("the trace cannot be read")]
)
def test_a_further_session_that_fails_in_any_way_leaves_the_first(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Session((Runner("ours", {}, True, 1, "", None, ()),), MeterFacts())

    def session(job: Any, folder: Path) -> Session:
        if folder.name == "session-2":
            raise error
        return first

    monkeypatch.setattr(engine, "one_session", session)
    monkeypatch.setattr(engine, "further_job", lambda job, _: job)
    job: Any = SimpleNamespace(settings=SimpleNamespace(sessions=3), kept=None)
    handed: list[Sequence[Session]] = []
    engine.Local().run(lambda waited: job, handed.append, tmp_path)
    ((one, lost, three),) = handed
    assert one == three == first
    assert lost.runners[0].error == f"{type(error).__name__}: {error}"


def test_a_job_that_is_not_wanted_any_more_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "run_child", lambda *_: pytest.fail("a process was started"))
    engine.Local().run(lambda waited: None, lambda session: pytest.fail("there was no session"), tmp_path)
    assert not list(tmp_path.iterdir())
