"""Files and folders that are whole or not there, and private temporary folders that go with their process.

    $TMPDIR/compress-1000/                              of the user with this id, mode 0700; refused if somebody else's
        compress-session-4711-88123-1f0c9a2b-x3k/       of the process in its name (see `owners`)

The next process that asks for a temporary folder removes those of processes that are gone.
"""

import atexit
import ctypes
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from compress.errors import InputError
from compress.owners import beside, mark, sweep_once

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2, and RENAME_SWAP of renamex_np
_AT_FDCWD = -100
_KEPT: set[Path] = set()
"""Temporary folders of this process."""


def home() -> Path:
    """Return this user's own folder for temporary files. Raises InputError if it is a link or somebody else's."""
    path = Path(tempfile.gettempdir()) / f"compress-{os.getuid()}"
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror}); set TMPDIR to a folder of yours") from None
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise InputError(
            f"{path}: is a link, or belongs to another user; expected a folder of yours: remove it, or set TMPDIR"
        )
    if stat.S_IMODE(about.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def scratch(kind: str) -> Path:
    """Make a temporary folder of this process, after removing those of processes that are gone."""
    within = home()
    sweep_once(within)
    folder = within / f"compress-{kind}-{mark()}"
    folder.mkdir(mode=0o700)
    _KEPT.add(folder)
    return folder


def drop(folder: Path) -> None:
    """Remove such a folder."""
    shutil.rmtree(folder, ignore_errors=True)
    _KEPT.discard(folder)


def drop_all() -> None:
    """Remove all temporary folders of this process, which is about to end."""
    for folder in [*_KEPT]:
        drop(folder)


@cache
def _process_folder(kind: str, pid: int) -> Path:
    folder = scratch(kind)
    atexit.register(lambda: drop(folder) if os.getpid() == pid else None)
    return folder


def process_folder(kind: str) -> Path:
    """Return a temporary folder that lives as long as this process: the same one for every call of a kind."""
    return _process_folder(kind, os.getpid())


@contextmanager
def passing(kind: str) -> Iterator[Path]:
    """Provide a temporary folder for the length of a block."""
    folder = scratch(kind)
    try:
        yield folder
    finally:
        drop(folder)


def write_atomic(path: Path, data: bytes) -> None:
    """Write through a temporary file and a rename: a reader sees the old file or the new one, never a part.

    Others may read it as far as the user's umask lets them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".compress-{mark()}.tmp"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def put_in_place(work: Path, path: Path) -> None:
    """Make the folder `work` the folder `path`, which exists at every moment if the system can exchange two.

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
    """Exchange two paths in one step; return False if the system or the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    if sys.platform == "darwin":
        return int(libc.renamex_np(*names, _EXCHANGE)) == 0
    if not hasattr(libc, "renameat2"):
        return False
    return int(libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _EXCHANGE)) == 0
