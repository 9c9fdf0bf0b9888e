"""Finished sessions of a job that an interruption ended, so that the same command goes on with the next one.

    <out>/<workload>/traces/.sessions-<digest>/session-1, session-2 ...      a trace each, until the results are written

The digest covers what the job measures: fingerprints of recipes, contents of artifacts, references and settings.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from compress.base.config import InputError, digest
from compress.base.console import say
from compress.base.errors import NotWritten
from compress.harness.assemble import Built
from compress.harness.plan import Options
from compress.measure.job import Job
from compress.records import trace
from compress.records.session import Session

PREFIX = ".sessions-"
LONGEST_S = 7 * 86_400.0
"""Age at which kept sessions are removed."""


def keeping(job: Job, items: Sequence[Built], options: Options) -> Job:
    """Return the job of these artifacts with the folder that keeps its sessions, empty if it is to be fresh."""
    job = replace(job, kept=_place(job, items, options.out))
    if options.fresh or options.rebuild:
        drop(job.kept)
    return job


def _place(job: Job, items: Sequence[Built], out: Path) -> Path | None:
    """Return the folder for the sessions of a job that measures these artifacts; None for a single session."""
    if job.settings.sessions < 2:
        return None
    references = [{**asdict(spec), "path": None} for spec in job.runners if spec.reference]  # exported to a new place
    made = sorted(_content(each) for item in items for each in (item, *item.further))
    key = digest([made, references, job.settings.model_dump(mode="json"), job.seed])
    return out / job.workload.name / trace.FOLDER / f"{PREFIX}{key}"


def _content(item: Built) -> tuple[str, str, str]:
    manifest = hashlib.sha256((item.folder / "manifest.json").read_bytes()).hexdigest()
    return item.recipe.name, item.fingerprint, manifest


def read(folder: Path | None, number: int) -> Session | None:
    """Return a kept session by its number from 1; None if there is none, or it is damaged or a week old."""
    if folder is None or not (stored := _of(folder, number)).is_dir():
        return None
    try:
        return None if _is_old(stored) else trace.read(stored)
    except InputError as error:
        say(f"  session {number} is measured again: {error}")
        return None


def keep(folder: Path | None, number: int, session: Session) -> None:
    """Keep a session. The first one replaces all that were kept, because further ones follow it."""
    if folder is None:
        return
    if number == 1:
        drop(folder)
        for other in folder.parent.glob(f"{PREFIX}*"):
            if _is_old(other):
                drop(other)
    try:
        trace.write(_of(folder, number), session)
    except NotWritten as error:  # a full disk: the results may still fit
        say(f"  session {number} is lost if this run is interrupted: {error}")


def drop(folder: Path | None) -> None:
    """Remove the kept sessions of a job."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # traces of other sessions, or no such folder
            folder.parent.rmdir()


def _of(folder: Path, number: int) -> Path:
    return folder / f"session-{number}"


def _is_old(folder: Path) -> bool:
    return time.time() - folder.stat().st_mtime > LONGEST_S
