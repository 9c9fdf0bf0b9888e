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
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from compress.config import InputError
from compress.files import put_in_place, write_atomic
from compress.owners import beside
from compress.places import inside

FOLDER = "traces"
WINDOW = ("index", "order", "started_ns", "ended_ns", "cpu_ns", "start_uj", "end_uj")
Answer = dict[str, Any]
"""What a session's process answers; see `compress.session`."""


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
    """What `write` was given. Raises InputError when a file is missing, damaged, or a link."""
    linked = [file for name in FILES if (file := folder / name).is_symlink()]
    if linked:
        raise InputError(f"{linked[0]}: is a link; expected a file of the trace's own")
    try:
        answer: Answer = json.loads((folder / SESSION).read_text(encoding="utf-8"))
        rows = {name: _read_parquet(folder / f"{name}.parquet") for name in _TABLES}
        runners = {runner["name"]: runner for runner in answer["runners"]}
        for runner in runners.values():
            wanted = runner["outcomes"]
            mine = [row for row in rows["outcomes"] if row["runner"] == runner["name"]]
            runner["outcomes"] = {key: [row[key] for row in mine] for key in wanted}
            for point in runner["points"]:
                point["rounds"] = []
        rounds: dict[tuple[str, int, int], dict[str, Any]] = {}
        for row in rows["windows"]:
            window = {**{key: row[key] for key in WINDOW if key != "index"}, "index": row["round"], "batch_ns": []}
            rounds[row["runner"], row["point"], row["round"]] = window
            runners[row["runner"]]["points"][row["point"]]["rounds"].append(window)
        for row in rows["batches"]:
            rounds[row["runner"], row["point"], row["round"]]["batch_ns"].append(row["duration_ns"])
    except FileNotFoundError as error:
        raise InputError(f"{folder}: {Path(error.filename).name} is missing; the trace is not whole") from None
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{folder}: the trace cannot be read ({type(error).__name__}: {error})") from None
    answer["samples"] = rows["samples"]
    return answer


_TABLES = ("outcomes", "windows", "batches", "samples")
SESSION = "session.json"
FILES = (SESSION, *(f"{name}.parquet" for name in (*_TABLES, "examples")))
"""All that a trace consists of."""


def _read_parquet(path: Path) -> Iterable[dict[str, Any]]:
    import pyarrow.parquet as pq

    if not path.is_file():
        raise FileNotFoundError(2, "missing", str(path))
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
