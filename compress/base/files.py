"""Atomic file writes, and private temporary folders that are removed when their process ends.

    $TMPDIR/compress-1000/              of the user with this id, mode 0700; refused if it belongs to another user
        session-4711-x1y2z3/            of the process with this id, which holds a lock on it

Folders of a killed process have a free lock and are removed when the next process asks for a folder. A folder just
created has no lock yet: for `MAKING_S` it stays if a process with that id exists.
"""

import atexit
import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from compress.base.errors import InputError
from compress.base.owners import UNFINISHED, alive, beside, mark
from compress.base.reading import expanded

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2, and RENAME_SWAP of renamex_np
_AT_FDCWD = -100
MAKING_S = 60.0
SPELLED = "backslashreplace"
"""Error handler for encoding text with names that are not UTF-8: their bytes become escapes, as on a terminal."""


def home() -> Path:
    """Return this user's folder for temporary files. Raises InputError if it is a link or belongs to another user."""
    path = Path(tempfile.gettempdir()) / f"compress-{os.getuid()}"
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise InputError(f"{path}: cannot be created ({error.strerror}); set TMPDIR to a folder that you own") from None
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise InputError(
            f"{path}: is a link, or belongs to another user; expected a folder that you own: remove it, or set TMPDIR"
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def scratch(kind: str) -> Path:
    """Create a temporary folder for this process; first removes the folders of dead processes."""
    parent = home()
    clear()
    for path in list(_LOCKED):  # a copy: other threads ask for folders meanwhile
        if not path.exists() and (handle := _LOCKED.pop(path, None)) is not None:
            os.close(handle)
    folder = Path(tempfile.mkdtemp(prefix=f"{kind}-{os.getpid()}-", dir=parent))
    _lock_folder(folder)
    return folder


def clear() -> None:
    """Remove the temporary folders of dead processes."""
    for folder in home().glob("*-*-*"):
        pid = folder.name.rsplit("-", 2)[1]
        if pid.isdigit() and _is_left_over(folder, int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_left_over(folder: Path, pid: int) -> bool:
    """Return whether the process that made a folder has ended.

    The lock decides: process ids are reused, and containers use the same ones.
    """
    try:
        held, age_s = _is_locked(folder), time.time() - folder.lstat().st_mtime
    except OSError:  # removed meanwhile, or not a folder
        return False
    return not held and (not alive(pid) or (held is False and age_s > MAKING_S))


@cache
def _process_folder(kind: str, pid: int) -> Path:
    folder = scratch(kind)
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == pid else None)
    return folder


def process_folder(kind: str) -> Path:
    """Return a temporary folder that lives as long as this process; the same one for every call with this kind."""
    return _process_folder(kind, os.getpid())


_LOCKED: dict[Path, int] = {}
"""Existing folders of this process -> the descriptors that hold their locks."""


def _lock_folder(folder: Path) -> None:
    """Lock a folder as long as it exists: process ids of other containers look dead from here."""
    _LOCKED[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a file system without locks: the process id alone decides
        fcntl.flock(_LOCKED[folder], fcntl.LOCK_SH)


def _is_locked(folder: Path) -> bool | None:
    """Return whether a process holds a folder's lock; None on a file system without locks."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)
    return False


def drop_all() -> None:
    """Remove all temporary folders of this process, which is about to end."""
    for folder in [*_LOCKED, *UNFINISHED]:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def passing(kind: str) -> Iterator[Path]:
    """Yield a temporary folder that is removed when the block ends."""
    folder = scratch(kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file through a temporary file and a rename: readers see the old or the new content, never a part.

    The user's umask decides whether others may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".compress-{mark()}.tmp")
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
    """Move the folder `work` to `path`, in one step if the system can exchange two folders.

    Otherwise the old folder is renamed first; `owners.sweep` restores it after a kill between the two renames.
    """
    if not path.exists():
        work.rename(path)
    elif exchange(work, path):
        shutil.rmtree(work, ignore_errors=True)  # `work` now names the old folder
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


def content_hash(path: Path) -> str:
    """Return 16 hex digits of the names and bytes of a file, or of all files in a folder except hidden ones."""
    total = hashlib.sha256()
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.suffix
        with file.open("rb") as stream:
            total.update(f"{name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def cache_folder() -> Path:
    """Return COMPRESS_CACHE, or `compress` in the user's cache folder."""
    chosen = os.environ.get("COMPRESS_CACHE")
    if chosen:
        return expanded(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (expanded(base) if base else Path.home() / ".cache") / "compress"
