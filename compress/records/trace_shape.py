"""What a trace may hold: types of session.json and of every column, and what must hold between them.

A trace may come from anyone. All that figures are computed with is checked here, once: times run forward, windows hold
batches, runners that are named exist. Keys that are not listed may be there and are kept.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from compress.records.fields import STRICT, Count, Name, Positive, Quantity, Several, Whole

if TYPE_CHECKING:
    import pyarrow as pa

OPEN: Any = {**STRICT, "extra": "allow"}
Row = Mapping[str, Any]
Source = Literal["nvml", "rapl", "modelled", "external"]


class _Meter(TypedDict, total=False):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    source: Source
    absent: str
    boundary: str | None
    measured: bool
    step_s: Positive | None
    integrated: bool
    misread: Quantity | None
    why_modelled: str | None
    basis: str | None
    sampling_error: str | None
    calibration: str | None
    gain: Quantity | None
    beside: str | None


def _forward(span: Any) -> Any:
    if span["ended_ns"] <= span["started_ns"]:
        raise ValueError("ends before it starts")
    return span


def _timed(sample: dict[str, Any]) -> dict[str, Any]:
    if sample.get("time_ns") is None:
        raise ValueError("time_ns is missing")
    return sample


Sample = Annotated[dict[str, Whole | None], AfterValidator(_timed)]


class _Idle(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    started_ns: Whole
    ended_ns: Whole
    start_uj: Count | None
    end_uj: Count | None
    samples: list[Sample]


class _IdleTimes(TypedDict, total=False):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    before: Annotated[_Idle, AfterValidator(_forward)] | None
    loaded: Annotated[_Idle, AfterValidator(_forward)] | None


class _Shape(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    batch_size: Several
    sequence_length: Several | None
    generate: NotRequired[Several | None]


class _Point(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    point: _Shape
    lacking: NotRequired[str]
    """Why nothing was measured here; the rest is absent then."""
    steady: NotRequired[bool]
    settled: NotRequired[bool | None]
    foreign_cores: NotRequired[Quantity | None]
    stolen_cores: NotRequired[Quantity | None]


class _Runner(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    name: Name
    outcomes: list[Name]
    finite: bool
    batch_size: Count
    order: str
    batch_sensitivity: Quantity | None
    points: list[_Point]


class _Judged(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    references: list[Name]
    against: Name
    metric: str
    seed: Count


class _Told(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    limit: Several | None
    seeds: dict[str, Count]


class _Span(TypedDict):
    __pydantic_config__ = {**STRICT, "extra": "forbid"}  # type: ignore[misc]  # noqa: RUF012

    source: Source | None
    measured: bool
    step_s: Positive | None
    start_uj: Count | None
    boundary: NotRequired[str | None]
    end_uj: NotRequired[Count | None]
    seconds: NotRequired[Annotated[Quantity, Field(ge=0)]]
    fault: NotRequired[str | None]
    later_uj: NotRequired[Count | None]


class _Step(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    method: Name
    changed_layers: Count
    span: _Span


class _Compressing(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    attempts: Annotated[list[_Span], Field(min_length=1)]
    steps: list[_Step]


class _Session(TypedDict):
    __pydantic_config__ = OPEN  # type: ignore[misc]

    meter: _Meter
    idle: NotRequired[_IdleTimes]
    foreign_processes: NotRequired[Count | None]
    labels: NotRequired[list[str] | None]
    clock_offset_ns: NotRequired[Whole]
    clock_offset_start_ns: NotRequired[Whole]
    judged_by: NotRequired[_Judged]
    told: NotRequired[_Told]
    compressing: NotRequired[dict[str, _Compressing]]
    runners: list[_Runner]


@cache
def session() -> Any:
    """Return what validates session.json."""
    from pydantic import TypeAdapter

    return TypeAdapter(_Session)


NUMBERS: Mapping[str, Collection[str]] = {
    "windows": ("point", "round", "order", "started_ns", "ended_ns", "cpu_ns"),
    "batches": ("point", "round", "batch", "duration_ns"),
    "outcomes": ("example",),
    "samples": ("time_ns",),
    "examples": ("example",),
}
"""Columns of integers without gaps; other columns of numbers may have some."""
OF_A_RUNNER = ("windows", "batches", "outcomes")
OUTCOMES = ({"prediction", "reference"}, {"nll", "tokens"})
NEEDED = {"accuracy": OUTCOMES[0], "f1": OUTCOMES[0], "matthews_correlation": OUTCOMES[0], "perplexity": OUTCOMES[1]}


def check_table(name: str, table: "pa.Table") -> None:
    """Raise ValueError for a table that lacks a column, or has one of another type."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not table.num_rows:
        return  # written without columns
    wanted = {column: pa.types.is_integer for column in NUMBERS[name]}
    wanted |= {"runner": pa.types.is_string} if name in OF_A_RUNNER else {}
    for column, is_kind in wanted.items():
        if column not in table.column_names:
            raise ValueError(f"{name}.parquet has no column {column}")
        if not is_kind(table.schema.field(column).type) or table.column(column).null_count:
            raise ValueError(f"{name}.parquet {column}: expected {'text' if column == 'runner' else 'integers'} only")
    for column in {"duration_ns", "point", "round", "example"} & set(table.column_names):
        if pc.min(table.column(column)).as_py() < 0:
            raise ValueError(f"{name}.parquet {column}: below 0")
    for column in set(table.column_names) - set(wanted):
        kind = table.schema.field(column).type
        text = name == "examples" and column == "text"
        fits = pa.types.is_integer(kind) or (name == "outcomes" and pa.types.is_floating(kind))
        if not (pa.types.is_null(kind) or (pa.types.is_string(kind) if text else fits)):
            raise ValueError(f"{name}.parquet {column}: {kind}; expected {'text' if text else 'numbers'}")


def check_whole(answer: Row) -> None:
    """Raise ValueError where parts of a trace do not fit one another."""
    names = [runner["name"] for runner in answer["runners"]]
    if len(set(names)) < len(names):
        raise ValueError("two runners have one name")
    for runner in answer["runners"]:
        for point in runner["points"]:
            if "lacking" not in point and not {"steady", "foreign_cores"} <= set(point):
                raise ValueError(f"a point of {runner['name']} has neither figures nor a reason")
            for window in point["rounds"]:
                _check_window(runner["name"], window)
    for sample in answer["samples"]:
        if min((value for value in sample.values() if value is not None), default=0) < 0 and "outside_mw" not in sample:
            raise ValueError("samples.parquet: below 0")
    if "judged_by" in answer:
        _check_judged(answer, {runner["name"]: runner for runner in answer["runners"]})


def _check_window(name: str, window: Row) -> None:
    edges = (window["start_uj"], window["end_uj"])
    if window["ended_ns"] <= window["started_ns"] or not window["batch_ns"] or min(window["batch_ns"]) < 0:
        raise ValueError(f"a window of {name} has no batches, or ends before it starts")
    if any(edge is not None and edge < 0 for edge in edges):
        raise ValueError(f"a window of {name} has counts below 0")


def _check_judged(answer: Row, runners: Mapping[str, Row]) -> None:
    judged = answer["judged_by"]
    for name in (*judged["references"], judged["against"]):
        if name not in runners or not runners[name]["outcomes"]:
            raise ValueError(f"judged against {name}, of which there are no outcomes")
    lengths = set()
    for runner in runners.values():
        columns: Mapping[str, Sequence[float | None]] = runner["outcomes"]
        if not columns:
            continue  # it failed
        if not any(kind <= set(columns) for kind in OUTCOMES) or not NEEDED.get(judged["metric"], set()) <= set(
            columns
        ):
            raise ValueError(f"{runner['name']} has outcomes {', '.join(columns)}, which {judged['metric']} is not of")
        if any(value is None for values in columns.values() for value in values):
            raise ValueError(f"outcomes of {runner['name']} are missing")
        if any(not value >= 1 for key in ("tokens", "bytes") for value in columns.get(key, ())):  # type: ignore[operator]
            raise ValueError(f"{runner['name']} has blocks of no tokens")
        lengths |= {len(values) for values in columns.values()}
    if lengths != {max(lengths)} or not max(lengths):
        raise ValueError("runners were judged on different examples")
