"""Locks between processes: one measuring at a time on a machine, one builder at a time per artifact."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.base.errors import InputError
from compress.base.holders import recorded, told

MODE = 0o644
"""Only the owner writes; for a lock, reading is enough."""


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[bool]:
    """Holds the lock; yields True when another process had it first. It goes with the process, also a killed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while True:
        handle = _open(path)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                with told(path, waiting):
                    fcntl.flock(handle, fcntl.LOCK_EX)
            if _is(path, handle):
                with recorded(path):
                    yield waited
                return
        finally:
            os.close(handle)


def measuring_lock() -> Path:
    """The machine-wide lock under which sessions run: two at once would measure each other.

    It lies in one place for everybody, wherever jobs and users keep their temporary files; COMPRESS_LOCKS moves it.
    """
    return shared_lock("measuring")


def shared_lock(purpose: str) -> Path:
    """Return the path of a lock that all users of the machine share."""
    return Path(os.environ.get("COMPRESS_LOCKS", "/tmp")) / f"compress-{purpose}.lock"


def _open(path: Path) -> int:
    """A descriptor to lock: of a file that everybody can read and only its owner write, made where there is none.

    Another user's is opened for reading, which is enough for flock, and never with O_CREAT: in a sticky folder the
    kernel refuses that (fs.protected_regular). Raises InputError for links and whatever else is no file.
    """
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        handle = _opened(path, flags)
    except OSError as error:
        told = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise InputError(
            f"{path}: cannot be locked ({told}); remove it, or let its owner do so; COMPRESS_LOCKS moves the "
            "lock under which measurements run"
        ) from None
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise InputError(f"{path}: cannot be locked (it is no file); remove it, or let its owner do so")
    if found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) != MODE:
        os.fchmod(handle, MODE)  # the umask must not lock other users out
    return handle


def _opened(path: Path, flags: int) -> int:
    for access in (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL):
        try:
            return os.open(path, access | flags, MODE)
        except PermissionError:
            return os.open(path, os.O_RDONLY | flags)
        except (FileNotFoundError, FileExistsError):  # made by another process between the two
            continue
    return os.open(path, os.O_RDONLY | flags)


def _is(path: Path, handle: int) -> bool:
    """Whether the file that was locked is still the one of this name: others may clear temporary folders."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False
