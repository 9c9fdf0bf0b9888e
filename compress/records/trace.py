"""Raw samples of a session on disk, from which every figure of its results can be recomputed.

    traces/<session>/session.json       runners, meter, verdict reference; meter readings while compressing
                     outcomes.parquet   runner, example, one column per outcome (prediction, reference, nll ...)
                     windows.parquet    runner, point, round, attempt, edges, readings, disturbance
                     batches.parquet    runner, point, round, attempt, batch, duration_ns
                     examples.parquet   example, text: examples that any runner predicted differently from the reference
                     samples.parquet    time_ns, counter_uj, power_mw, clocks, temperature, event reasons

The process of a session also uses it to hand over its measurements: `compress.records.session.Session`.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base import reading
from compress.base.config import InputError
from compress.base.errors import NotWritten
from compress.base.files import put_in_place, write_atomic
from compress.base.owners import beside
from compress.base.places import inside
from compress.base.reading import is_folder, shortened
from compress.records.sample import sample_rows, samples_of
from compress.records.session import Example, Runner, Session
from compress.records.trace_shape import check_numbers, check_table, check_whole
from compress.records.window import Window
from compress.records.window_rows import Rows, window_rows, windows_of

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "traces"
MOST_BYTES = 2_000_000_000
MOST_ROWS = 20_000_000


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Session)


def names(first: str, sessions: int) -> list[str]:
    """Return the names of the trace folders of a result with this many sessions: `first`, `first`-2, `first`-3 ..."""
    return [first, *(f"{first}-{number}" for number in range(2, sessions + 1))]


def write(folder: Path, session: Session) -> None:
    """Write the raw samples of a session to `folder`, atomically. Raises NotWritten if the disk is full or fails."""
    import pyarrow as pa

    plain = _adapter().dump_python(session, mode="json", by_alias=True)
    ordered = {**plain, "runners": plain.pop("runners")}  # the longest part last
    part = beside(folder, "part")
    try:
        for name, rows in _tables(session).items():
            _write_parquet(part / f"{name}.parquet", pa.Table.from_pylist(rows))
        write_atomic(part / SESSION, json.dumps(ordered, indent=1).encode())
        put_in_place(part, folder)
    except OSError as error:
        raise NotWritten(
            [
                f"{folder}: the raw samples cannot be written ({error.strerror}); free some space and run the same "
                "command again: stored artifacts are reused"
            ]
        ) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _tables(session: Session) -> dict[str, Rows]:
    """Return table -> rows, for all data that session.json does not hold."""
    windows, batches = window_rows(session)
    outcomes = []
    every = dict.fromkeys(column for runner in session.runners for column in runner.outcomes)
    for runner in session.runners:
        name, columns = runner.name, runner.outcomes
        for example in range(len(next(iter(columns.values()), ()))):
            outcomes.append(
                {
                    "runner": name,
                    "example": example,
                    **{key: columns[key][example] if key in columns else None for key in every},
                }
            )
    tables = {"outcomes": outcomes, "windows": windows, "batches": batches, "samples": sample_rows(session.samples)}
    if session.examples is not None:
        tables["examples"] = [{"example": entry.example, "text": entry.text} for entry in session.examples]
    return tables


def _write_parquet(path: Path, table: Any) -> None:
    import io

    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def located(path: Path, stated: str) -> Path:
    """Return the trace folder of a result file, below the folder of results. Raises InputError if it lies elsewhere."""
    return inside(path.absolute().parent.parent, stated, f"{path}: its trace")


def read(folder: Path) -> Session:
    """Return the session that `write` stored. Raises InputError for a missing or damaged file, or a link."""
    linked = [file for name in FILES if (file := folder / name).is_symlink()]
    if linked:
        raise InputError(f"{linked[0]}: is a link; expected a file of the trace itself")
    bare = about(folder)
    names = [*_TABLES, *(["examples"] if (folder / "examples.parquet").exists() else [])]
    rows = {name: table(folder, name).to_pylist() for name in names}
    try:
        session = _join(bare, rows)
        check_whole(session)
    except KeyError as error:
        raise InputError(f"{folder}: the trace refers to {error}, but contains no data of it") from None
    except (ValueError, IndexError) as error:
        raise InputError(f"{folder}: the trace cannot be read ({shortened(str(error))})") from None
    return session


def _join(bare: Session, rows: Mapping[str, Rows]) -> Session:
    """Return the session with the rows of its tables.

    Raises KeyError for an unknown runner or window, and ValueError for rows that are there twice.
    """
    outcomes: dict[str, Rows] = {runner.name: [] for runner in bare.runners}
    for row in rows["outcomes"]:
        outcomes[row["runner"]].append(row)
    for name, own in outcomes.items():
        check_numbers([row["example"] for row in own], f"outcomes.parquet: example of {name}")
    windows = windows_of(rows["windows"], rows["batches"])
    points = {runner.name: len(runner.points) for runner in bare.runners}
    for name, point in windows:
        if point >= points[name]:
            raise IndexError(f"windows of {name} at point {point}, which it does not have")
    examples = tuple(Example(row["example"], row["text"]) for row in rows["examples"]) if "examples" in rows else None
    if examples is not None and len({entry.example for entry in examples}) < len(examples):
        raise ValueError("examples.parquet: has two rows of one example")
    return replace(
        bare,
        runners=tuple(_fill(runner, outcomes[runner.name], windows) for runner in bare.runners),
        samples=samples_of(rows["samples"]),
        examples=examples,
    )


def _fill(
    runner: Runner, outcomes: Rows, windows: Mapping[tuple[str, int], tuple[list[Window], list[Window]]]
) -> Runner:
    points = []
    for index, point in enumerate(runner.points):
        used, unused = windows.get((runner.name, index), ((), ()))
        points.append(replace(point, windows=tuple(used), unused=tuple(unused)))
    columns = {key: [row[key] for row in outcomes] for key in runner.outcomes}
    return replace(runner, outcomes=columns, points=tuple(points))


def about(folder: Path) -> Session:
    """Return the content of session.json. Raises InputError if it is missing or damaged."""
    from pydantic import ValidationError

    try:
        session: Session = _adapter().validate_json(_content(folder, SESSION))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = shortened(".".join(str(part) for part in first["loc"]))
        raise InputError(f"{folder}: the trace cannot be read (session.json {place}: {first['msg']})") from None
    return session


def is_complete(folder: Path) -> bool:
    """Return whether a folder has a readable session.json and every table that a trace needs."""
    try:
        about(folder)
    except InputError:
        return False
    return all((folder / f"{name}.parquet").is_file() for name in _TABLES)


def table(folder: Path, name: str) -> "pa.Table":
    """Return one of the tables. Raises InputError if it is missing, damaged, or has wrong columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _content(folder, f"{name}.parquet")
    try:
        rows = pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows
        if rows > MOST_ROWS:
            raise ValueError(f"{rows} rows; expected {MOST_ROWS} at most")
        content = pq.read_table(pa.BufferReader(data), use_threads=False)
        content.validate(full=True)  # texts are decoded only when they are read: all must be UTF-8
        check_table(name, content)
        if "board" in content.column_names:  # samples of an external meter have no board
            position = content.column_names.index("board")
            content = content.set_column(position, "board", content.column("board").cast(pa.int64()).fill_null(0))
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = shortened(" ".join(str(error).split()))
        raise InputError(f"{folder}: the trace cannot be read ({name}.parquet: {reason})") from None
    return content


_TABLES = ("outcomes", "windows", "batches", "samples")
SESSION = "session.json"
FILES = (SESSION, *(f"{name}.parquet" for name in (*_TABLES, "examples")))
"""All files of a trace."""


def _content(folder: Path, name: str) -> bytes:
    if is_folder(folder) and not (folder / name).exists():
        raise InputError(f"{folder}: {name} is missing; the trace is incomplete")
    return reading.content(folder / name, "trace", MOST_BYTES)
