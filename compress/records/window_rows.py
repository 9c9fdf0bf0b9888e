"""Windows and their batches as rows of a trace's tables.

    windows.parquet   runner, point, round, attempt, unused (0 or 1), order, edges, readings, disturbance
    batches.parquet   runner, point, round, attempt, batch, duration_ns

Traces of older versions lack `attempt`, `unused` and the disturbance; so do sessions in which none has a value.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from compress.records.session import Session
from compress.records.trace_shape import check_numbers
from compress.records.window import Disturbance, Window

COLUMNS = ("order", "started_ns", "ended_ns", "cpu_ns", "start_uj", "end_uj")
DISTURBANCE = tuple(field.name for field in fields(Disturbance))
Rows = list[dict[str, Any]]


def window_rows(session: Session) -> tuple[Rows, Rows]:
    """Return the rows of windows.parquet and of batches.parquet."""
    points = [(r.name, i, point) for r in session.runners for i, point in enumerate(r.points)]
    detailed = any(p.unused or any(w.disturbance != Disturbance() for w in p.windows) for *_, p in points)
    windows, batches = [], []
    for name, index, point in points:
        for number, window in enumerate((*point.windows, *point.unused)):
            place: dict[str, Any] = {"runner": name, "point": index, "round": window.index}
            if detailed:
                place["attempt"] = window.attempt
            row = {**place, **{key: getattr(window, key) for key in COLUMNS}}
            if detailed:
                row["unused"] = int(number >= len(point.windows))
                row |= {key: getattr(window.disturbance, key) for key in DISTURBANCE}
            windows.append(row)
            batches += [{**place, "batch": i, "duration_ns": d} for i, d in enumerate(window.batch_ns)]
    return windows, batches


def windows_of(windows: Rows, batches: Rows) -> dict[tuple[str, int], tuple[list[Window], list[Window]]]:
    """Return (runner, point) -> its used and its unused windows.

    Raises KeyError for batches without a window, and ValueError for windows or batches that are there twice.
    """
    parts: dict[tuple[str, int, int, int], Rows] = {}
    for row in batches:
        parts.setdefault(_key(row), []).append(row)
    found: dict[tuple[str, int], tuple[list[Window], list[Window]]] = {}
    seen = set()
    for row in windows:
        place = _key(row)
        if place in seen:
            raise ValueError(f"windows.parquet: has two rows of {_words(place)}")
        seen.add(place)
        own = parts.pop(place, [])
        check_numbers([part["batch"] for part in own], f"batches.parquet: batch of {_words(place)}")
        window = Window(
            index=place[2],
            attempt=place[3],
            batch_ns=tuple(part["duration_ns"] for part in own),
            disturbance=Disturbance(**{key: row.get(key) for key in DISTURBANCE}),
            **{key: row[key] for key in COLUMNS},
        )
        found.setdefault(place[:2], ([], []))[bool(row.get("unused"))].append(window)
    if parts:
        raise KeyError(next(iter(parts))[:3])
    return found


def _words(place: tuple[str, int, int, int]) -> str:
    name, point, index, number = place
    return f"{name}, point {point}, round {index}, attempt {number}"


def _key(row: Mapping[str, Any]) -> tuple[str, int, int, int]:
    return row["runner"], row["point"], row["round"], row.get("attempt") or 0
