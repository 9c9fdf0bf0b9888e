"""Free memory is what the system has available, within the limit of the control group."""

from pathlib import Path

from compress.base.memory import free_bytes


def system(root: Path, **files: str) -> Path:
    """Write the files of a system's memory below a root."""
    (root / "proc").mkdir()
    (root / "sys/fs/cgroup").mkdir(parents=True)
    if "meminfo" in files:
        (root / "proc/meminfo").write_text(files.pop("meminfo"))
    for name, content in files.items():
        (root / "sys/fs/cgroup" / f"memory.{name}").write_text(content)
    return root


MEMINFO = "MemTotal:       32000 kB\nMemFree:        1000 kB\nMemAvailable:   20000 kB\n"


def test_without_a_limit_it_is_what_the_system_has_available(tmp_path: Path) -> None:
    assert free_bytes(system(tmp_path, meminfo=MEMINFO, max="max\n", current="5\n")) == 20_000 * 1024


def test_a_limit_counts_less_what_is_used_but_not_the_cached_files(tmp_path: Path) -> None:
    stat = "anon 3000000\ninactive_file 500000\n"
    root = system(tmp_path, meminfo=MEMINFO, max="8000000\n", current="4000000\n", stat=stat)
    assert free_bytes(root) == 8_000_000 - 4_000_000 + 500_000


def test_a_system_that_reports_nothing_is_unknown(tmp_path: Path) -> None:
    assert free_bytes(system(tmp_path)) is None
    assert free_bytes() is None or free_bytes() > 0  # type: ignore[operator]
