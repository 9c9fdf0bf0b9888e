"""What lies in shared folders: temporary files that only their user reads, and the lock that all users share."""

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compress.base import files
from compress.base.config import InputError
from compress.base.locks import locked, measuring_lock
from tests.helpers import ROOT, environment

NOBODY = 65534


@pytest.fixture
def shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sticky folder for everybody, as /tmp is, where temporary files and the lock go."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setenv("COMPRESS_LOCKS", str(folder))
    return folder


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


AS_NOBODY = """
import os, sys
from compress.base.console import say
from tests.base import test_private_files as tests
say("imports what it needs while Python's own files can be read")
work = getattr(tests, sys.argv[1])
os.chdir(sys.argv[2])  # while this is still allowed: its parents are not open to others
os.setgroups([])
os.setgid(tests.NOBODY)
os.setuid(tests.NOBODY)
sys.exit(10 if work(*sys.argv[3:]) else 11)
"""


def as_nobody(work: Callable[..., bool], within: Path, *arguments: str) -> bool:
    """What another user's process gets in a folder that its own users cannot enter by its path.

    The process is a fresh one: a fork of a test process with many threads cannot start a thread.
    """
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    command = [sys.executable, "-c", AS_NOBODY, work.__name__, within, *arguments]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode in (10, 11), f"the other user's process failed: {done.stderr}"
    return done.returncode == 10


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_temporary_folders_are_the_users_own(shared_folder: Path, umask: Callable[[int], int], mask: int) -> None:
    umask(mask)
    made = files.scratch("session")
    (made / "job.json").write_text("text")
    assert made.parent == shared_folder / f"compress-{os.getuid()}"
    assert mode(made) == mode(made.parent) == 0o700
    assert not as_nobody(can_read, shared_folder, f"compress-0/{made.name}/job.json")


def test_somebody_elses_folder_or_a_link_of_that_name_is_refused(shared_folder: Path, tmp_path: Path) -> None:
    place = shared_folder / f"compress-{os.getuid()}"
    (tmp_path / "mine").mkdir()
    place.symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="is a link, or belongs to another user"):
        files.scratch("session")
    assert not any((tmp_path / "mine").iterdir())
    place.unlink()
    place.mkdir(0o777)
    place.chmod(0o777)
    files.scratch("session")
    assert mode(place) == 0o700
    if os.getuid() == 0:
        shutil.rmtree(place)
        place.mkdir()
        os.chown(place, NOBODY, NOBODY)
        with pytest.raises(InputError, match="belongs to another user"):
            files.scratch("session")


def test_leftovers_go_by_process_and_lock_and_others_stay(shared_folder: Path) -> None:
    home = files.home()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = home / f"session-{ended.pid}-abc", home / f"session-{os.getpid()}-abc"
    held, foreign = home / f"onnx-{ended.pid}-def", home / "keep"
    for folder in (dead, alive, held, foreign):
        folder.mkdir()
    outside = shared_folder / f"session-{ended.pid}-abc"
    outside.mkdir()
    holder = os.open(held, os.O_RDONLY)  # a process of another container, whose id means nothing here
    fcntl.flock(holder, fcntl.LOCK_SH)
    files.scratch("onnx")
    assert not dead.exists()
    assert all(folder.exists() for folder in (alive, held, foreign, outside))
    os.close(holder)
    files.scratch("onnx")
    assert not held.exists()
    os.utime(alive, (0, 0))  # of an earlier process with this process's id: nobody holds its lock
    files.scratch("onnx")
    assert not alive.exists()


def test_without_locks_the_process_decides(shared_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = (files.home() / f"session-{pid}-abc" for pid in (ended.pid, os.getpid()))
    for folder in (dead, alive):
        folder.mkdir()
        os.utime(folder, (0, 0))
    files.scratch("onnx")
    assert (dead.exists(), alive.exists()) == (False, True)


def test_folders_that_pass_leave_no_descriptor(shared_folder: Path) -> None:
    with files.passing("x"):
        pass
    before = len([*Path("/proc/self/fd").iterdir()])
    for _ in range(5):
        with files.passing("x"):
            pass
    assert len([*Path("/proc/self/fd").iterdir()]) == before


@pytest.mark.parametrize(("mask", "expected"), [(0o000, 0o644), (0o022, 0o644), (0o077, 0o600)])
def test_written_files_follow_the_umask(tmp_path: Path, umask: Callable[[int], int], mask: int, expected: int) -> None:
    umask(mask)
    files.write_atomic(tmp_path / "result.json", b"{}")
    assert mode(tmp_path / "result.json") == expected


def can_read(path: str) -> bool:
    return os.access(path, os.R_OK)


def held_elsewhere() -> bool:
    """Whether the lock in the present folder can be taken, and another process has to be waited for."""
    os.environ["COMPRESS_LOCKS"] = "."

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with locked(measuring_lock(), "waiting"):
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_two_users_share_one_lock_that_only_its_owner_writes(
    shared_folder: Path, umask: Callable[[int], int], mask: int
) -> None:
    umask(mask)
    with locked(measuring_lock(), "waiting"):
        assert mode(measuring_lock()) == 0o644
        assert as_nobody(held_elsewhere, shared_folder)
    assert not as_nobody(held_elsewhere, shared_folder)


def test_the_lock_of_another_user_in_a_sticky_folder_is_locked_too(shared_folder: Path) -> None:
    assert not as_nobody(held_elsewhere, shared_folder)  # nobody made it: root may not open it with O_CREAT
    assert measuring_lock().stat().st_uid == NOBODY
    with locked(measuring_lock(), "waiting") as waited:
        assert not waited
        assert as_nobody(held_elsewhere, shared_folder)
    assert mode(measuring_lock()) == 0o644


def test_a_lock_that_an_older_version_opened_to_all_is_closed_again(shared_folder: Path) -> None:
    measuring_lock().touch()
    measuring_lock().chmod(0o666)
    with locked(measuring_lock(), "waiting"):
        assert mode(measuring_lock()) == 0o644


def test_a_lock_that_was_cleared_away_while_it_was_waited_for_is_made_anew(
    shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    holder = os.open(measuring_lock(), os.O_RDWR | os.O_CREAT)
    flock(holder, fcntl.LOCK_EX)

    def clearing(handle: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:  # without LOCK_NB: it waits
            measuring_lock().unlink()
            os.close(holder)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", clearing)
    with locked(measuring_lock(), "waiting") as waited:
        assert waited
        assert held_elsewhere_here()


def held_elsewhere_here() -> bool:
    handle = os.open(measuring_lock(), os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "victim")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent.parent / "nothing")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("plant", [link, dangling, fifo, folder], ids=lambda plant: plant.__name__)
def test_what_is_no_file_of_that_name_is_refused(
    plant: Callable[[Path], None], shared_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "victim").chmod(0o600)
    plant(measuring_lock())
    with pytest.raises(InputError, match="cannot be locked"), locked(measuring_lock(), "waiting"):
        pass
    assert (tmp_path / "victim").read_text() == "untouched" and mode(tmp_path / "victim") == 0o600
    assert not (tmp_path / "nothing").exists()


def test_no_line_of_the_package_gives_rights_to_all() -> None:
    for file in (ROOT / "compress").rglob("*.py"):
        text = file.read_text()
        assert not any(word in text for word in ("0o666", "0o777", "umask(")), file


SECRET = "a sentence that nobody else should read"


def test_a_refused_run_leaves_no_copy_of_the_texts(workload: Path, tmp_path: Path) -> None:
    shutil.copytree(workload.parent, tmp_path / "here")
    data = tmp_path / "here" / "data"
    rows = [f'"{SECRET}",{label}' for label in (0, 1, 7)]
    lines = [f'{{"text": "{SECRET}", "label": {label}}}' for label in (0, 1, 7)]
    for split, suffix in (("train", ".csv"), ("test", ".jsonl")):
        (data / f"{split}.parquet").unlink()
        written = ["text,label", *rows] if suffix == ".csv" else lines
        (data / f"{split}{suffix}").write_text("\n".join(written) + "\n")
    file = tmp_path / "here" / "my.yaml"
    file.write_text(file.read_text().replace("train.parquet", "train.csv").replace("test.parquet", "test.jsonl"))
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    places = {"HOME": tmp_path / "home", "TMPDIR": tmp_path / "tmp", "HF_HOME": tmp_path / "home" / "hf"}
    done = subprocess.run(
        [sys.executable, "-m", "compress", "run", "bert_dense", "--workload", "here/my.yaml", "--device", "cpu"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**environment(), **{name: str(place) for name, place in places.items()}},
    )  # fmt: skip
    assert done.returncode == 2 and "label" in done.stderr, done.stderr
    kept = [file for place in ("home", "tmp") for file in (tmp_path / place).rglob("*") if file.is_file()]
    assert not [file for file in kept if SECRET.encode() in file.read_bytes()], kept
    assert not any((tmp_path / "tmp" / f"compress-{os.getuid()}").iterdir())
