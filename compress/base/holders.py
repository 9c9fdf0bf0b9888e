"""Records of lock holders: the holder writes `LOCK.UID` next to the lock, and waiting processes read it.

A record may be another user's text. The owner of the file counts as the holder's user, its size is bounded, links are
not followed, and only printable characters are shown.
"""

import glob
import json
import math
import os
import pwd
import shlex
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from compress.base.console import beating, say
from compress.base.files import write_atomic
from compress.base.owners import alive, started, system

REMIND_S = 60.0
RECORD_BYTES = 4096
COMMAND_LETTERS = 200


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock, according to its own record."""

    pid: int
    started: int
    """Start time in clock ticks after boot."""
    system: str
    """System that the process id belongs to, see `owners.system`."""
    command: str
    since: float
    """Time when it got the lock, in seconds since 1970."""


@contextmanager
def recorded(lock: Path) -> Iterator[None]:
    """Record this process as the holder until the block ends, if the folder is writable."""
    pid = os.getpid()
    holder = Holder(pid, started(pid) or 0, system(), _command()[:COMMAND_LETTERS], time.time())
    record = lock.with_name(f"{lock.name}.{os.getuid()}")
    with suppress(OSError):  # the record only serves messages
        write_atomic(record, json.dumps(asdict(holder)).encode())
    try:
        yield
    finally:
        with suppress(OSError):
            record.unlink()


@contextmanager
def announcing(lock: Path, waiting: str) -> Iterator[None]:
    """Print which process this one waits for, and again every minute until the block ends."""
    say(waiting)
    say(f"  {describe(lock)}")
    with beating(lambda passed_s: f"  still waiting after {passed_s / 60:.0f} min; {describe(lock)}", REMIND_S):
        yield


def describe(lock: Path) -> str:
    """Return one line on the holder of a lock."""
    records = [entry for path in lock.parent.glob(f"{glob.escape(lock.name)}.*") if (entry := _read(path)) is not None]
    if not records:
        return "its holder is unknown"
    user, holder = max(records, key=lambda record: record[1].since)
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    return f"held since {since} by process {holder.pid} of {user}: {_printable(holder.command)}"


def _command() -> str:
    program, *arguments = sys.argv or [""]
    return shlex.join(["compress" if Path(program).name == "__main__.py" else program, *arguments])


def _read(path: Path) -> tuple[str, Holder] | None:
    """Return user and holder of a record; None if it is damaged, or its process has ended."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or path.name.rpartition(".")[2] != str(status.st_uid):
            return None
        holder = _parsed(os.read(handle, RECORD_BYTES))
    finally:
        os.close(handle)
    if holder is None or (holder.system == system() and not alive(holder.pid, holder.started)):
        return None
    return _user(status.st_uid), holder


def _parsed(data: bytes) -> Holder | None:
    try:
        plain = json.loads(data)
        holder = Holder(**plain)
        time.localtime(holder.since)
    except (ValueError, TypeError, OverflowError, OSError, RecursionError):
        return None
    expected = ((holder.pid, int), (holder.started, int), (holder.system, str), (holder.command, str))
    valid = all(type(value) is kind for value, kind in expected) and math.isfinite(holder.since) and holder.pid > 0
    return holder if valid else None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:COMMAND_LETTERS])
