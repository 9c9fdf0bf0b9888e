"""Durations of past stages of runs on this machine, from which the time of the next run is estimated.

<cache>/stages.jsonl      a line per stage: {"stage": "compress", "key": "...", "size": 91000000, "seconds": 12.3}
"""

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from compress.base import reading
from compress.base.errors import InputError
from compress.base.files import cache_folder, write_atomic

Stage = Literal["workload", "compress", "train", "references", "models"]
MOST_LINES = 1000
MOST_FILE_BYTES = 4_000_000
MOST_S = 30 * 86_400.0
MOST_BYTES = 10**18
ALL = "all"
"""The part of a key that is the number of examples, without a limit."""
NEWEST = 5
"""Past stages of other work, of which the median counts."""


@dataclass(frozen=True)
class Past:
    """One past stage of a run."""

    stage: Stage
    key: str
    """Work that takes the same time again."""
    size: int
    """What its time grows with: bytes of weights, of training times the optimizer steps."""
    seconds: float


def _file() -> Path:
    return cache_folder() / "stages.jsonl"


def note(past: Past) -> None:
    """Append a stage to the file. A cache that cannot be written costs the next estimate, not this run."""
    with contextlib.suppress(OSError):
        file = _file()
        if file.exists() and not file.is_file():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644), "a") as out:
            out.write(json.dumps(asdict(past)) + "\n")
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        if len(lines) > 2 * MOST_LINES:
            write_atomic(file, "".join(f"{line}\n" for line in lines[-MOST_LINES:]).encode())


def read() -> list[Past]:
    """Return the past stages, oldest first; lines that hold none are left out."""
    try:
        text = reading.content(_file(), "list of stages", MOST_FILE_BYTES).decode(errors="replace")
    except InputError:
        return []
    lines = text.splitlines()[-MOST_LINES:]
    return [past for line in lines if (past := _parsed(line)) is not None]


def _parsed(line: str) -> Past | None:
    try:
        plain = json.loads(line)
        past = Past(plain["stage"], str(plain["key"]), int(plain["size"]), float(plain["seconds"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return past if 0 < past.size < MOST_BYTES and 0 <= past.seconds < MOST_S else None


def estimate(past: Sequence[Past], stage: Stage, key: str, size: int, guess: Callable[[int], float]) -> float:
    """Return the seconds of a stage: those of the same work last time, else as many times the guess as other work took
    on as many examples. On a limited number, they are at most those on all examples.

    `guess` returns the seconds of this kind of stage by its size, and is the estimate without a past stage.
    """
    same = [each.seconds for each in past if (each.stage, each.key, each.size) == (stage, key, size)]
    if same:
        return same[-1]
    others = [each for each in past if each.stage == stage and _limit(each.key) == _limit(key)]
    factors = [each.seconds / guess(each.size) for each in others][-NEWEST:]
    scaled = [guess(size) * median(factors)] if factors else []
    if _limit(key) not in ("", ALL):
        scaled.append(estimate(past, stage, _of_all(key), size, guess))
    return min(scaled, default=guess(size))


def _of_all(key: str) -> str:
    """Return the key of the same work on all examples."""
    *first, _, device = key.split(" | ")
    return " | ".join((*first, ALL, device))


def _limit(key: str) -> str:
    """Return the part of a key that is the number of examples; empty for a key without it."""
    parts = key.split(" | ")
    return parts[-2] if len(parts) > 2 else ""


def is_known(past: Sequence[Past], stage: Stage, key: str, size: int) -> bool:
    """Return whether the same work was done before."""
    return any((each.stage, each.key, each.size) == (stage, key, size) for each in past)
