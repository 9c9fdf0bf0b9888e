"""Rounds of real sessions of tiny models: the first is unused, disturbed windows are repeated, precision ends them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis import costs, figures
from compress.data.workload import Workload
from compress.measure import disturbance, processor, windows
from compress.measure.disturbance import FIXED_ROUNDS, Allowance
from compress.measure.session import run_session
from compress.records import trace
from compress.records.session import Session
from compress.records.window import Disturbance, Window
from compress.spec.measure import PROFILES
from tests.measure.test_runners import job


@pytest.fixture(autouse=True)
def headline_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure one point: counts of windows are then those of its rounds."""
    monkeypatch.setattr(Workload, "natural_point", None)


def measured(workload: Path, **settings: Any) -> Session:
    """A session of two references, together."""
    planned = job(workload, "together")
    return run_session(replace(planned, settings=planned.settings.model_copy(update=settings)), {})


def disturb(monkeypatch: pytest.MonkeyPatch, disturbed: Any) -> list[Window]:
    """Give the n-th window of the session this many nanoseconds of other processes; return all windows."""
    made: list[Window] = []
    real = windows.measure_window

    def window(*given: Any) -> Window:
        found = replace(real(*given), disturbance=Disturbance(foreign_ns=disturbed(len(made))))
        made.append(found)
        return found

    monkeypatch.setattr(windows, "measure_window", window)
    return made


def allow(monkeypatch: pytest.MonkeyPatch, allowance: Allowance) -> None:
    """Allow these repeats of windows."""
    monkeypatch.setattr(disturbance, "FIXED_ROUNDS", allowance)


def test_the_first_round_is_kept_but_not_used(workload: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    disturb(monkeypatch, lambda _: 0)
    session = measured(workload)
    raw = costs.Raw(session, ("fp32 eager", "bf16 eager"), "fp32 eager", "accuracy", 0)
    for runner in session.runners:
        (point,) = runner.points
        assert [w.index for w in point.windows] == [1, 2, 3]
        assert [w.index for w in point.unused] == [0]
        assert point.unused[0].ended_ns <= point.windows[0].started_ns
        (found,) = figures.points(raw, runner.name)
        assert [r.index for r in found.rounds] == [1, 2, 3]
        used = {duration / 1e9 for w in point.windows for duration in w.batch_ns}
        assert found.latency_percentiles_s.n == sum(len(w.batch_ns) for w in point.windows)
        assert min(used) <= found.latency_percentiles_s.p50.value <= max(used)
    trace.write(tmp_path / "s", session)
    assert trace.read(tmp_path / "s") == session


def test_a_disturbed_window_is_repeated_at_once_in_its_round(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, Allowance(2, 1.0))
    made = disturb(monkeypatch, lambda n: 10**9 if n == 4 else 0)  # two of round 0, two of round 1, then this one
    session = measured(workload)
    assert len(made) == 2 * 4 + 1
    disturbed, repeat = made[4], made[5]
    points = [runner.points[0] for runner in session.runners]
    (point,) = [p for p in points if len(p.unused) == 2]
    first, kept = point.windows[1], point.unused[1]
    assert (kept.started_ns, kept.attempt, kept.index) == (disturbed.started_ns, 0, 2)
    assert (first.started_ns, first.attempt, first.index) == (repeat.started_ns, 1, 2)
    assert first.order == kept.order == 0


def test_where_all_are_disturbed_the_least_disturbed_counts(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, Allowance(2, 10.0))
    levels = (0, 0, *(2 * (10**13, 10**9, 10**11, 0)))  # far apart: the limit is per second
    made = disturb(monkeypatch, lambda n: levels[n])
    session = measured(workload, rounds=2)
    assert len(made) == len(levels)
    kept = []
    for runner in session.runners:
        for window in runner.points[0].windows:
            others = [w.disturbance.foreign_ns or 0 for w in runner.points[0].unused if w.index == window.index]
            kept.append((window.disturbance.foreign_ns, sorted(others)))
    assert sorted(kept, key=str) == [(0, []), (0, []), *(2 * [(10**9, [10**11, 10**13])])]


def test_repeats_end_where_all_windows_are_disturbed(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = disturb(monkeypatch, lambda _: 10**9)
    measured(workload, rounds=10)
    assert 22 < len(made) <= 22 + FIXED_ROUNDS.in_a_row


def test_rounds_of_a_slower_processor_are_left_out_with_a_note(
    workload: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, made = windows.measure_window, []

    def window(*given: Any) -> Window:
        """Measure a window that nothing but the speed disturbs: repeats would shift the rounds."""
        found = real(*given)
        made.append(found)
        return replace(found, disturbance=Disturbance(foreign_ns=0, cpu_ops=found.disturbance.cpu_ops))

    def speed() -> int:
        return 106 if len(made) < 2 * (1 + 3) else 200  # in the windows of round 0 and of three more

    monkeypatch.setattr(windows, "measure_window", window)
    monkeypatch.setattr(processor, "operations_per_s", speed)
    session = measured(workload, rounds=10)
    raw = costs.Raw(session, ("fp32 eager", "bf16 eager"), "fp32 eager", "accuracy", 0)
    for runner in session.runners:
        (point,) = runner.points
        assert [w.index for w in point.windows] == list(range(4, 11))
        assert {w.disturbance.cpu_ops for w in point.windows} == {200}
        assert {1, 2, 3} <= {w.index for w in point.unused}
        (found,) = figures.points(raw, runner.name)
        assert found.latency_s.n == 7
        assert found.grade_reasons[-1].startswith("3 of 10 rounds are left out: the processor was over 10 % slower")
    trace.write(tmp_path / "s", session)
    assert trace.read(tmp_path / "s") == session


def test_rounds_go_on_until_ratios_are_precise(workload: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = windows.measure_window

    def constant(*given: Any) -> Window:
        found = real(*given)
        return replace(found, ended_ns=found.started_ns + 10**6 * len(found.batch_ns))

    monkeypatch.setattr(windows, "measure_window", constant)
    session = measured(workload, rounds=15, precision=0.03, budget_s=600.0)
    for runner in session.runners:
        assert len(runner.points[0].windows) == 15
        assert runner.points[0].precision == 0.03
        assert 0 < (runner.points[0].rounds_s or 0) < 600
    raw = costs.Raw(session, ("fp32 eager", "bf16 eager"), "fp32 eager", "accuracy", 0)
    assert figures.imprecise(raw, "bf16 eager") == ()


def test_a_spent_budget_leaves_six_rounds_and_a_note(
    workload: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = measured(workload, rounds=15, precision=1e-6, budget_s=0.001)
    assert {len(runner.points[0].windows) for runner in session.runners} == {6}
    raw = costs.Raw(session, ("fp32 eager", "bf16 eager"), "fp32 eager", "accuracy", 0)
    (note,) = figures.imprecise(raw, "bf16 eager")
    assert note.startswith("its latency ratio to fp32 eager is ") and "after 6 rounds; +-0.0001 %" in note
    assert note.endswith("cannot be reached: a point has at most 1000 rounds")
    assert "bf16 eager: its latency ratio to fp32 eager" in capsys.readouterr().err


def test_the_profile_for_machines_without_a_meter_has_short_windows() -> None:
    quick = PROFILES["quick"]
    assert 0.2 <= quick.window_s <= 0.4
    assert 0.05 <= quick.preroll_s <= 0.1
    assert (quick.rounds, quick.precision, quick.budget_s, quick.least_batches) == (15, 0.03, 90, 1)
