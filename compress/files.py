"""Files that are whole or not there, and temporary folders that go even when their process was killed."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FORGOTTEN_S = 86_400


def scratch(kind: str) -> Path:
    """A new temporary folder. What a killed process left of this kind a day ago or earlier goes first."""
    for left in Path(tempfile.gettempdir()).glob(f"compress-{kind}-*-*"):
        pid = left.name.split("-")[2]
        if pid.isdigit() and not _alive(int(pid)) and _age_s(left) > FORGOTTEN_S:
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"compress-{kind}-{os.getpid()}-"))


@contextmanager
def passing(kind: str) -> Iterator[Path]:
    """Such a folder for the length of a block."""
    folder = scratch(kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _age_s(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except OSError:
        return 0.0


def write_atomic(path: Path, data: bytes) -> None:
    """Writes through a temporary file and a rename: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
