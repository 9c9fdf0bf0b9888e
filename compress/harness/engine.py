"""Engines, which run sessions: the only interface between the harness and the processes that measure.

    harness  --- prepare(waited) -> Job --->  engine  --- a fresh process per session --->  finish(sessions)

An engine waits until its devices are free, asks `prepare` for the job, and hands the sessions to `finish` before it
lets the next run measure: whoever waits finds the results. It therefore holds the devices over all sessions of a job.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from compress.base.config import InputError, did_you_mean
from compress.base.console import say
from compress.base.locks import locked, measuring_lock
from compress.base.processes import run_child
from compress.harness import kept
from compress.measure.further import further_job
from compress.measure.job import Job, failure, session_folder, write_job
from compress.records import trace
from compress.records.further import completed, lost_session
from compress.records.session import Session

Prepare = Callable[[bool], Job | None]
"""Returns the job to run, or None if none is left; the argument states whether the engine had to wait for its turn."""
Finish = Callable[[Sequence[Session]], None]
"""Writes the results of a job's sessions."""


class Engine(Protocol):
    """Runs one job at a time on the devices it measures."""

    def run(self, prepare: Prepare, finish: Finish, scratch: Path) -> None:
        """Wait for the devices, call `prepare`, run its job if there is one, and pass the sessions to `finish`.

        `scratch` is a temporary folder of this job alone. Raises RuntimeError, OSError or InputError if the first
        session fails; a further one that fails has the reason as the error of every runner.
        """
        ...


class Local:
    """Engine that runs each session in a fresh process, one at a time on the whole machine."""

    def run(self, prepare: Prepare, finish: Finish, scratch: Path) -> None:
        """See `Engine.run`."""
        reason = "another measurement is running on this machine; waiting for it to end"
        with locked(measuring_lock(), reason) as waited:
            job = prepare(waited)
            if job is None:
                return
            finish(_sessions(job, scratch))


def _sessions(job: Job, scratch: Path) -> list[Session]:
    """Run the sessions of a job, one after the other, and return them. Those that an interrupted run kept are read."""
    first = _session(job, 1, scratch)
    further = further_job(job, first) if job.settings.sessions > 1 else None
    sessions = [first]
    for number in range(2, job.settings.sessions + 1) if further is not None else ():
        assert further is not None
        try:
            sessions.append(completed(_session(further, number, scratch, sessions), first))
        except (RuntimeError, OSError, InputError) as error:
            say(f"  session {number} failed: {error}")
            sessions.append(lost_session(first, failure(error)))
    return sessions


def _session(job: Job, number: int, scratch: Path, before: Sequence[Session] = ()) -> Session:
    """Return a session by its number from 1: the kept one unless it is one of those `before`, or a new one."""
    stored = kept.read(job.kept, number)
    if stored is not None and stored.finished in [session.finished for session in before]:
        say(f"  session {number} is measured again: the kept one is a copy of another")
        stored = None
    if stored is not None or number > 1:
        origin = ", kept from the run that was interrupted" if stored is not None else ""
        say(f"  session {number} of {job.settings.sessions}{origin}")
    if stored is not None:
        return stored
    session = one_session(job, scratch / f"session-{number}")
    kept.keep(job.kept, number, session)
    return session


def one_session(job: Job, folder: Path) -> Session:
    """Run a session in a fresh process and return it."""
    folder.mkdir()
    path = folder / "job.json"
    write_job(path, job)
    run_child([sys.executable, "-m", "compress.measure.session", str(path)], job.device)
    return trace.read(session_folder(path))


ENGINES: dict[str, Engine] = {"local": Local()}


def engine(name: str) -> Engine:
    """Return an engine by its name. Raises InputError for an unknown one."""
    if name not in ENGINES:
        raise InputError(f"engine {name}: unknown{did_you_mean(name, ENGINES)}; there are {', '.join(ENGINES)}")
    return ENGINES[name]
