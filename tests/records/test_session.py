"""Traces on disk: those of older versions are read, and written again as they were; damaged ones are one sentence."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compress.base.config import InputError
from compress.records import trace
from compress.records.result import Kernel, Operator
from compress.records.sample import Sample, sample_rows
from compress.records.session import (
    Example,
    JudgedBy,
    Memory,
    MeterFacts,
    Request,
    Runner,
    RunnerPoint,
    Session,
    Shape,
    Unprofiled,
)
from compress.records.window import Disturbance, Window
from tests.helpers import ROOT

OLD = sorted(path.parent for path in (ROOT / "results" / "reference").rglob("session.json"))
LACKED: Mapping[str, object] = {
    "quota_cores": None, "outputs": None, "remark": "", "like_another": False, "stolen_cores": None,
    "throttled_periods": 0, "throttled_s": 0.0, "precision": None, "rounds_s": None,
}  # fmt: skip
"""Fields that traces of older versions lack, and what they then are."""
WINDOWS = tuple(Window(10 * i, 10 * i + 8, (4, 3), 5, None, None, index=i, order=1 - i) for i in range(2))
OUTCOMES = {"prediction": [0.0, 1.0], "reference": [1.0, 1.0]}
MEASURED = RunnerPoint(Shape(1, 64), WINDOWS, steady=True, settled=None, foreign_cores=0.1, stolen_cores=None)
FIRST = Runner(
    "fp32 eager", OUTCOMES, True, 32, "by length", None, (MEASURED, RunnerPoint(Shape(1, 64, 8), lacking="no cache")),
    memory=Memory(5, 7), kernel=Kernel("real", (Operator("addmm", 0.5),)),
)  # fmt: skip
FAILED = Runner("broken", {}, True, 0, "", None, (), error="ValueError: no")
WHOLE = Session(
    runners=(FIRST, FAILED),
    meter=MeterFacts(source="rapl", boundary="packages", measured=True, sampling_cpu_s=0.1),
    samples=(Sample(1, 0, 5), Sample(2, 0, None)),
    labels=("bad", "good"),
    examples=(Example(0, "a text"), Example(1, None)),
    finished=1.5,
    clock_offset_start_ns=-3,
    clock_offset_ns=-2,
    judged_by=JudgedBy(("fp32 eager",), "fp32 eager", "accuracy", 0),
    request=Request(None, {"ours": 3}),
)


def stored_json(folder: Path, session: Session) -> Any:
    """session.json of a session, as it lies on disk."""
    trace.write(folder, session)
    return json.loads((folder / trace.SESSION).read_bytes())


def new_fields(old: Any, new: Any) -> set[tuple[str, object]]:
    """Fields of the new value that the old one lacks; all others must be the same."""
    if isinstance(old, dict):
        assert set(old) <= set(new)
        more = {(key, value) for key, value in new.items() if key not in old}
        return more.union(*(new_fields(old[key], new[key]) for key in old))
    if isinstance(old, list):
        assert len(old) == len(new)
        return set().union(*(new_fields(a, b) for a, b in zip(old, new, strict=True)))
    assert old == new
    return set()


@pytest.mark.parametrize("folder", OLD, ids=[path.name for path in OLD])
def test_traces_of_older_versions_are_the_same_after_a_round_trip(folder: Path, tmp_path: Path) -> None:
    session = trace.read(folder)
    again = stored_json(tmp_path / "again", session)
    assert new_fields(json.loads((folder / trace.SESSION).read_bytes()), again) <= set(LACKED.items())
    for file in folder.glob("*.parquet"):
        assert pq.read_table(file).equals(pq.read_table(tmp_path / "again" / file.name)), file.name
    assert trace.read(tmp_path / "again") == session


def test_a_session_comes_back_as_it_was_measured(tmp_path: Path) -> None:
    trace.write(tmp_path / "whole", WHOLE)
    assert trace.read(tmp_path / "whole") == WHOLE
    bare = replace(WHOLE, labels=None, examples=None, samples=(), judged_by=None, request=None)
    trace.write(tmp_path / "bare", bare)
    assert trace.read(tmp_path / "bare") == bare
    assert not (tmp_path / "bare" / "examples.parquet").exists()


def test_unused_windows_and_disturbances_come_back(tmp_path: Path) -> None:
    busy = Disturbance(10, 20, 30, 2_400_000, 1500, 1, 4)
    used = (replace(WINDOWS[1], attempt=1, disturbance=Disturbance(foreign_ns=0)),)
    unused = (WINDOWS[0], replace(WINDOWS[1], batch_ns=(7, 1), disturbance=busy))
    point = replace(MEASURED, windows=used, unused=unused, precision=0.03, rounds_s=90.5)
    whole = replace(WHOLE, runners=(replace(FIRST, points=(point,)), FAILED))
    trace.write(tmp_path / "s", whole)
    assert trace.read(tmp_path / "s") == whole
    assert trace.read(tmp_path / "s").windows == list(used)


def test_session_json_has_the_keys_that_every_version_has_written(tmp_path: Path) -> None:
    plain = stored_json(tmp_path / "s", WHOLE)
    first, broken = plain["runners"]
    assert plain["told"] == {"limit": None, "seeds": {"ours": 3}}
    assert "samples" not in plain and "examples" not in plain
    assert first["outcomes"] == ["prediction", "reference"]
    assert set(first["points"][0]) == {
        "point", "steady", "settled", "foreign_cores", "stolen_cores", "throttled_periods", "throttled_s",
        "precision", "rounds_s",
    }  # fmt: skip
    assert first["points"][1] == {
        "point": {"batch_size": 1, "sequence_length": 64, "generate": 8}, "lacking": "no cache",
    }  # fmt: skip
    assert first["memory"] == {"memory_bytes": 5, "peak_memory_bytes": 7}
    assert (broken["memory"], broken["kernel"], broken["outcomes"]) == ({}, {}, [])
    assert isinstance(trace.about(tmp_path / "s").runners[1].kernel, Unprofiled)


METERS = {
    "none": (MeterFacts(absent="no counter"), {"absent", "sampling_error", "sampling_cpu_s"}),
    "external": (
        MeterFacts(source="external", boundary="all", measured=True, calibration="by hand"),
        {"source", "boundary", "measured", "step_s", "calibration", "gain", "beside"},
    ),
    "nvml": (
        MeterFacts(source="nvml", measured=True, step_s=0.1),
        {"source", "boundary", "measured", "step_s", "integrated", "doctor", "like_another", "misread",
         "why_modelled", "watts_per_core", "basis", "sampling_error", "sampling_cpu_s"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("meter", "keys"), METERS.values(), ids=METERS)
def test_a_meter_states_what_applies_to_its_kind(meter: MeterFacts, keys: set[str], tmp_path: Path) -> None:
    assert set(stored_json(tmp_path / "s", replace(WHOLE, meter=meter))["meter"]) == keys
    assert trace.read(tmp_path / "s").meter == meter


def test_samples_of_several_meters_share_their_columns() -> None:
    device, outside = Sample(1, 0, 5, power_mw=3), Sample(2, outside_mw=4)
    state = ["power_mw", "sm_mhz", "memory_mhz", "temperature_c", "events"]
    assert list(sample_rows([outside])[0]) == ["time_ns", "outside_mw"]
    assert list(sample_rows([Sample(1, 0, 5)])[0]) == ["time_ns", "board", "counter_uj"]
    both = sample_rows([device, outside])
    assert [list(row) for row in both] == [["time_ns", "board", "counter_uj", *state, "outside_mw"]] * 2
    assert both[1]["power_mw"] is None and both[1]["outside_mw"] == 4


def _json(path: tuple[Any, ...], value: Any) -> Callable[[Path], None]:
    """Replaces a node of session.json, or removes it."""

    def change(folder: Path) -> None:
        node = data = json.loads((folder / trace.SESSION).read_bytes())
        for key in path[:-1]:
            node = node[key]
        if value is None:
            del node[path[-1]]
        else:
            node[path[-1]] = value
        (folder / trace.SESSION).write_text(json.dumps(data))

    return change


def _twice(folder: Path) -> None:
    """Has session.json hold its first runner twice."""
    data = json.loads((folder / trace.SESSION).read_bytes())
    data["runners"].append(data["runners"][0])
    (folder / trace.SESSION).write_text(json.dumps(data))


def _column(name: str, column: str, values: Any) -> Callable[[Path], None]:
    """Replaces a column of a table."""

    def change(folder: Path) -> None:
        table = pq.read_table(folder / f"{name}.parquet")
        place = table.column_names.index(column)
        array = values if isinstance(values, pa.Array) else pa.array(values)
        pq.write_table(table.set_column(place, column, array), folder / f"{name}.parquet")

    return change


def _rows_twice(name: str) -> Callable[[Path], None]:
    """Repeats all rows of a table."""

    def change(folder: Path) -> None:
        table = pq.read_table(folder / f"{name}.parquet")
        pq.write_table(pa.concat_tables([table, table]), folder / f"{name}.parquet")

    return change


def _used_twice(folder: Path) -> None:
    """Has windows.parquet use a window and its repeat."""
    repeat = replace(WINDOWS[1], attempt=1)
    point = replace(MEASURED, unused=(repeat,))
    trace.write(folder, replace(WHOLE, runners=(replace(FIRST, points=(point,)), FAILED)))
    _column("windows", "unused", [0, 0, 0])(folder)


def _half_unused(folder: Path) -> None:
    """Has windows.parquet mark a window as neither used nor unused."""
    _used_twice(folder)
    _column("windows", "unused", [0, 0, 2])(folder)


def _another_round(folder: Path) -> None:
    """Has a second runner with a window of a round that the first runner lacks."""
    other = replace(FIRST, name="ours", points=(replace(MEASURED, windows=WINDOWS[:1]),))
    trace.write(folder, replace(WHOLE, runners=(FIRST, other)))


def _second_window_at_point_2(folder: Path) -> None:
    """Has both tables place the second window at a point that session.json lacks."""
    _column("windows", "point", [0, 2])(folder)
    _column("batches", "point", [0, 0, 2, 2])(folder)


DAMAGED: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "no runners": (_json(("runners",), None), "session.json runners: Field required"),
    "no finite": (_json(("runners", 0, "finite"), None), "session.json runners.0.finite: Field required"),
    "text for a number": (_json(("meter", "step_s"), "x"), "session.json meter.step_s: Input should be a valid number"),
    "a kernel of no label": (_json(("runners", 0, "kernel", "label"), "x"), "session.json runners.0.kernel"),
    "outcomes of no names": (_json(("runners", 0, "outcomes"), [3]), "runners.0.outcomes: Value error, expected a"),
    "no figures": (_json(("runners", 0, "points", 0, "steady"), None), "has neither figures nor a reason"),
    "two of one name": (_twice, "two runners have the same name"),
    "a reference that failed": (
        _json(("judged_by", "against"), "broken"),
        "the reference broken has no outcomes",
    ),
    "another runner": (
        _column("outcomes", "runner", ["x", "x"]),
        "the trace refers to 'x', but contains no data of it",
    ),
    "another round": (
        _column("batches", "round", [0, 0, 1, 7]),
        "the trace refers to ('fp32 eager', 0, 7), but contains",
    ),
    "another point": (_column("windows", "point", [0, 2]), "the trace refers to ('fp32 eager', 0, 1), but contains"),
    "a point too many": (_second_window_at_point_2, "windows of fp32 eager at point 2, which it does not have"),
    "one round twice": (_column("windows", "round", [0, 0]), "has two rows of fp32 eager, point 0, round 0, attempt 0"),
    "two used windows of one round": (_used_twice, "two windows of one round that figures would use"),
    "a window neither used nor unused": (_half_unused, "windows.parquet: unused: expected 0 or 1 in every row"),
    "rounds that the runners do not share": (
        _another_round,
        "ours has windows of other rounds than the other runners at point 0",
    ),
    "a precision of 0": (_json(("runners", 0, "points", 0, "precision"), 0.0), "points.0.precision: Input should be"),
    "negative seconds": (_json(("runners", 0, "points", 0, "rounds_s"), -1.0), "points.0.rounds_s: Input should be"),
    "a window that ends early": (_column("windows", "ended_ns", [8, 9]), "has no batches, or ends before it starts"),
    "text that is not UTF-8": (
        _column("outcomes", "runner", pa.array([b"a\xff", b"\x89"], pa.binary()).view(pa.string())),
        "outcomes.parquet: Column 0: In chunk 0: Invalid: Invalid UTF8 sequence",
    ),
    "counts that are negative": (_column("samples", "counter_uj", [-5, 1]), "samples.parquet: below 0"),
    "a window twice": (_rows_twice("windows"), "has two rows of fp32 eager, point 0, round 0, attempt 0"),
    "a batch twice": (
        _column("batches", "batch", [0, 0, 0, 1]),
        "batch of fp32 eager, point 0, round 0, attempt 0 has the number 0 twice; expected 0 to 1 in order",
    ),
    "all batches twice": (
        _rows_twice("batches"),
        "round 0, attempt 0 has the number 0 twice; expected 0 to 3 in order",
    ),
    "an example twice": (_column("outcomes", "example", [0, 0]), "example of fp32 eager has the number 0 twice"),
    "another example": (_column("outcomes", "example", [0, 5]), "the number 5 where 1 is expected; expected 0 to 1"),
    "a text twice": (_column("examples", "example", [1, 1]), "examples.parquet: has two rows of one example"),
    "text for examples": (_column("examples", "example", ["a", "b"]), "examples.parquet: example: expected integers"),
}


@pytest.mark.parametrize(("damage", "sentence"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_trace_is_one_sentence(damage: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    trace.write(tmp_path / "s", WHOLE)
    damage(tmp_path / "s")
    with pytest.raises(InputError) as error:
        trace.read(tmp_path / "s")
    (problem,) = error.value.problems
    assert sentence in problem and problem.startswith(f"{tmp_path / 's'}: "), problem


NUMBER_COLUMNS = {
    "windows": ["point", "round", "attempt", "unused", "order", "started_ns", "ended_ns", "cpu_ns", "start_uj",
                "end_uj", "stolen_ns"],
    "batches": ["point", "round", "attempt", "batch", "duration_ns"],
    "outcomes": ["example", "prediction", "reference"],
    "samples": ["time_ns", "board", "counter_uj"],
    "examples": ["example"],
}  # fmt: skip
TEXT_COLUMNS = {"windows": ["runner"], "batches": ["runner"], "outcomes": ["runner"], "examples": ["text"]}
WRONG: Mapping[str, object] = {"text": "a", "boolean": True, "list": [1], "time": datetime(2026, 1, 1), "bytes": b"a"}
COLUMNS = [
    (name, column) for table in (NUMBER_COLUMNS, TEXT_COLUMNS) for name, each in table.items() for column in each
]


def _detailed(folder: Path) -> Path:
    """Write a trace that has every column."""
    repeat = replace(WINDOWS[1], attempt=1, disturbance=Disturbance(stolen_ns=5))
    trace.write(folder, replace(WHOLE, runners=(replace(FIRST, points=(replace(MEASURED, unused=(repeat,)),)), FAILED)))
    trace.read(folder)
    return folder


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_a_column_of_a_wrong_type_is_one_sentence(name: str, column: str, kind: str, tmp_path: Path) -> None:
    folder = _detailed(tmp_path / "s")
    rows = pq.read_table(folder / f"{name}.parquet").num_rows
    value = 5 if kind == "text" and column in ("text", "runner") else WRONG[kind]
    _column(name, column, [value] * rows)(folder)
    with pytest.raises(InputError, match=rf"{name}.parquet: {column}: .*expected (integers|text|numbers)"):
        trace.read(folder)


@pytest.mark.parametrize(("name", "column"), COLUMNS)
def test_a_missing_column_is_one_sentence_unless_it_was_never_written(name: str, column: str, tmp_path: Path) -> None:
    folder = _detailed(tmp_path / "s")
    file = folder / f"{name}.parquet"
    table = pq.read_table(file)
    pq.write_table(table.drop([column]), file)
    if column in ("stolen_ns", "board", "counter_uj"):
        trace.read(folder)
        return
    with pytest.raises(InputError) as error:
        trace.read(folder)
    (problem,) = error.value.problems
    assert column in problem or column in ("attempt", "unused"), problem
    pq.write_table(table.append_column(column, table.column(column)), file)
    with pytest.raises(InputError, match=f"{name}.parquet: "):
        trace.read(folder)


COUNTS = {"tp": [1.0, 0.0], "predicted": [1.0, 1.0], "gold": [2.0, 1.0], "right": [3.0, 4.0], "words": [4.0, 4.0]}


@pytest.mark.parametrize("metric", ["entity_f1", "token_accuracy"])
def test_counts_of_tags_are_read_if_hits_are_at_most_what_they_are_part_of(metric: str, tmp_path: Path) -> None:
    judged = JudgedBy(("fp32 eager",), "fp32 eager", metric, 0)

    def counted(**changes: list[float]) -> Session:
        trace.write(
            tmp_path / "a", replace(WHOLE, runners=(replace(FIRST, outcomes=COUNTS | changes),), judged_by=judged)
        )
        return trace.read(tmp_path / "a")

    assert counted().runners[0].outcomes == COUNTS
    for name, values in {"tp": [2.0, 0.0], "gold": [0.0, 1.0], "right": [5.0, 4.0], "words": [4.0, -1.0]}.items():
        with pytest.raises(InputError, match="has counts below 0, or more hits than entities or words"):
            counted(**{name: values})
