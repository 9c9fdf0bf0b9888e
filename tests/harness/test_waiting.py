"""What a person is told while waiting: for whom and since when; without a terminal, how far the work is."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from compress.base import console as progress
from compress.base import holders
from compress.base.console import Lines, bar, beating, duration
from compress.base.locks import locked
from compress.base.owners import system
from compress.harness import build as building
from compress.harness import engine
from compress.harness import run as harness
from compress.harness.plan import Options
from compress.spec.recipe import Recipe
from tests.helpers import environment

NOBODY = 65534


@pytest.fixture
def printed_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines that were said."""
    lines: list[str] = []
    for module in (holders, progress):
        monkeypatch.setattr(module, "say", lines.append)
    return lines


HOLD = """
import sys, time
from pathlib import Path
from compress.base.locks import locked
from compress.base.owners import system
sys.argv = ["compress", "run", "bert\\x1b[2J_int8"]
with locked({lock!r}, "waiting"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_who_waits_is_told_for_whom_since_when_and_again(
    tmp_path: Path, printed_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "a.lock"
    code = HOLD.format(lock=lock).replace("PosixPath", "Path")
    holder = subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    monkeypatch.setattr(holders, "REMIND_S", 0.05)
    with holders.announcing(lock, "waiting"):
        deadline = time.monotonic() + 30
        while len(printed_lines) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
    holder.kill()
    holder.communicate()
    user = Path("~").expanduser().owner()
    assert printed_lines[0] == "waiting"
    since = time.strftime("%Y-%m-%d")
    assert printed_lines[1].startswith(f"  held since {since}") or time.strftime("%H") == "00"
    assert printed_lines[1].endswith(f" by process {holder.pid} of {user}: compress run 'bert?[2J_int8'")
    assert printed_lines[2].startswith("  still waiting after 0 min; held since")
    assert holders.describe(lock) == "its holder is unknown"  # killed: its record is stale
    with locked(lock, "waiting") as waited:
        assert not waited
        assert f"process {os.getpid()} of" in holders.describe(lock)
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


def record(folder: Path, uid: int, **changes: Any) -> Path:
    """A record beside `a.lock` as user `uid` would leave it."""
    plain = {"pid": os.getpid(), "started": 0, "system": system(), "command": "x", "since": 1e9, **changes}
    path = folder / f"a.lock.{uid}"
    path.write_text(json.dumps(plain))
    return path


def test_a_record_is_attributed_to_the_owner_of_its_file(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make a file of another user")
    os.chown(record(tmp_path, NOBODY), NOBODY, NOBODY)
    assert "of nobody: x" in holders.describe(tmp_path / "a.lock")
    record(tmp_path, 12345)  # claims to be a user whose file it is not
    assert "12345" not in holders.describe(tmp_path / "a.lock")


@pytest.mark.parametrize(
    "changes",
    [
        {"pid": "1"}, {"pid": -1}, {"pid": 1.5}, {"started": None}, {"command": 7}, {"since": "now"}, {"since": 1e400},
        {"since": 1e300}, {"since": float("nan")}, {"more": 1}, {"command": "x" * 10_000}, {"pid": 10**30},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_record_is_ignored(changes: dict[str, Any], tmp_path: Path) -> None:
    record(tmp_path, os.getuid(), **changes)
    assert holders.describe(tmp_path / "a.lock") == "its holder is unknown"


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/etc/hostname")])
def test_irregular_files_are_not_opened_as_records(plant: Any, tmp_path: Path) -> None:
    plant(tmp_path / f"a.lock.{os.getuid()}")
    (tmp_path / "a.lock.x").write_text("[" * 100_000)
    assert holders.describe(tmp_path / "a.lock") == "its holder is unknown"


def test_ctrl_c_while_waiting_for_a_lock(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from compress.base import interrupts; from compress.base.locks import locked\n"
        f"def work():\n  with locked(Path({str(tmp_path / 'a.lock')!r}), 'waiting'): return 0\n"
        "interrupts.run(work)"
    )
    with locked(tmp_path / "a.lock", "waiting"):
        child = subprocess.Popen([sys.executable, "-c", code], env=environment(), stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        assert child.stderr.readline() == "waiting\n"
        assert f"by process {os.getpid()} of" in child.stderr.readline()
        child.send_signal(signal.SIGINT)
        assert child.communicate()[1] == "interrupted\n"
        assert child.returncode == 130


def test_recipes_that_failed_wait_for_nobody(workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("no kernel")

    def never(*_: Any) -> Any:
        raise AssertionError("waits for the lock")

    monkeypatch.setattr(building, "build", fails)
    monkeypatch.setattr(engine, "locked", never)
    options = Options(str(workload), "cpu", tmp_path / "results", tmp_path / "artifacts")
    (result,) = harness.run_all([Recipe.load("bert_dense")], options)
    assert result.error == "RuntimeError: no kernel"


def test_a_line_every_half_minute_where_no_terminal_is(printed_lines: list[str]) -> None:
    now = [0.0]
    lines = Lines("evaluating int8", 872, clock=lambda: now[0])
    for now[0] in range(1, 88):
        lines.advance(10)
    assert printed_lines == [
        "  evaluating int8: 300 of 872 (34 %), 57 s left",
        "  evaluating int8: 600 of 872 (69 %), 27 s left",
    ]


def test_what_is_over_sooner_says_nothing(printed_lines: list[str]) -> None:
    now = [0.0]
    lines = Lines("sensitivity", 29, clock=lambda: now[0])
    for now[0] in range(29):
        lines.advance()
    now[0] = 60.0
    lines.advance()  # beyond its end
    with bar("exporting", None), bar("evaluating", 3) as inner:
        inner.advance()
    assert printed_lines == []


def test_a_budget_that_is_exceeded_still_has_a_line_every_half_minute(printed_lines: list[str]) -> None:
    """A first round may take longer than the whole budget of a point."""
    now = [0.0]
    lines = Lines("measuring batch 8", 20, clock=lambda: now[0], beyond="at least 6 rounds are measured")
    for now[0] in (25.0, 60.0, 90.0):
        lines.advance(now[0])
    assert printed_lines == [
        "  measuring batch 8: 1 min 0 s so far; 20 s were planned, but at least 6 rounds are measured",
        "  measuring batch 8: 1 min 30 s so far; 20 s were planned, but at least 6 rounds are measured",
    ]


def test_work_of_unknown_length_says_how_long_it_has_taken(printed_lines: list[str]) -> None:
    with beating(lambda passed_s: f"sh: {duration(passed_s)} so far", period_s=0.01):
        deadline = time.monotonic() + 30
        while len(printed_lines) < 2 and time.monotonic() < deadline:
            time.sleep(0.005)
    assert printed_lines[:2] == ["sh: 0 s so far"] * 2


def test_a_command_that_is_measured_shows_that_it_runs(
    printed_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from compress.energy import block

    monkeypatch.setattr(block, "beating", partial(beating, period_s=0.05))
    code, _ = block.run(["sleep", "0.3"], block.command_meter("cpu"))
    assert code == 0
    assert printed_lines[0] == "sleep: 0 s so far"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (80, "1 min 20 s"), (3600, "1 h 0 min"), (7500, "2 h 5 min")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
