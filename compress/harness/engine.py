"""Engines run sessions: the one seam between the harness and the processes that measure.

    harness  --- prepare(waited) -> Job --->  engine  --- a fresh process --->  the session's answer

An engine waits until its devices are free, asks which job is still wanted, and returns the answer of its session.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from compress.base.config import InputError, did_you_mean
from compress.base.locks import locked, measuring_lock
from compress.base.processes import run_child
from compress.measure.job import Job, write_job

Prepare = Callable[[bool], Job | None]
"""Returns the job to run, or None if none is left; the argument states whether the engine had to wait for its turn."""


class Engine(Protocol):
    """Runs one session at a time on the devices it measures."""

    def run(self, prepare: Prepare, scratch: Path) -> Mapping[str, Any] | None:
        """Wait for the turn, call `prepare`, and return the session's answer; None if no job was left.

        `scratch` is a temporary folder of this session alone. Raises RuntimeError if the session fails.
        """
        ...


class Local:
    """A fresh process on this machine, one session at a time on the whole machine."""

    def run(self, prepare: Prepare, scratch: Path) -> Mapping[str, Any] | None:
        """See `Engine.run`."""
        reason = "another measurement is running on this machine; waiting for it to end"
        with locked(measuring_lock(), reason) as waited:
            job = prepare(waited)
            if job is None:
                return None
            path = scratch / "job.json"
            write_job(path, job)
            run_child([sys.executable, "-m", "compress.measure.session", str(path)], job.device)
            answer: Mapping[str, Any] = json.loads(path.with_name("session.json").read_text())
            return answer


ENGINES: dict[str, Engine] = {"local": Local()}


def engine(name: str) -> Engine:
    """Return an engine by its name. Raises InputError for an unknown one."""
    if name not in ENGINES:
        raise InputError(f"engine {name}: unknown{did_you_mean(name, ENGINES)}; there are {', '.join(ENGINES)}")
    return ENGINES[name]
