"""Memory of the host that a process can still take, and failures for lack of memory, of the host or of a GPU.

What a process can take is what the system has available, within its control group's limit.
"""

from pathlib import Path

SYSTEM = Path("/")
LACKING = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "failed to allocate memory",
    "failed to allocate buffer", "bad_alloc", "bad allocation",
)  # fmt: skip
"""Texts by which libraries report that memory ran out: torch, onnxruntime, OpenVINO and llama.cpp share no class."""


def ran_out(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on the host or on a GPU."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or any(text in str(error).lower() for text in LACKING)


def free_bytes(root: Path = SYSTEM) -> int | None:
    """Return the bytes of host memory that are free now; None if the system does not report them.

    The files of the page cache count as free: they are dropped when memory is needed.
    """
    available = _field(root / "proc/meminfo", "MemAvailable:")
    limited = _within_limit(root / "sys/fs/cgroup")
    known = [value for value in (None if available is None else available * 1024, limited) if value is not None]
    return min(known, default=None)


def _within_limit(group: Path) -> int | None:
    """Return the bytes left of the control group's limit (version 2); None without one."""
    limit, used = _number(group / "memory.max"), _number(group / "memory.current")
    if limit is None or used is None:
        return None
    cached = _field(group / "memory.stat", "inactive_file")
    return max(0, limit - used + (cached or 0))


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def _field(file: Path, name: str) -> int | None:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), None)
