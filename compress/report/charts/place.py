"""Pictures on disk: those of an earlier call that are not made again go, so that none shows what is no longer so."""

from collections.abc import Mapping
from pathlib import Path

from compress.base.files import write_atomic
from compress.report.charts.canvas import MARK

HEAD = 2_000
"""Bytes at a picture's start in which the program that made it is named."""


def place_pictures(out: Path, pictures: Mapping[str, bytes]) -> list[Path]:
    """Writes pictures by file name into `out`, and returns their paths."""
    for name, data in pictures.items():
        write_atomic(out / name, data)
    for old in (path for kind in ("png", "svg") for path in out.glob(f"pareto*.{kind}")):
        if old.name not in pictures and (old.stem == "pareto" or _ours(old)):
            old.unlink(missing_ok=True)
    return [out / name for name in pictures]


def _ours(path: Path) -> bool:
    """Whether a picture names this program as its maker; another of a like name is somebody else's."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    return f"Software\0{MARK}".encode() in head or f"<dc:title>{MARK}</dc:title>".encode() in head
