"""The share of the CPUs that control groups (containers, batch systems) leave this process, and how they enforce it.

    v2    cpu.max "150000 100000"                         150 ms of CPU time in every 100 ms: 1.5 cores
    v1    cpu.cfs_quota_us 150000, cpu.cfs_period_us 100000

A process that has used up its quota stands still until the period ends: it is throttled. Groups are nested and the
smallest quota holds, so all groups from the process's own up to the mounted root are read. Every function takes the
root of the file system.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/")


@dataclass(frozen=True)
class Throttled:
    """How often, and how long in all, this process's groups stood still since they were made."""

    periods: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Throttled") -> "Throttled":
        return Throttled(self.periods + other.periods, self.seconds + other.seconds)

    def __sub__(self, other: "Throttled") -> "Throttled":
        return Throttled(self.periods - other.periods, self.seconds - other.seconds)


def quota_cores(root: Path = SYSTEM) -> float | None:
    """Cores' worth of CPU time that this process may use, or None without a quota."""
    found = [cores for folder in _folders(root) if (cores := _quota(folder)) is not None]
    return min(found, default=None)


def throttled(root: Path = SYSTEM) -> Throttled | None:
    """Throttling of every group with a quota so far, or None without a quota."""
    limited = [folder for folder in _folders(root) if _quota(folder) is not None]
    return sum((_counted(folder) for folder in limited), Throttled()) if limited else None


def _quota(folder: Path) -> float | None:
    """The quota of one group, in cores."""
    v2 = _read(folder / "cpu.max").split()
    quota, period = v2 if len(v2) == 2 else (_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # max, or no such file
        return None
    return cores if cores > 0 else None  # -1: none


def _counted(folder: Path) -> Throttled:
    lines = (line.split() for line in _read(folder / "cpu.stat").splitlines())
    known: Mapping[str, int] = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    seconds = known.get("throttled_usec", 0) / 1e6 + known.get("throttled_time", 0) / 1e9  # v2, v1
    return Throttled(known.get("nr_throttled", 0), seconds)


def _folders(root: Path) -> Iterator[Path]:
    """The folders of this process's group and of those around it, in every hierarchy that can limit CPU time."""
    groups = dict(_groups(root))
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        words, kind = before.split(), after.split()
        if len(words) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = kind[2].split(",") if kind[0] == "cgroup" else [""]
        group = next((groups[name] for name in ("cpu", "") if name in controllers and name in groups), None)
        if group is None:
            continue
        mounted = root / words[4].lstrip("/")
        yield mounted
        for part in _within(group, words[3]):
            mounted /= part
            yield mounted


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """Controller -> this process's group in its hierarchy; the controller of version 2 has no name."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, named = line.partition(":")
        controllers, _, group = named.partition(":")
        yield from ((name, group) for name in controllers.split(","))


def _within(group: str, top: str) -> tuple[str, ...]:
    """The parts of a group's path below the group that is mounted; none where it lies outside of that."""
    parts, above = Path(group.lstrip("/")).parts, Path(top.lstrip("/")).parts
    inside = parts[: len(above)] == above and ".." not in parts
    return parts[len(above) :] if inside else ()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
