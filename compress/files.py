"""Files and folders that are whole or not there, and temporary folders that go even when their process was killed."""

import ctypes
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.owners import beside, mark, sweep_once

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2, and RENAME_SWAP of renamex_np
_AT_FDCWD = -100
_KEPT: set[Path] = set()
"""Temporary folders of this process."""


def scratch(kind: str) -> Path:
    """A new temporary folder, for this user alone. What killed processes left of such folders goes first."""
    place = Path(tempfile.gettempdir())
    sweep_once(place)
    folder = place / f"compress-{kind}-{mark()}"
    folder.mkdir(mode=0o700)
    _KEPT.add(folder)
    return folder


def drop(folder: Path) -> None:
    """Removes such a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    _KEPT.discard(folder)


def drop_all() -> None:
    """Removes all temporary folders of this process: it is about to end."""
    for folder in [*_KEPT]:
        drop(folder)


@contextmanager
def passing(kind: str) -> Iterator[Path]:
    """Such a folder for the length of a block."""
    folder = scratch(kind)
    try:
        yield folder
    finally:
        drop(folder)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes through a temporary file and a rename: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".compress-{mark()}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def put_in_place(work: Path, path: Path) -> None:
    """Makes the folder `work` the folder `path`, which is there at every moment where the system can exchange two.

    Elsewhere the old one steps aside first; `owners.sweep` brings it back after a kill between the two renames.
    """
    if not path.exists():
        work.rename(path)
    elif exchange(work, path):
        shutil.rmtree(work, ignore_errors=True)  # the old one, under the new one's former name
    else:
        old = beside(path, "old")
        path.rename(old)
        work.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths in one step; False where the system or the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        return int(libc.renamex_np(*names, _EXCHANGE)) == 0
    if not hasattr(libc, "renameat2"):
        return False
    return int(libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)) == 0
