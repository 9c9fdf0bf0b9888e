"""The results of `doctor` for a board, stored by UUID and driver. Sessions use them and results print them.

A board that `doctor` has not examined is assumed to behave like a known board of the same name: `KNOWN`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from compress.base.files import cache_folder, write_atomic


@dataclass(frozen=True)
class Profile:
    """The behaviour of one board's counter under one driver."""

    uuid: str
    driver: str
    name: str
    made: str
    step_s: float
    """95th percentile of the time between two movements of the counter."""
    agreement: float | None
    """Counter over integrated instant power under load, minus 1."""
    reading_harm: float | None
    """Mean power read every 2 ms over mean power read at 10 Hz, minus 1."""
    repeatability: float | None
    """Coefficient of variation of equal loads."""
    call_s: float
    """Seconds per reading of the counter."""
    misread: float | None = None
    """Relative spread of the readings of square waves of equal mean power, at 0.75, 1 and 1.25 update periods."""
    nonlinearity: float | None = None
    """Largest deviation of mean power over duty cycle from a straight line, relative to full load."""


@dataclass(frozen=True)
class Known:
    """Measured behaviour of one board of this name; its readings are in results/reference/gpu."""

    page: str
    step_s: float
    reading_harm: float
    misread: float


KNOWN: dict[str, Known] = {
    "NVIDIA H200": Known("meter-h200.txt", step_s=0.102, reading_harm=-0.001, misread=0.010),
}


def save(profile: Profile) -> Path:
    """Write the profile and return its path."""
    path = _path(profile.uuid, profile.driver)
    write_atomic(path, json.dumps(asdict(profile), indent=1).encode())
    return path


def load(uuid: str, driver: str) -> Profile | None:
    """Return the board's profile; None if `doctor` has not run with this driver, or if the file is damaged."""
    try:
        return Profile(**json.loads(_path(uuid, driver).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _path(uuid: str, driver: str) -> Path:
    safe = "".join(c if c.isalnum() or c in "-." else "_" for c in f"{uuid.removeprefix('GPU-')}-{driver}")
    return cache_folder() / "meters" / f"{safe}.json"
