"""Locks for quanto's kernels, which are compiled on first use: a killed build must not block every later one.

    build/lock    torch's baton: it exists while a process compiles or loads, and other processes wait until it is gone

The baton is a plain file, which remains after SIGKILL. So the build runs under a lock that the operating system
releases. Under that lock, a baton is removed if no process has it open and its folder has not changed for `QUIET_S`.
"""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.base.config import InputError, digest
from compress.base.console import beating, say
from compress.base.locks import locked, shared_lock

BATON = "lock"
QUIET_S = 120.0
"""Seconds without changes in the folder after which a baton may be abandoned.

A compiler writes nothing while it works, and of a process in another container only the files are visible.
"""
REMIND_S, LOOK_S = 10.0, 0.2
WAITING = "another process compiles quanto's kernels; waiting for it"


@contextmanager
def building(folders: Iterable[Path]) -> Iterator[None]:
    """Hold a lock on these build folders during a block, after removing batons of killed processes.

    Raises InputError for a baton that cannot be removed.
    """
    places = sorted(folders)
    with locked(shared_lock(f"building-{digest([str(place) for place in places])}"), WAITING):
        for place in places:
            _wait(place / BATON)
        yield


def _wait(baton: Path) -> None:
    """Wait until a baton is gone: released by its process, or removed as abandoned."""
    line = f"  waiting for {baton}: another program is compiling, or was killed less than {QUIET_S:.0f} s ago"
    with beating(lambda _: line, REMIND_S):
        while (quiet_s := _quiet_s(baton)) is not None:
            if quiet_s > QUIET_S and not _is_open(baton):
                _remove(baton)
                return
            time.sleep(LOOK_S)


def _quiet_s(baton: Path) -> float | None:
    """Return the seconds since the last change in a baton's folder, or None if there is no baton."""
    try:
        changed = [entry.stat(follow_symlinks=False).st_mtime for entry in os.scandir(baton.parent)]
    except FileNotFoundError:  # the folder itself, or a file deleted meanwhile
        changed = []
    return time.time() - max(changed, default=0.0) if baton.exists() else None


def _is_open(file: Path) -> bool:
    """Return whether any process visible in /proc has a file open; always False without /proc."""
    try:
        target = file.stat()
    except FileNotFoundError:
        return False
    return any(_same(handle, target) for handle in Path("/proc").glob("[0-9]*/fd/*"))


def _same(handle: Path, target: os.stat_result) -> bool:
    try:
        return os.path.samestat(handle.stat(), target)
    except OSError:  # another user's, or closed meanwhile
        return False


def _remove(baton: Path) -> None:
    try:
        baton.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{baton}: was left by a killed build and cannot be removed ({error.strerror}); remove it, or ask its "
            "owner to"
        ) from None
    say(f"  removed {baton}, which a killed build had left")
