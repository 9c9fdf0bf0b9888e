"""Evaluations of references that a later run reuses: one per workload, split, seed, device and code.

    <cache>/evaluations/<digest>/<reference>-<content>/      a trace of one runner without points

A reference is the same model in every run. Its outcomes, sizes and memory are therefore measured once; its latency and
energy are measured in every session anew. A folder whose content does not fit its name is damaged, and replaced.
"""

import shutil
from dataclasses import asdict, replace
from pathlib import Path

from compress.base.config import InputError, digest
from compress.base.console import say
from compress.base.errors import NotWritten
from compress.base.files import content_hash
from compress.data.cached import keep_used
from compress.measure.job import Job, Spec
from compress.records import trace
from compress.records.session import MeterFacts, Runner, Session

FOLDER = "evaluations"


def recalled(job: Job) -> dict[str, Runner]:
    """Return the references of a job that an earlier run evaluated, by name."""
    found = {spec.name: _read(_place(job, spec)) for spec in job.runners if spec.reference and job.evaluates}
    known = {name: runner for name, runner in found.items() if runner is not None}
    if known and job.evaluations is not None:
        keep_used(Path(job.evaluations))
    return known


def remember(job: Job, spec: Spec, runner: Runner) -> None:
    """Store an evaluated reference, without its points, unless its memory could not be measured."""
    place = _place(job, spec)
    if place is None or not spec.reference or not job.evaluates or runner.memory.reason is not None:
        return
    try:
        trace.write(place, Session(runners=(replace(runner, points=()),), meter=MeterFacts()))
        for other in place.parent.glob(f"{place.name}-*"):
            shutil.rmtree(other, ignore_errors=True)
        place.rename(f"{place}-{content_hash(place)}")
        keep_used(place.parent)
    except (NotWritten, OSError) as error:  # a cache that is full or read-only costs time, not this run
        say(f"  {spec.name} will be evaluated again by the next run: {error}")


def _place(job: Job, spec: Spec) -> Path | None:
    """Return the folder of a reference's evaluation; None if the job remembers none."""
    if job.evaluations is None:
        return None
    batch = job.workload.headline_point.batch_size if spec.batch_dependent else None
    return Path(job.evaluations) / digest([{**asdict(spec), "path": None}, batch])


def _read(place: Path | None) -> Runner | None:
    if place is None:
        return None
    for stored in place.parent.glob(f"{place.name}-*"):
        try:
            if stored.name == f"{place.name}-{content_hash(stored)}":
                (runner,) = trace.read(stored).runners
                return runner
        except (InputError, ValueError, OSError):  # damaged: it is evaluated again
            continue
    return None
