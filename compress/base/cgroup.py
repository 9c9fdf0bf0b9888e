"""CPU quota of the control groups (containers, batch systems) of this process, and its throttling by them.

    v2    cpu.max "150000 100000"                         150 ms of CPU time in every 100 ms: 1.5 cores
    v1    cpu.cfs_quota_us 150000, cpu.cfs_period_us 100000

A process that has used up its quota is throttled: it does not run until the period ends. Groups are nested and the
smallest quota holds, so all groups from the process's own up to the mounted root are read. Every public function takes
the root of the file system.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/")


@dataclass(frozen=True)
class Throttled:
    """Throttling of this process's groups since they were made: number of periods, and seconds in total."""

    periods: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Throttled") -> "Throttled":
        return Throttled(self.periods + other.periods, self.seconds + other.seconds)

    def __sub__(self, other: "Throttled") -> "Throttled":
        return Throttled(self.periods - other.periods, self.seconds - other.seconds)


def quota_cores(root: Path = SYSTEM) -> float | None:
    """Return the CPU quota of this process in cores, or None without a quota."""
    quotas = [cores for folder in _folders(root) if (cores := _quota(folder)) is not None]
    return min(quotas, default=None)


def throttled(root: Path = SYSTEM) -> Throttled | None:
    """Return the throttling so far, summed over all groups with a quota, or None without a quota."""
    limited = [folder for folder in _folders(root) if _quota(folder) is not None]
    return sum((_throttled_of(folder) for folder in limited), Throttled()) if limited else None


def _quota(folder: Path) -> float | None:
    """Return the quota of one group in cores, or None without one."""
    v2 = _read(folder / "cpu.max").split()
    quota, period = v2 if len(v2) == 2 else (_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return cores if cores > 0 else None  # -1: no quota


def _throttled_of(folder: Path) -> Throttled:
    lines = (line.split() for line in _read(folder / "cpu.stat").splitlines())
    counters: Mapping[str, int] = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    seconds = counters.get("throttled_usec", 0) / 1e6 + counters.get("throttled_time", 0) / 1e9  # v2, v1
    return Throttled(counters.get("nr_throttled", 0), seconds)


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's group and its ancestors, in every hierarchy that can limit CPU time."""
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
        for part in _parts_below(group, words[3]):
            mounted /= part
            yield mounted


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """Yield each controller with this process's group in its hierarchy; version 2 has one controller without a name."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        yield from ((name, group) for name in controllers.split(","))


def _parts_below(group: str, top: str) -> tuple[str, ...]:
    """Return the parts of a group's path below the mounted group `top`; none if the group lies outside of it."""
    parts, top_parts = Path(group.lstrip("/")).parts, Path(top.lstrip("/")).parts
    inside = parts[: len(top_parts)] == top_parts and ".." not in parts
    return parts[len(top_parts) :] if inside else ()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
