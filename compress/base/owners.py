"""Temporary names that record the process that made them, so that abandoned files can be recognised.

    .compress-4711-88123-1f0c9a2b-x3k.tmp      process 4711, started 88123 clock ticks after boot, in system 1f0c9a2b

A path is abandoned if it belongs to this user and its process has ended. Processes of another system (a container, a
machine that shares the folder) are invisible here: their paths count as abandoned after a day.
"""

import contextlib
import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import time
from functools import cache
from pathlib import Path

FORGOTTEN_S = 86_400
MARK = re.compile(r"(?P<pid>\d+)-(?P<started>\d+)-(?P<system>[0-9a-f]{8})-\w+")
_BESIDE = re.compile(rf"\.(?P<target>.+)\.{MARK.pattern}\.(part|old|tmp)")
_PLAIN = re.compile(rf"\.compress-{MARK.pattern}\.tmp")


def mark() -> str:
    """Return a unique text that records this process."""
    pid = os.getpid()
    return f"{pid}-{started(pid) or 0}-{system()}-{secrets.token_hex(4)}"


UNFINISHED: set[Path] = set()
"""Names of this process that are renamed or removed when the work on them is finished."""


def beside(path: Path, kind: str) -> Path:
    """Return a new hidden, marked name in the folder of `path`; `kind` is part, old or tmp."""
    name = path.parent / f".{path.name}.{mark()}.{kind}"
    if kind != "old":  # an old folder gets its name back if its replacement was interrupted
        UNFINISHED.add(name)
    return name


def started(pid: int) -> int | None:
    """Return the start of a process in clock ticks after boot; None if it has ended or is not visible."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(line.rpartition(")")[2].split()[19])  # field 22; the name in parentheses may contain any text


@cache
def system() -> str:
    """Return 8 hex digits for the system in which process ids are unique: the machine and its process namespace."""
    try:
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        namespace = ""
    try:
        machine = Path("/etc/machine-id").read_text(encoding="utf-8", errors="replace")
    except OSError:
        machine = ""
    return hashlib.sha256(f"{platform.node()}|{machine}|{namespace}".encode()).hexdigest()[:8]


def alive(pid: int, start: int = 0) -> bool:
    """Return whether a process of this system runs that started at `start`; 0 means an unknown start."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # another user's process
    now = started(pid)
    return start == 0 or now is None or now == start


def abandoned(path: Path) -> bool:
    """Return whether a marked file or folder belongs to this user and its process has ended."""
    match = MARK.search(path.name)
    try:
        info = path.lstat()
    except OSError:
        return False
    if match is None or info.st_uid != os.getuid() or not (stat.S_ISDIR(info.st_mode) or stat.S_ISREG(info.st_mode)):
        return False
    if match["system"] != system():
        return time.time() - info.st_mtime > FORGOTTEN_S
    return not alive(int(match["pid"]), int(match["started"]))


def sweep(folder: Path) -> None:
    """Remove abandoned files in a folder; a folder whose replacement was interrupted gets its name back."""
    try:
        names = [entry.name for entry in os.scandir(folder) if MARK.search(entry.name)]
    except OSError:
        return  # missing, or not readable
    for name in names:
        path, sibling = folder / name, _BESIDE.fullmatch(name)
        if not (sibling or _PLAIN.fullmatch(name)) or not abandoned(path):
            continue
        if sibling and name.endswith(".old") and not os.path.lexists(folder / sibling["target"]):
            with contextlib.suppress(OSError):  # another process was faster
                path.rename(folder / sibling["target"])
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def sweep_below(root: Path) -> None:
    """Run `sweep` on a folder and all folders below it."""
    sweep(root)
    for folder, names, _ in os.walk(root):
        for name in names:
            sweep(Path(folder) / name)
