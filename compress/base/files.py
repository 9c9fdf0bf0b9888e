"""Files that are whole or not there, and temporary folders that only we can read and that go when their process ends.

    $TMPDIR/compress-1000/              of the user with this id, mode 0700; refused where it is somebody else's
        session-4711-x1y2z3/            of the process with this id, which holds a lock on it

Also what a killed process left goes: when the next one asks for a folder and sees a free lock. A folder that is made
now has no lock yet: for `MAKING_S` it stays if there is a process of that id.
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
from compress.base.owners import alive, beside, mark
from compress.base.reading import expanded

_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2, and RENAME_SWAP of renamex_np
_AT_FDCWD = -100
MAKING_S = 60.0
SPELLED = "backslashreplace"
"""How text with names that are not UTF-8 is encoded: their bytes are spelled, as on a terminal."""


def home() -> Path:
    """This user's own folder for temporary files. Raises InputError where it is a link, or somebody else's."""
    path = Path(tempfile.gettempdir()) / f"compress-{os.getuid()}"
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise InputError(f"{path}: cannot be made ({error.strerror}); set TMPDIR to a folder of yours") from None
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise InputError(
            f"{path}: is a link, or belongs to another user; expected a folder of yours: remove it, or set TMPDIR"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def scratch(kind: str) -> Path:
    """A new temporary folder of this process, after those of dead processes have gone."""
    within = home()
    clear()
    for gone in [path for path in _HELD if not path.exists()]:
        os.close(_HELD.pop(gone))
    folder = Path(tempfile.mkdtemp(prefix=f"{kind}-{os.getpid()}-", dir=within))
    _hold(folder)
    return folder


def clear() -> None:
    """Removes the temporary folders of dead processes."""
    for left in home().glob("*-*-*"):
        pid = left.name.rsplit("-", 2)[1]
        if pid.isdigit() and _left(left, int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _left(folder: Path, pid: int) -> bool:
    """Whether the process that made a folder has ended. Ids come again, in containers the same ones: locks decide."""
    try:
        held, age_s = _held(folder), time.time() - folder.lstat().st_mtime
    except OSError:  # gone, or no folder
        return False
    return not held and (not alive(pid) or (held is False and age_s > MAKING_S))


@cache
def _process_folder(kind: str, pid: int) -> Path:
    folder = scratch(kind)
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == pid else None)
    return folder


def process_folder(kind: str) -> Path:
    """A temporary folder for as long as this process lives: the same one for every call of a kind."""
    return _process_folder(kind, os.getpid())


_HELD: dict[Path, int] = {}
"""Folders of this process that are there, and the descriptors that hold their locks."""


def _hold(folder: Path) -> None:
    """Locks a folder while it is there: process ids of other containers look dead here."""
    _HELD[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # a file system without locks: there the process id decides alone
        fcntl.flock(_HELD[folder], fcntl.LOCK_SH)


def _held(folder: Path) -> bool | None:
    """Whether a process holds a folder's lock; None on a file system without locks."""
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
    """Removes all temporary folders of this process, which is about to end."""
    for folder in [*_HELD]:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def passing(kind: str) -> Iterator[Path]:
    """Such a folder for the length of a block."""
    folder = scratch(kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes through a temporary file and a rename: a reader sees the old file or the new one, never a part.

    Others may read it as far as the user's umask lets them.
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
    """COMPRESS_CACHE, or the platform's user cache."""
    given = os.environ.get("COMPRESS_CACHE")
    if given:
        return expanded(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (expanded(base) if base else Path.home() / ".cache") / "compress"
