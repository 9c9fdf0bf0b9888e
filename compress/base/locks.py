"""Locks between processes: one measurement at a time per machine, one builder at a time per artifact."""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.base.errors import InputError
from compress.base.holders import announcing, recorded

MODE = 0o644
"""Only the owner may write; reading is enough to lock a file."""


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[bool]:
    """Hold the lock until the block ends; yields True if this process had to wait for another one.

    The system releases the lock when the process exits, even if killed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waited = False
    while True:
        handle = _open(path)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waited = True
                with announcing(path, waiting):
                    fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_same_file(path, handle):
                with recorded(path):
                    yield waited
                return
        finally:
            os.close(handle)


def measuring_lock() -> Path:
    """Return the path of the machine-wide lock of sessions: two at once would disturb each other's measurements.

    The path does not depend on TMPDIR, so that all jobs and users share it; COMPRESS_LOCKS moves it.
    """
    return shared_lock("measuring")


def shared_lock(purpose: str) -> Path:
    """Return the path of a lock that all users of the machine share."""
    return Path(os.environ.get("COMPRESS_LOCKS", "/tmp")) / f"compress-{purpose}.lock"


def _open(path: Path) -> int:
    """Open a lock file and return its descriptor; a missing file is created, readable by all, writable by its owner.

    Another user's file is opened for reading, which is enough for flock, and never with O_CREAT: the kernel refuses
    that in a sticky folder (fs.protected_regular). Raises InputError for a link or anything but a regular file.
    """
    flags = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        handle = _open_or_create(path, flags)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise InputError(
            f"{path}: cannot be locked ({reason}); remove it, or ask its owner to; or set COMPRESS_LOCKS to "
            "another path for the lock of measurements"
        ) from None
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise InputError(f"{path}: cannot be locked (not a regular file); remove it, or ask its owner to")
    if status.st_uid == os.getuid() and stat.S_IMODE(status.st_mode) != MODE:
        os.fchmod(handle, MODE)  # the umask must not lock other users out
    return handle


def _open_or_create(path: Path, flags: int) -> int:
    for access in (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL):
        try:
            return os.open(path, access | flags, MODE)
        except PermissionError:
            return os.open(path, os.O_RDONLY | flags)
        except (FileNotFoundError, FileExistsError):  # created or removed by another process meanwhile
            continue
    return os.open(path, os.O_RDONLY | flags)


def _is_same_file(path: Path, handle: int) -> bool:
    """Return whether a path still names the locked file: others may clear temporary folders."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False
