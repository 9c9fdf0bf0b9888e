"""The raw samples of a session on disk: what every figure of its results can be recomputed from.

    traces/<session>/session.json       what was measured, by which meter, judged by what; readings while compressing
                     outcomes.parquet   runner, example, one column per outcome (prediction, reference, nll ...)
                     windows.parquet    runner, point, round, order, started_ns, ended_ns, cpu_ns, start_uj, end_uj
                     batches.parquet    runner, point, round, batch, duration_ns
                     examples.parquet   example, text: those that any runner answered differently from the reference
                     samples.parquet    time_ns, counter_uj, power_mw, clocks, temperature, event reasons

Times are integers in nanoseconds of one monotonic clock, energies integers in microjoules: sums are exact.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base import reading
from compress.base.config import InputError
from compress.base.errors import NotWritten
from compress.base.files import put_in_place, write_atomic
from compress.base.owners import beside
from compress.base.places import inside
from compress.base.reading import is_folder, shortened
from compress.records.trace_shape import check_table, check_whole, session

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "traces"
WINDOW = ("index", "order", "started_ns", "ended_ns", "cpu_ns", "start_uj", "end_uj")
MOST_BYTES = 2_000_000_000
MOST_ROWS = 20_000_000
Answer = dict[str, Any]
"""What a session's process answers; see `compress.measure.session`."""


def write(folder: Path, answer: Mapping[str, Any]) -> None:
    """Writes the raw samples of a session as the folder `folder`, whole."""
    import pyarrow as pa

    about = {key: value for key, value in answer.items() if key not in ("runners", "samples", "examples")}
    about["runners"] = [_without_bulk(runner) for runner in answer["runners"]]
    windows, batches, outcomes = [], [], []
    for runner in answer["runners"]:
        name, columns = runner["name"], runner["outcomes"]
        for example in range(len(next(iter(columns.values()), ()))):
            outcomes.append({"runner": name, "example": example, **{key: columns[key][example] for key in columns}})
        for index, point in enumerate(runner["points"]):
            for window in point["rounds"]:
                place = {"runner": name, "point": index, "round": window["index"]}
                windows.append({**place, **{key: window[key] for key in WINDOW if key != "index"}})
                batches += [{**place, "batch": i, "duration_ns": d} for i, d in enumerate(window["batch_ns"])]
    tables = {"outcomes": outcomes, "windows": windows, "batches": batches, "samples": answer["samples"]}
    tables |= {"examples": answer["examples"]} if "examples" in answer else {}
    work = beside(folder, "part")
    try:
        for name, rows in tables.items():
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


def _without_bulk(runner: Mapping[str, Any]) -> dict[str, Any]:
    points = [{key: value for key, value in point.items() if key != "rounds"} for point in runner["points"]]
    return {**runner, "outcomes": sorted(runner["outcomes"]), "points": points}


def _write_parquet(path: Path, table: Any) -> None:
    import io

    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_atomic(path, buffer.getvalue())


def located(path: Path, stated: str) -> Path:
    """The folder of a result file's trace, below the folder of results. Raises InputError where it lies elsewhere."""
    return inside(path.absolute().parent.parent, stated, f"{path}: its trace")


def read(folder: Path) -> Answer:
    """Return what `write` was given. Raises InputError, one sentence, for a missing or damaged file, or a link."""
    linked = [file for name in FILES if (file := folder / name).is_symlink()]
    if linked:
        raise InputError(f"{linked[0]}: is a link; expected a file of the trace itself")
    answer = about(folder)
    rows = {name: table(folder, name).to_pylist() for name in _TABLES}
    try:
        _join(answer, rows)
        check_whole(answer)
    except KeyError as error:
        raise InputError(f"{folder}: the trace names {error}, of which it holds nothing") from None
    except (ValueError, IndexError) as error:
        raise InputError(f"{folder}: the trace cannot be read ({shortened(str(error))})") from None
    return answer


def _join(answer: Answer, rows: Mapping[str, Any]) -> None:
    """Puts the rows of the tables where `write` took them from. Raises KeyError for a runner or window not there."""
    runners = {runner["name"]: runner for runner in answer["runners"]}
    outcomes: dict[str, list[dict[str, Any]]] = {name: [] for name in runners}
    for row in rows["outcomes"]:
        outcomes[row["runner"]].append(row)
    for name, runner in runners.items():
        runner["outcomes"] = {key: [row[key] for row in outcomes[name]] for key in runner["outcomes"]}
        for point in runner["points"]:
            point["rounds"] = []
    rounds: dict[tuple[str, int, int], dict[str, Any]] = {}
    for row in rows["windows"]:
        window = {**{key: row[key] for key in WINDOW if key != "index"}, "index": row["round"], "batch_ns": []}
        rounds[row["runner"], row["point"], row["round"]] = window
        runners[row["runner"]]["points"][row["point"]]["rounds"].append(window)
    for row in rows["batches"]:
        rounds[row["runner"], row["point"], row["round"]]["batch_ns"].append(row["duration_ns"])
    answer["samples"] = rows["samples"]


def about(folder: Path) -> Answer:
    """Return what session.json holds. Raises InputError where it is missing or damaged."""
    from pydantic import ValidationError

    try:
        found: Answer = session().validate_json(_content(folder, "session.json"))
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
