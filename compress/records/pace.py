"""Durations of past stages of runs on this machine, from which the time of the next run is estimated.

<cache>/stages.jsonl      a line per stage: {"stage": "compress", "key": "...", "size": 91000000, "seconds": 12.3}
"""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from compress.base.files import cache_folder, write_atomic

Stage = Literal["workload", "compress", "train", "references", "models"]
MOST_LINES = 1000
MOST_S = 30 * 86_400.0
MOST_BYTES = 10**15
NEWEST = 5
"""Past stages of other work, of which the median counts."""


@dataclass(frozen=True)
class Past:
    """One past stage of a run."""

    stage: Stage
    key: str
    """Work that takes the same time again."""
    size: int
    """What its time grows with, in bytes of weights."""
    seconds: float


def _file() -> Path:
    return cache_folder() / "stages.jsonl"


def note(past: Past) -> None:
    """Append a stage to the file. A cache that cannot be written costs the next estimate, not this run."""
    with contextlib.suppress(OSError):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644), "a") as out:
            out.write(json.dumps(asdict(past)) + "\n")
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        if len(lines) > 2 * MOST_LINES:
            write_atomic(file, "".join(f"{line}\n" for line in lines[-MOST_LINES:]).encode())


def read() -> list[Past]:
    """Return the past stages, oldest first; lines that hold none are left out."""
    try:
        lines = _file().read_text(encoding="utf-8", errors="replace").splitlines()[-MOST_LINES:]
    except OSError:
        return []
    return [past for line in lines if (past := _parsed(line)) is not None]


def _parsed(line: str) -> Past | None:
    try:
        plain = json.loads(line)
        past = Past(plain["stage"], str(plain["key"]), int(plain["size"]), float(plain["seconds"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return past if 0 < past.size < MOST_BYTES and 0 <= past.seconds < MOST_S else None


def estimate(past: Sequence[Past], stage: Stage, key: str, size: int) -> float | None:
    """Return the seconds of a stage: those of the same work last time, else of other work in proportion to its size.

    None without a past stage of this kind.
    """
    same = [each.seconds for each in past if (each.stage, each.key) == (stage, key)]
    if same:
        return same[-1]
    rates = [each.seconds / each.size for each in past if each.stage == stage][-NEWEST:]
    return median(rates) * size if rates else None


def is_known(past: Sequence[Past], stage: Stage, key: str) -> bool:
    """Return whether the same work was done before."""
    return any((each.stage, each.key) == (stage, key) for each in past)
