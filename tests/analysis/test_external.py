"""Readings of an external meter: attached again, to several recipes of a session, and in files that people edit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis import costs, figures
from compress.analysis.external import attach, read
from compress.analysis.judging import judged
from compress.analysis.verify import verify
from compress.base.config import InputError
from compress.records import files, trace
from compress.records.result import Result
from tests import factory
from tests.analysis.test_recount import RUNNERS, SIZE, made

OFFSET_NS = 1_767_225_600 * 10**9
SESSION = "20260101T000000-abcdef"
RECIPES = ("bert_int8", "bert_prune")


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Write results of two recipes that share sessions, and return their files."""
    monkeypatch.setitem(RUNNERS, RECIPES[1], (0.015, 60.0))

    def write(count: int, meter: str = "modelled") -> list[Path]:
        sessions = [
            replace(made(meter, 8, seed), clock_offset_start_ns=OFFSET_NS, clock_offset_ns=OFFSET_NS)
            for seed in range(count)
        ]
        stated = [f"stdlib-bert/{trace.FOLDER}/{name}" for name in trace.names(SESSION, count)]
        for place, session in zip(stated, sessions, strict=True):
            trace.write(tmp_path / place, session)
        raw = costs.from_trace(sessions[0], sessions[1:])
        references = tuple(
            replace(
                factory.reference(name, verdict=name == raw.against),
                points=figures.points(raw, name),
                accuracy=figures.accuracy(raw, name),
            )
            for name in raw.references
        )
        paths = []
        for name in RECIPES:
            bare = factory.result(name, energy_source=raw.session.meter.source, session=SESSION, references=references)
            points = figures.points(raw, name)
            transform = replace(bare.transform, energy_boundary=points[0].energy_boundary)
            whole = replace(bare, points=points, accuracy=figures.accuracy(raw, name), transform=transform)
            traced = replace(whole, trace=stated[0], further_traces=tuple(stated[1:]))
            paths.append(files.write(tmp_path, judged(traced)))
        return paths

    return write


def readings(path: Path, watts: float) -> Path:
    """Write a CSV of constant power, at 50 Hz over all sessions of a result."""
    stated = files.read(path).traces
    windows = [window for place in stated for window in trace.read(trace.located(path, place)).windows]
    first, last = min(w.started_ns for w in windows) - 10**9, max(w.ended_ns for w in windows) + 10**9
    times = [(OFFSET_NS + at) / 1e9 for at in range(first, last, 20_000_000)]
    file = path.with_name(f"{watts}.csv")
    file.write_text("time,watts\n" + "".join(f"{time:.3f},{watts}\n" for time in times))
    return file


def watts(result: Result) -> float:
    """Mean power of the headline point: joules of an inference times batch size, per second of a batch."""
    point = result.headline
    assert point is not None and point.energy_j is not None
    return point.energy_j.value * SIZE / point.latency_s.value


@pytest.mark.parametrize("sessions", [1, 2])
def test_readings_attached_again_replace_the_ones_before(stored: Callable[..., list[Path]], sessions: int) -> None:
    path = stored(sessions)[0]
    assert watts(attach(path, readings(path, 100), "server", "lab")) == pytest.approx(100)
    again = attach(path, readings(path, 300), "rack", None)
    assert watts(again) == pytest.approx(300)
    assert verify(path).differences == ()
    attached = trace.read(trace.located(path, again.traces[-1]))
    assert (attached.meter.boundary, attached.meter.beside) == ("rack", "modelled")
    assert {sample.outside_mw for sample in attached.samples} == {300_000}


@pytest.mark.parametrize("meter", ["modelled", "in steps", "at the edges"])
@pytest.mark.parametrize("sessions", [1, 2])
def test_other_readings_of_another_recipe_keep_the_traces_of_the_first(
    stored: Callable[..., list[Path]], sessions: int, meter: str
) -> None:
    one, other = stored(sessions, meter)
    low, high = readings(one, 100), readings(one, 300)
    first = attach(one, low, "server", "lab")
    assert first.session == f"{SESSION}-external"
    second = attach(other, high, "rack", None)
    assert not set(second.traces) & set(first.traces)
    assert second.session.startswith(f"{SESSION}-external-")
    assert (watts(first), watts(second)) == (pytest.approx(100), pytest.approx(300))
    assert verify(one).differences == verify(other).differences == ()
    shared = attach(other, low, "server", "lab")  # the same readings: one session, which one table may rank
    assert (shared.session, shared.traces) == (first.session, first.traces)
    again = attach(other, low, "server", "lab")
    assert again == shared and verify(other).differences == ()


@pytest.mark.parametrize(
    "line",
    ["1e20,5", "-1,5", "9.3e9,5", "1e400,5", "inf,1", "nan,1", "1,1e300", "1,-1", "1,1e10", "1,nan", "1_0,10", "10,1_0",
     "1,\u0661", "1,5 W", "noon,5", "2026-01-01T00:00:00,1", "0001-01-01T00:00:00+00:00,1", "1", ",", "\u00b2,1"],
)  # fmt: skip
def test_a_reading_out_of_range_or_not_in_plain_digits_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "power.csv"
    file.write_text(f"time,watts\n1,5\n\n{line}\n")
    with pytest.raises(InputError, match=r"^.*power.csv:4: time .*, watts .*; expected seconds since 1970") as raised:
        read(file)
    assert len(raised.value.problems) == 1


def test_readings_may_start_with_a_byte_order_mark_and_have_any_order_and_notation(tmp_path: Path) -> None:
    file = tmp_path / "power.csv"
    file.write_text("time,watts\n2,7.5\n1970-01-01T01:00:01+01:00,5\n3.0e+00,1e-1\n", encoding="utf-8-sig")
    assert [(s.time_ns, s.outside_mw) for s in read(file)] == [(10**9, 5000), (2 * 10**9, 7500), (3 * 10**9, 100)]


@pytest.mark.parametrize("text", ["", "  ", "x\x1b[31m", "two\nlines", "y" * 201])
@pytest.mark.parametrize("option", ["--boundary", "--calibration"])
def test_a_boundary_or_calibration_that_cannot_be_printed_is_refused_before_anything_is_written(
    stored: Callable[..., list[Path]], text: str, option: str
) -> None:
    path = stored(1)[0]
    before, traces = path.read_bytes(), sorted(path.with_name(trace.FOLDER).iterdir())
    stated = ("server", text) if option == "--calibration" else (text, "lab")
    if option == "--calibration" and not text.strip():
        assert attach(path, readings(path, 100), *stated).points[0].grade != "A"
        assert trace.read(trace.located(path, files.read(path).trace or "")).meter.calibration is None
        return
    with pytest.raises(InputError, match=f"{option} .*: expected 1 to 200 printable characters"):
        attach(path, readings(path, 100), *stated)
    assert path.read_bytes() == before and sorted(path.with_name(trace.FOLDER).iterdir()) == traces
