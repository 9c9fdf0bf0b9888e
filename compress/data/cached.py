"""Folders built once per machine in the user's cache, by an atomic rename."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from compress.base.config import InputError
from compress.base.locks import locked
from compress.base.owners import beside, sweep

UNUSED_S = 30 * 86_400.0
OWN = re.compile("[0-9a-f]{16}")
"""Names of folders that a cache made: digests. Others in the same place belong to somebody else."""


def made_once(target: Path, what: str, is_complete: Callable[[Path], bool], build: Callable[[Path], None]) -> Path:
    """Return the folder `target`, built now if it is incomplete; concurrent processes build it once.

    Raises InputError if it cannot be written.
    """
    if is_complete(target):
        return target
    root = target.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{target.name}.lock", f"another process is making {what}; waiting for it"):
            if not is_complete(target):  # another process may have finished it while this one waited
                _make(target, build)
    except OSError as error:
        raise InputError(
            f"{what}: cannot be written to {root} ({error.strerror or error}); "
            "free some space or set COMPRESS_CACHE to another folder"
        ) from error
    return target


def keep_used(folder: Path) -> None:
    """Mark a folder of the cache as used now, and remove those beside it that no run has used for a month.

    A cache that cannot be written stays as it is.
    """
    with contextlib.suppress(OSError):
        os.utime(folder)
        for other in folder.parent.iterdir():
            if OWN.fullmatch(other.name) and other.is_dir() and time.time() - other.stat().st_mtime > UNUSED_S:
                shutil.rmtree(other, ignore_errors=True)


def _make(target: Path, build: Callable[[Path], None]) -> None:
    """Build into a temporary folder beside the target, then rename. First remove leftovers of killed attempts."""
    sweep(target.parent)
    if target.exists():  # incomplete: some of its files were deleted
        shutil.rmtree(target)
    folder = beside(target, "tmp")
    try:
        folder.mkdir(parents=True)
        build(folder)
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
