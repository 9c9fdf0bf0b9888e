"""Processes that are killed or interrupted: nothing runs on behind the user's back, and the exit code says why."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from compress.base import startup
from compress.records import files as result_files
from tests import factory
from tests.helpers import compress, environment

PATIENCE_S = 60
GONE_S = 10
"""What must end does so within 2 s; a busy machine is given more."""
INT, TERM, KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL


def until(true: Callable[[], object], seconds: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def start_python(*arguments: object, **options: Any) -> "subprocess.Popen[str]":
    """A Python process in a group of its own."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, env=environment(), text=True, stderr=subprocess.PIPE, process_group=0, **options)


def listens(pid: int) -> bool:
    """Whether a process has a handler for the signal that terminates."""
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


PARENT = """
import sys
from compress.base.device import CPU
from compress.base.processes import run_child
run_child([sys.executable, "-m", "tests.sitting", *sys.argv[1:]], CPU)
"""


@pytest.mark.parametrize("how", [KILL, INT, TERM], ids=lambda how: how.name)
def test_a_child_and_all_it_started_end_with_their_parent(how: signal.Signals, tmp_path: Path) -> None:
    parent = start_python("-c", PARENT, tmp_path / "pids")
    until((tmp_path / "pids").exists)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(map(alive, pids))
    parent.send_signal(how)
    until(lambda: not any(map(alive, pids)), GONE_S)
    parent.communicate()


def test_what_a_child_leaves_running_ends_with_it(tmp_path: Path) -> None:
    parent = start_python("-c", PARENT, tmp_path / "pids", "end")
    assert parent.communicate(timeout=PATIENCE_S)[1] == ""
    assert parent.returncode == 0
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: not any(map(alive, pids)), GONE_S)


@pytest.mark.parametrize(("how", "code"), [(KILL, -9), (INT, 130), (TERM, 143)], ids=str)
def test_pareto_leaves_no_process_and_no_part_of_a_file(how: signal.Signals, code: int, tmp_path: Path) -> None:
    for name in ("one", "two"):
        result_files.write(tmp_path / "results", factory.result(name))
    command = [sys.executable, "-m", "compress", "pareto", "results"]
    child = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    found: list[int] = []

    def drawing() -> bool:
        found[:] = children(child.pid)
        return bool(found)

    until(drawing)
    child.send_signal(how)
    said = child.communicate(timeout=PATIENCE_S)[1]
    assert child.returncode == code
    assert "Traceback" not in said
    until(lambda: not any(map(alive, found)), GONE_S)
    assert compress("pareto", "results", cwd=tmp_path).returncode == 0
    assert not [path for path in (tmp_path / "results").iterdir() if path.name.startswith(".")]


RUN = ["run", "bert_dense", "--device", "cpu"]
MOMENTS = {
    "a start": (["methods"], 0.0, INT),
    "an import": (RUN, 0.8, INT),
    "a search for the workload": (RUN, 3.0, TERM),
    "a sensitivity": (["sensitivity", "bert_int8", "--device", "cpu"], 2.5, INT),
    "a comparison": (["compare", "bert_dense", "bert_int8"], 1.5, INT),
    "a checkup": (["doctor", "--quick"], 1.2, INT),
}


def test_a_signal_at_any_moment_gives_its_code_and_no_traceback(workload: Path, tmp_path: Path) -> None:
    running = {}
    for name, (arguments, after_s, how) in MOMENTS.items():
        more = ["--workload", str(workload)] if arguments[0] in ("run", "sensitivity", "compare") else []
        child = start_python("-m", "compress", *arguments, *more, cwd=tmp_path, stdout=subprocess.DEVNULL)
        until(partial(listens, child.pid))
        time.sleep(after_s)
        assert child.poll() is None, name
        os.killpg(child.pid, how)
        running[name] = (child, 128 + how)
    for name, (child, code) in running.items():
        said = child.communicate(timeout=PATIENCE_S)[1]
        assert child.returncode == code, (name, said)
        assert "Traceback" not in said and "Exception ignored" not in said, (name, said)
    assert not list((tmp_path / "results").rglob("*.json"))


AT_AN_IMPORT = """
import os, signal, sys
def hook(event, arguments):
    if event == "import" and arguments[0] == os.environ["SIGNAL_AT"]:
        signal.raise_signal(signal.SIGINT)
sys.addaudithook(hook)
"""


def test_ctrl_c_while_the_package_is_still_imported_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_AN_IMPORT)
    path = f"{tmp_path}{os.pathsep}{environment()['PYTHONPATH']}"
    running = {}
    for module in ("compress.base.telemetry", "compress.base.interrupts", "compress.cli", "compress.base.terminal"):
        child = subprocess.Popen(
            [sys.executable, "-m", "compress", "methods"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**environment(), "PYTHONPATH": path, "SIGNAL_AT": module},
        )  # fmt: skip
        running[module] = child
    for module, child in running.items():
        said = child.communicate(timeout=PATIENCE_S)[1]
        assert (child.returncode, said) == (130, "interrupted\n"), module
    assert not startup.is_command()  # a process of a user's own, which imported the package


COMMAND = """
import ctypes, time
from compress.base import interrupts

def wait():
    print("up", flush=True)
    time.sleep(60)

def work():
{}

interrupts.GRACE_S = 0.3
interrupts.run(work)
"""
STUBBORN = {
    "swallows it": """
    while True:
        try: wait()
        except BaseException: pass
""",
    "turns it into another": """
    try: wait()
    except BaseException as error:
        print("raised", flush=True)
        raise RuntimeError("renamed") from error
""",
    "meets it in a finalizer": """
    class Last:
        def __del__(self): wait()
    Last()
    time.sleep(60)
""",
    "returns": """
    try: wait()
    except BaseException: return 0
""",
    "sits in C": """
    interrupts.insist()
    print("up", flush=True)
    while True: ctypes.CDLL(None).poll(None, 0, 60000)
""",
}


@pytest.mark.parametrize("work", STUBBORN.values(), ids=STUBBORN)
@pytest.mark.parametrize(("how", "code"), [(INT, 130), (TERM, 143)], ids=["int", "term"])
def test_a_signal_ends_also_work_that(work: str, how: signal.Signals, code: int) -> None:
    child = start_python("-c", COMMAND.format(work), stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    child.send_signal(how)
    shown, said = child.communicate(timeout=PATIENCE_S)
    assert child.returncode == code, said
    assert said == {INT: "interrupted\n", TERM: "terminated\n"}[how]
    assert shown == "", "nothing is raised: C++ code that called back would abort"


@pytest.mark.parametrize(("how", "code"), [(INT, 130), (TERM, 143)], ids=["int", "term"])
def test_measure_leaves_it_to_the_command_how_it_ends(how: signal.Signals, code: int, tmp_path: Path) -> None:
    inner = (
        f"import signal, time; signal.signal({int(how)}, lambda *_: (print('kept'), exit(0)))\n"
        "print('up', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-m", "compress", "measure", "--device", "cpu", "--", sys.executable, "-c", inner]
    child = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    child.send_signal(how)
    out, said = child.communicate(timeout=PATIENCE_S)
    assert (child.returncode, out) == (code, "kept\n"), said
    assert "Traceback" not in said and " J" in said


def test_measure_gives_a_commands_signal_as_a_shell_does(tmp_path: Path) -> None:
    done = compress("measure", "--device", "cpu", "--", "sh", "-c", "kill -9 $$", cwd=tmp_path)
    assert done.returncode == 137, done.stderr


def test_ctrl_c_at_a_question_ends_init(tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, "-m", "compress", "init"], environment())
    said = b""
    while b"Model" not in said.rpartition(b"brackets")[2]:
        said += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(terminal)


def test_a_reader_that_has_seen_enough_ends_a_command_in_silence(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "compress", "methods"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


LEFT = """
import os, sys, time
from pathlib import Path
from compress.base import files, interrupts, owners

def work():
    folder = files.scratch("test")
    part = owners.beside(Path("artifact"), "part")
    part.mkdir()
    sys.stdout = os.fdopen(os.dup(1), "w")  # buffered, also under PYTHONUNBUFFERED
    print("written before the end", end="")
    os.write(1, f"{folder}\\n".encode())
    time.sleep(60)

interrupts.run(work)
"""


def test_a_signal_leaves_no_temporary_folder_and_loses_no_output(tmp_path: Path) -> None:
    child = start_python("-c", LEFT, stdout=subprocess.PIPE, cwd=tmp_path)
    assert child.stdout is not None
    folder = Path(child.stdout.readline().rstrip())
    assert folder.is_dir() and len(list(tmp_path.iterdir())) == 1
    child.send_signal(INT)
    assert child.communicate(timeout=PATIENCE_S) == ("written before the end", "interrupted\n")
    assert child.returncode == 130
    assert not folder.exists() and not list(tmp_path.iterdir())
