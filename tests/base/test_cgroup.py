"""CPU quotas of control groups, from made trees: what is read, how many threads it leaves, what it does to a grade."""

from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis.disturbances import disturbances
from compress.base import processes as child
from compress.base.cgroup import Throttled, quota_cores, throttled
from compress.base.device import CPU
from compress.records import machine
from compress.records.session import MeterFacts, Runner, RunnerPoint, Session, Shape

V2 = "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
DOCKER = "33 31 0:30 /docker/1f /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
"""Version 1 without a namespace of its own: the mounted root is the container's group."""


def tree(root: Path, mounts: str, group: str, files: dict[str, str]) -> Path:
    """A root of a file system with such mounts, this process's group, and files below /sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text("22 1 8:1 / / rw - ext4 /dev/root rw\n" + mounts)
    (root / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        place = root / "sys/fs/cgroup" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


STAT2 = "usage_usec 9\nnr_periods 50\nnr_throttled 12\nthrottled_usec 800000\n"
STAT1 = "nr_periods 50\nnr_throttled 3\nthrottled_time 500000000\n"
CASES = {
    "v2": (V2, "0::/a\n", {"a/cpu.max": "150000 100000\n", "a/cpu.stat": STAT2}, 1.5, Throttled(12, 0.8)),
    "v2 without": (V2, "0::/a\n", {"a/cpu.max": "max 100000\n", "a/cpu.stat": STAT2}, None, None),
    "v2 in a container": (V2, "0::/\n", {"cpu.max": "50000 100000", "cpu.stat": STAT2}, 0.5, Throttled(12, 0.8)),
    "v2 around": (V2, "0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2.0, Throttled()),
    "v2 nested": (
        V2, "0::/a/b\n",
        {"a/cpu.max": "100000 100000", "a/cpu.stat": STAT2, "a/b/cpu.max": "300000 100000", "a/b/cpu.stat": STAT2},
        1.0, Throttled(24, 1.6),
    ),
    "v1": (
        V1, "4:cpu,cpuacct:/job\n0::/\n",
        {"cpu,cpuacct/job/cpu.cfs_quota_us": "250000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
         "cpu,cpuacct/job/cpu.stat": STAT1}, 2.5, Throttled(3, 0.5),
    ),
    "v1 without": (
        V1, "4:cpu,cpuacct:/\n",
        {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, None, None,
    ),
    "v1 in a container": (
        DOCKER, "4:cpu:/docker/1f\n",
        {"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4.0, Throttled(),
    ),
    "v1 beside v2": (
        V1 + V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified"), "4:cpu,cpuacct:/a\n0::/a\n",
        {"cpu,cpuacct/a/cpu.cfs_quota_us": "100000", "cpu,cpuacct/a/cpu.cfs_period_us": "50000",
         "unified/a/cgroup.procs": ""}, 2.0, Throttled(),
    ),
    "outside of what is mounted": (V2, "0::/../b\n", {"cpu.max": "100000 100000"}, 1.0, Throttled()),
    "damaged": (V2, "0::/a\n", {"a/cpu.max": "much little", "a/cpu.stat": "x y z\n"}, None, None),
    "no period": (V2, "0::/a\n", {"a/cpu.max": "5 0"}, None, None),
    "no control groups": ("", "", {}, None, None),
}  # fmt: skip


@pytest.mark.parametrize(("mounts", "group", "found", "cores", "stood"), CASES.values(), ids=CASES)
def test_the_smallest_quota_on_the_way_holds_and_throttling_adds_up(
    mounts: str, group: str, found: dict[str, str], cores: float | None, stood: Throttled | None, tmp_path: Path
) -> None:
    root = tree(tmp_path, mounts, group, found)
    assert quota_cores(root) == cores
    assert throttled(root) == stood


def test_a_system_that_reports_nothing_has_no_quota(tmp_path: Path) -> None:
    assert quota_cores(tmp_path / "none") is None
    assert throttled(tmp_path / "none") is None


@pytest.mark.parametrize(("quota", "threads"), [(None, 4), (0.3, 1), (1.0, 1), (1.5, 2), (3.0, 3), (64.0, 4)])
def test_a_model_gets_no_more_threads_than_its_quota(
    quota: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 3, 7}, raising=False)
    monkeypatch.setattr(child, "quota_cores", lambda: quota)
    assert child.threads() == threads
    assert child.limited() == ({} if quota is None else {"OMP_NUM_THREADS": str(threads)})


def test_a_quota_is_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "quota_cores", lambda: None)
    without = machine.describe(CPU)
    monkeypatch.setattr(machine, "quota_cores", lambda: 1.5)
    within = machine.describe(CPU)
    assert "quota_cores" not in without.details["cpu"]
    assert within.details["cpu"]["quota_cores"] == 1.5
    assert within.id != without.id


def test_a_measurement_that_was_throttled_is_disturbed() -> None:
    quiet = RunnerPoint(Shape(1, 64), steady=True, foreign_cores=0.0)
    halted = replace(quiet, throttled_periods=12, throttled_s=0.8)

    def reasons(point: RunnerPoint) -> list[str]:
        session = Session((Runner("a", {}, True, 1, "", None, (point,)),), MeterFacts())
        return [disturbance.sentence for disturbance in disturbances(session, "a", 0)]

    assert reasons(quiet) == []
    assert reasons(halted) == ["the control group's CPU quota stopped the measurement in 12 periods, for 0.8 s"]


def test_differences_of_throttling_are_taken_field_by_field() -> None:
    assert Throttled(5, 2.0) - Throttled(2, 0.5) + Throttled(1, 1.0) == Throttled(4, 2.5)
