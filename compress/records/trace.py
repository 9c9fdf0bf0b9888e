"""The raw samples of a session on disk: what every figure of its results can be recomputed from.

    traces/<session>/session.json       what was measured, by which meter, judged by what; readings while compressing
                     outcomes.parquet   runner, example, one column per outcome (prediction, reference, nll ...)
                     windows.parquet    runner, point, round, order, started_ns, ended_ns, cpu_ns, start_uj, end_uj
                     batches.parquet    runner, point, round, batch, duration_ns
                     examples.parquet   example, text: those that any runner answered differently from the reference
                     samples.parquet    time_ns, counter_uj, power_mw, clocks, temperature, event reasons

It is also how the process of a session hands over what it measured: `compress.records.session.Session`.
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
from compress.records.session import Example, Runner, Session, Window
from compress.records.trace_shape import check_table, check_whole

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "traces"
WINDOW = ("order", "started_ns", "ended_ns", "cpu_ns", "start_uj", "end_uj")
MOST_BYTES = 2_000_000_000
MOST_ROWS = 20_000_000
Rows = list[dict[str, Any]]


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Session)


def write(folder: Path, session: Session) -> None:
    """Writes the raw samples of a session as the folder `folder`, whole."""
    import pyarrow as pa

    plain = _adapter().dump_python(session, mode="json", by_alias=True)
    about = {**plain, "runners": plain.pop("runners")}  # the longest part comes last
    work = beside(folder, "part")
    try:
        for name, rows in _tables(session).items():
            _write_parquet(work / f"{name}.parquet", pa.Table.from_pylist(rows))
        write_atomic(work / SESSION, json.dumps(about, indent=1).encode())
        put_in_place(work, folder)
    except OSError as error:
        raise NotWritten(
            [
                f"{folder}: the raw samples cannot be written ({error.strerror}); make room and run the same command "
                "again: artifacts that are kept are not made again"
            ]
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _tables(session: Session) -> dict[str, Rows]:
    """Table -> rows of everything that session.json does not hold."""
    windows, batches, outcomes = [], [], []
    for runner in session.runners:
        name, columns = runner.name, runner.outcomes
        for example in range(len(next(iter(columns.values()), ()))):
            outcomes.append({"runner": name, "example": example, **{key: columns[key][example] for key in columns}})
        for index, point in enumerate(runner.points):
            for window in point.windows:
                place = {"runner": name, "point": index, "round": window.index}
                windows.append({**place, **{key: getattr(window, key) for key in WINDOW}})
                batches += [{**place, "batch": i, "duration_ns": d} for i, d in enumerate(window.batch_ns)]
    tables = {"outcomes": outcomes, "windows": windows, "batches": batches, "samples": sample_rows(session.samples)}
    if session.examples is not None:
        tables["examples"] = [{"example": each.example, "text": each.text} for each in session.examples]
    return tables


def _write_parquet(path: Path, table: Any) -> None:
    import io

    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def located(path: Path, stated: str) -> Path:
    """The folder of a result file's trace, below the folder of results. Raises InputError where it lies elsewhere."""
    return inside(path.absolute().parent.parent, stated, f"{path}: its trace")


def read(folder: Path) -> Session:
    """Return what `write` was given. Raises InputError, one sentence, for a missing or damaged file, or a link."""
    linked = [file for name in FILES if (file := folder / name).is_symlink()]
    if linked:
        raise InputError(f"{linked[0]}: is a link; expected a file of the trace itself")
    bare = about(folder)
    names = [*_TABLES, *(["examples"] if (folder / "examples.parquet").exists() else [])]
    rows = {name: table(folder, name).to_pylist() for name in names}
    try:
        session = _joined(bare, rows)
        check_whole(session)
    except KeyError as error:
        raise InputError(f"{folder}: the trace names {error}, of which it holds nothing") from None
    except (ValueError, IndexError) as error:
        raise InputError(f"{folder}: the trace cannot be read ({shortened(str(error))})") from None
    return session


def _joined(bare: Session, rows: Mapping[str, Rows]) -> Session:
    """Return the session with the rows of its tables. Raises KeyError for a runner or window that is not there."""
    outcomes: dict[str, Rows] = {runner.name: [] for runner in bare.runners}
    for row in rows["outcomes"]:
        outcomes[row["runner"]].append(row)
    durations: dict[tuple[str, int, int], list[int]] = {}
    for row in rows["batches"]:
        durations.setdefault((row["runner"], row["point"], row["round"]), []).append(row["duration_ns"])
    windows: dict[str, list[list[Window]]] = {runner.name: [[] for _ in runner.points] for runner in bare.runners}
    for row in rows["windows"]:
        place = (row["runner"], row["point"], row["round"])
        window = Window(index=row["round"], batch_ns=tuple(durations.pop(place, ())), **{k: row[k] for k in WINDOW})
        windows[row["runner"]][row["point"]].append(window)
    if durations:
        raise KeyError(next(iter(durations)))
    examples = tuple(Example(row["example"], row["text"]) for row in rows["examples"]) if "examples" in rows else None
    return replace(
        bare,
        runners=tuple(_filled(runner, outcomes[runner.name], windows[runner.name]) for runner in bare.runners),
        samples=samples_of(rows["samples"]),
        examples=examples,
    )


def _filled(runner: Runner, outcomes: Rows, windows: list[list[Window]]) -> Runner:
    points = [replace(point, windows=tuple(each)) for point, each in zip(runner.points, windows, strict=True)]
    columns = {key: [row[key] for row in outcomes] for key in runner.outcomes}
    return replace(runner, outcomes=columns, points=tuple(points))


def about(folder: Path) -> Session:
    """Return what session.json holds. Raises InputError where it is missing or damaged."""
    from pydantic import ValidationError

    try:
        found: Session = _adapter().validate_json(_content(folder, SESSION))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = shortened(".".join(str(part) for part in first["loc"]))
        raise InputError(f"{folder}: the trace cannot be read (session.json {where}: {first['msg']})") from None
    return found


def table(folder: Path, name: str) -> "pa.Table":
    """Return one of the tables. Raises InputError where it is missing, damaged, or has other columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = _content(folder, f"{name}.parquet")
    try:
        rows = pq.ParquetFile(pa.BufferReader(data)).metadata.num_rows
        if rows > MOST_ROWS:
            raise ValueError(f"{rows} rows; expected {MOST_ROWS} at most")
        found = pq.read_table(pa.BufferReader(data), use_threads=False)
        check_table(name, found)
        if "board" in found.column_names:  # readings from outside of the machine are of none
            place = found.column_names.index("board")
            found = found.set_column(place, "board", found.column("board").cast(pa.int64()).fill_null(0))
    except (pa.ArrowException, OSError, ValueError) as error:
        said = shortened(" ".join(str(error).split()))
        raise InputError(f"{folder}: the trace cannot be read ({name}.parquet: {said})") from None
    return found


_TABLES = ("outcomes", "windows", "batches", "samples")
SESSION = "session.json"
FILES = (SESSION, *(f"{name}.parquet" for name in (*_TABLES, "examples")))
"""All that a trace consists of."""


def _content(folder: Path, name: str) -> bytes:
    if is_folder(folder) and not (folder / name).exists():
        raise InputError(f"{folder}: {name} is missing; the trace is not whole")
    return reading.content(folder / name, "trace", MOST_BYTES)
