"""What killed processes leave: the next one sweeps it, and nothing that is in use or of somebody else."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from compress.base import files, owners
from tests.helpers import environment

LEAVE = """
import os, signal, sys
from pathlib import Path
from compress.base import files
from compress.base.owners import beside
folder = Path(sys.argv[1])
for kind in ("part", "tmp", "old"):
    made = beside(folder / "there", kind)
    made.mkdir()
    (made / "weights").write_text(kind)
made = beside(folder / "lost", "old")
made.mkdir()
(made / "weights").write_text("before")
os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomic(folder / "result.json", b"{}")
"""


@pytest.fixture
def leftovers(tmp_path: Path) -> Path:
    """A folder in which a process was killed while it wrote."""
    (tmp_path / "there").mkdir()
    done = subprocess.run([sys.executable, "-c", LEAVE, str(tmp_path)], env=environment(), check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(hidden(tmp_path)) == 5
    return tmp_path


def hidden(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith("."))


def test_what_a_killed_process_left_goes_and_what_it_set_aside_comes_back(leftovers: Path) -> None:
    owners.sweep_below(leftovers)
    assert hidden(leftovers) == []
    assert not list((leftovers / "there").iterdir())
    assert (leftovers / "lost" / "weights").read_text() == "before"


def test_files_of_a_living_process_and_similar_names_stay(tmp_path: Path) -> None:
    mine = owners.beside(tmp_path / "x", "part")
    reused = tmp_path / mine.name.replace(f"-{owners.started(os.getpid())}-", "-1-")  # its number, another start
    elsewhere = tmp_path / mine.name.replace(owners.system(), "0" * 8)
    strange = [tmp_path / name for name in (".result.json.1a2b3c4d.tmp", ".x.abc.part", ".x.4194304.old", "notes.tmp")]
    target = tmp_path / "target"
    link = tmp_path / reused.name.replace(".x.", ".y.")
    for path in (mine, elsewhere, reused, target, *strange):
        path.mkdir()
    link.symlink_to(target)
    owners.sweep(tmp_path)
    assert not reused.exists()
    assert all(path.exists() for path in (mine, elsewhere, target, link, *strange))
    os.utime(elsewhere, (0, 0))  # of another machine: after a day
    owners.sweep(tmp_path)
    assert not elsewhere.exists()
    if os.getuid() == 0:
        reused.mkdir()
        os.chown(reused, 65534, 65534)
        owners.sweep(tmp_path)
        assert reused.exists()


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "weights").write_text("0")
    return tmp_path / "artifact"


def successors(artifact: Path, count: int) -> Iterator[Path]:
    for number in range(1, count + 1):
        work = owners.beside(artifact, "part")
        work.mkdir()
        (work / "weights").write_text(str(number))
        yield work


def test_an_artifact_is_there_at_every_moment_while_it_is_replaced(artifact: Path) -> None:
    probe = (owners.beside(artifact, "part"), owners.beside(artifact, "part"))
    for path in probe:
        path.mkdir()
    if not files.exchange(*probe):
        pytest.skip("this file system cannot exchange two folders")
    for path in probe:
        path.rmdir()
    missing, over = [], threading.Event()

    def look() -> None:
        while not over.is_set():
            try:
                (artifact / "weights").stat()
            except FileNotFoundError as error:
                missing.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for work in successors(artifact, 300):
        files.put_in_place(work, artifact)
    over.set()
    thread.join()
    assert not missing
    assert (artifact / "weights").read_text() == "300"
    assert [path.name for path in artifact.parent.iterdir()] == ["artifact"]


def test_without_an_exchange_the_old_one_steps_aside(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "exchange", lambda one, other: False)
    for work in successors(artifact, 2):
        files.put_in_place(work, artifact)
    assert (artifact / "weights").read_text() == "2"
    assert [path.name for path in artifact.parent.iterdir()] == ["artifact"]
