"""Engines, which run sessions: the only interface between the harness and the processes that measure.

    harness  --- prepare(waited) -> Job --->  engine  --- a fresh process --->  finish(Session)

An engine waits until its devices are free, asks `prepare` for the job, and hands the session to `finish` before it lets
the next run measure: whoever waits finds the results.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from compress.base.config import InputError, did_you_mean
from compress.base.locks import locked, measuring_lock
from compress.base.processes import run_child
from compress.measure.job import Job, session_folder, write_job
from compress.records import trace
from compress.records.session import Session

Prepare = Callable[[bool], Job | None]
"""Returns the job to run, or None if none is left; the argument states whether the engine had to wait for its turn."""
Finish = Callable[[Session], None]
"""Writes the results of a session."""


class Engine(Protocol):
    """Runs one session at a time on the devices it measures."""

    def run(self, prepare: Prepare, finish: Finish, scratch: Path) -> None:
        """Wait for the devices, call `prepare`, run its job if there is one, and pass the session to `finish`.

        `scratch` is a temporary folder of this session alone. Raises RuntimeError if the session fails.
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
            path = scratch / "job.json"
            write_job(path, job)
            run_child([sys.executable, "-m", "compress.measure.session", str(path)], job.device)
            finish(trace.read(session_folder(path)))


ENGINES: dict[str, Engine] = {"local": Local()}


def engine(name: str) -> Engine:
    """Return an engine by its name. Raises InputError for an unknown one."""
    if name not in ENGINES:
        raise InputError(f"engine {name}: unknown{did_you_mean(name, ENGINES)}; there are {', '.join(ENGINES)}")
    return ENGINES[name]
