"""Locks between processes: one measuring at a time on a machine, one builder at a time per artifact."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.holders import recorded, told


@contextmanager
def locked(path: Path, waiting: str) -> Iterator[bool]:
    """Holds the lock; yields True when another process had it first. It goes with the process, also a killed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = _open(path)
    waited = False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            with told(path, waiting):
                fcntl.flock(handle, fcntl.LOCK_EX)
        with recorded(path):
            yield waited
    finally:
        os.close(handle)


def measuring_lock() -> Path:
    """The machine-wide lock under which sessions run: two at once would measure each other.

    It lies in one place for everybody, wherever jobs and users keep their temporary files; COMPRESS_LOCKS moves it.
    """
    return Path(os.environ.get("COMPRESS_LOCKS", "/tmp")) / "compress-measuring.lock"


def _open(path: Path) -> int:
    """A descriptor to lock; another user's file is opened for reading, which is enough for flock."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        return os.open(path, os.O_RDONLY)
    if os.fstat(handle).st_uid == os.getuid():
        os.fchmod(handle, 0o666)  # the umask must not lock other users out
    return handle
