"""A recipe measured in several sessions: real processes, their traces, and sessions that fail."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress import Recipe
from compress.analysis.comparison import compared
from compress.analysis.external import attach
from compress.analysis.merge import merge
from compress.analysis.verify import verify
from compress.base.config import InputError
from compress.harness import engine
from compress.harness import run as harness
from compress.harness.plan import Options
from compress.records import files as result_files
from compress.records import trace
from compress.records.joined import joined_ratio, session_spread
from compress.records.result import Result
from compress.records.session import Session
from compress.records.stats import paired_ratio
from compress.report.describe import describe
from compress.spec.measure import PROFILES, Measure
from tests import forked
from tests.helpers import write_workload

TWICE = Measure(
    profile="quick", rounds=3, window_s=0.02, preroll_s=0.0, warmup_s=0.1, points="headline", sessions=2,
    session_spread=0.03,
)  # fmt: skip
pytestmark = pytest.mark.usefixtures("forked_sessions")


def options(workload: Path, folder: Path) -> Options:
    return Options(str(workload), "cpu", folder / "results", folder / "artifacts", limit=8)


@pytest.fixture(scope="module")
def shared(workload: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """One run of two recipes."""
    folder = tmp_path_factory.mktemp("sessions")
    recipes = [Recipe(name="one", measure=TWICE), Recipe(name="two", measure=TWICE)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "run_child", forked.run_child)
        patch.setattr(harness, "threads", forked.one_thread)
        return folder, harness.run_all(recipes, options(workload, folder))


@pytest.fixture
def measured(shared: tuple[Path, list[Result]], tmp_path: Path) -> tuple[Path, list[Result]]:
    """Its own copy of the results."""
    shutil.copytree(shared[0] / "results", tmp_path / "run" / "results")
    return tmp_path / "run", shared[1]


def test_a_run_of_two_sessions_joins_them_keeps_both_traces_and_is_verified(
    measured: tuple[Path, list[Result]],
) -> None:
    folder, results = measured
    one, two = results
    point = one.headline
    assert one.error is None and point is not None and two.traces == one.traces
    assert one.trace is not None and one.further_traces == (f"{one.trace}-2",)
    assert [(r.session, r.index) for r in point.rounds] == [(0, 1), (0, 2), (0, 3), (1, 4), (1, 5), (1, 6)]
    assert (point.sessions, point.extent, point.latency_s.n) == (2, "6 rounds in 2 sessions", 2)
    first, second = (trace.read(folder / "results" / place) for place in one.traces)
    assert first.finished is not None and second.finished is not None and first.finished < second.finished
    assert len(first.runner("one").outcomes["prediction"]) == 8 and not second.runner("one").outcomes
    reference = one.verdict_reference
    assert reference is not None
    ratio = point.ratio(reference.name)
    assert ratio is not None
    each = [
        paired_ratio(*([w.batch_s for w in session.runner(name).points[0].windows] for name in ("one", reference.name)))
        for session in (first, second)
    ]
    assert (ratio.latency, ratio.session_spread) == (joined_ratio(each), session_spread(each))
    assert one.session_spread == 0.03
    lines = "\n".join(describe(one))
    assert "sessions differ by" in lines and f"{one.trace}, {one.trace}-2" in lines
    for result in results:
        path = folder / "results" / result_files.own_path(result)
        assert verify(path).differences == ()
    assert compared(one, two, folder / "results").point.ratios[0].latency.n == 2


def test_a_figure_that_does_not_follow_from_the_second_session_is_found(measured: tuple[Path, list[Result]]) -> None:
    folder, (one, _) = measured
    second = folder / "results" / one.further_traces[0]
    session = trace.read(second)
    faster = [replace(w, ended_ns=w.started_ns + w.duration_ns // 2) for w in session.runner("one").points[0].windows]
    runners = tuple(
        replace(r, points=(replace(r.points[0], windows=tuple(faster)),)) if r.name == "one" else r
        for r in session.runners
    )
    trace.write(second, replace(session, runners=runners))
    path = folder / "results" / result_files.own_path(one)
    assert any("rounds[3].duration_s" in line for line in verify(path).differences)
    shutil.rmtree(second)
    with pytest.raises(InputError, match=f"{second.name}.*"):
        verify(path)


def test_merging_carries_the_traces_of_all_sessions(measured: tuple[Path, list[Result]], tmp_path: Path) -> None:
    folder, (one, _) = measured
    (tmp_path / "empty").mkdir()
    out = tmp_path / "merged"
    shutil.copytree(folder / "results" / "my", tmp_path / "other" / "my")
    merged = merge([folder / "results", tmp_path / "other"], out)
    assert merged.untraced == ()
    for result in merged.results:
        assert verify(out / result_files.own_path(result)).differences == ()
    shutil.rmtree(out / one.further_traces[0])
    shutil.rmtree(folder / "results" / one.further_traces[0])
    shutil.rmtree(tmp_path / "other" / one.further_traces[0])
    assert "one" in merge([folder / "results", tmp_path / "other"], tmp_path / "again").untraced


def edges_s(session: Session) -> tuple[float, float]:
    """First and last moment of a session's windows, in seconds since 1970."""
    assert session.clock_offset_ns is not None
    edges = min(w.started_ns for w in session.windows), max(w.ended_ns for w in session.windows)
    first, last = ((edge + session.clock_offset_ns) / 1e9 for edge in edges)
    return first, last


def readings(path: Path, *spans: tuple[float, float]) -> Path:
    """A file of readings every 0.5 ms, of 50 W, from 0.1 s before until 0.1 s after every span."""
    times = [start - 0.1 + 0.0005 * i for start, end in spans for i in range(int((end - start + 0.2) / 0.0005))]
    path.write_text("\n".join(["time,watts", *(f"{time:.6f},50" for time in times)]))
    return path


def test_an_external_meter_covers_every_session_or_the_error_names_those_that_it_does_not(
    measured: tuple[Path, list[Result]],
) -> None:
    folder, (one, _) = measured
    file, power = next(folder.rglob("one-*.json")), folder / "power.csv"
    first, second = (edges_s(trace.read(folder / "results" / place)) for place in one.traces)
    with pytest.raises(InputError) as refused:
        attach(file, readings(power, first), "the wall", None)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{power}: covers -")
    assert "s from the start of the first window of session 2 of 2" in problem
    assert "; join the readings of all sessions in one file, or check the meter's clock" in problem
    later = (second[1] + 100, second[1] + 101)
    with pytest.raises(InputError) as refused:
        attach(file, readings(power, later), "the wall", None)
    assert [f"session {n} of 2" in problem for n, problem in enumerate(refused.value.problems, 1)] == [True, True]
    middle = second[0] + 0.1
    with pytest.raises(InputError, match=r"gaps between readings of session 2 of 2 reach .* s, and windows last"):
        attach(file, readings(power, first, (second[0], middle), (middle + 0.3, second[1])), "the wall", None)
    point = attach(file, readings(power, first, second), "the wall", None).headline
    assert point is not None and point.energy_j is not None
    assert point.energy_j.value == pytest.approx(50 * point.latency_s.value / point.batch_size)
    assert {bool(r.energy_j) for r in point.rounds} == {True} and point.sessions == 2


def test_natural_points_of_larger_batches_than_the_split_are_measured_once_with_a_note(
    tmp_path: Path,
) -> None:
    points = [{"batch_size": size, "natural": "as_they_come"} for size in (500, 900)]
    larger = write_workload(tmp_path / "larger", points=points)
    recipe = Recipe(name="one", measure=TWICE.model_copy(update={"points": "all"}))
    (result,) = harness.run_all([recipe], options(larger, tmp_path))
    assert result.error is None
    assert [(point.batch_size, point.natural is not None) for point in result.points] == [(4, False), (8, True)]
    assert [point.sessions for point in result.points] == [2, 2]
    assert [note for note in result.notes if "natural" in note] == [
        "the test split has 8 examples, so the natural points of batch 500, 900 were measured with batches of 8"
    ]


def failing(run: Callable[..., None], session: int) -> Callable[..., None]:
    """Run children, except that of one session."""

    def child(command: Sequence[str], *rest: Any) -> None:
        if Path(command[-1]).parent.name == f"session-{session}":
            raise RuntimeError("the measuring process ended with exit code -9")
        run(command, *rest)

    return child


def test_a_session_whose_process_dies_is_left_out_and_the_result_says_so(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "run_child", failing(engine.run_child, 2))
    thrice = TWICE.model_copy(update={"sessions": 3})
    result = harness.run_all([Recipe(name="one", measure=thrice)], options(workload, tmp_path))[0]
    point = result.headline
    assert result.error is None and point is not None
    assert [(r.session, r.index) for r in point.rounds] == [(0, 1), (0, 2), (0, 3), (2, 4), (2, 5), (2, 6)]
    (note,) = [note for note in result.notes if note.startswith("failed in session 2 of 3")]
    assert note.endswith("RuntimeError: the measuring process ended with exit code -9")
    assert any(note.startswith("the reference fp32 eager failed in session 2 of 3") for note in result.notes)
    assert verify(tmp_path / "results" / result_files.own_path(result)).differences == ()


def test_a_first_session_whose_process_dies_leaves_an_error(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "run_child", failing(engine.run_child, 1))
    result = harness.run_all([Recipe(name="one", measure=TWICE)], options(workload, tmp_path))[0]
    assert result.error == "RuntimeError: the measuring process ended with exit code -9"


def test_publish_measures_three_sessions_and_other_profiles_one() -> None:
    assert {name: settings.sessions for name, settings in PROFILES.items()} == {"quick": 1, "standard": 1, "publish": 3}
