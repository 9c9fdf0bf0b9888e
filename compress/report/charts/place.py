"""Pictures on disk. Pictures of an earlier call that are not drawn again are removed, so that none is outdated."""

from collections.abc import Mapping
from pathlib import Path

from compress.base.files import write_atomic
from compress.report.charts.canvas import MARK

HEAD = 2_000
"""Bytes at the start of a picture that contain the name of the program that made it."""


def place_pictures(out: Path, pictures: Mapping[str, bytes]) -> list[Path]:
    """Write pictures by file name into `out` and return their paths."""
    for name, data in pictures.items():
        write_atomic(out / name, data)
    for old in (path for kind in ("png", "svg") for path in out.glob(f"pareto*.{kind}")):
        if old.name not in pictures and (old.stem == "pareto" or _ours(old)):
            old.unlink(missing_ok=True)
    return [out / name for name in pictures]


def _ours(path: Path) -> bool:
    """Return whether this program made a picture, by its metadata; other files of a similar name are kept."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    return f"Software\0{MARK}".encode() in head or f"<dc:title>{MARK}</dc:title>".encode() in head
