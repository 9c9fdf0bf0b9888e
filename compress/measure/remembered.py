"""Evaluations of references that a later run reuses: one per workload, split, seed, device and code.

    <cache>/evaluations/<digest>/<reference>-<mark>/      a trace of one runner without points

A reference is the same model in every run. Its outcomes, sizes and memory are therefore measured once; its latency and
energy are measured in every session anew. A folder whose mark, a digest of its place and
content, does not fit is damaged or was moved, and is replaced.
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
    found = {spec.name: _read(spec, _place(job, spec)) for spec in job.runners if spec.reference and job.evaluates}
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
        place.rename(f"{place}-{_mark(place, place)}")
        keep_used(place.parent)
    except (NotWritten, OSError) as error:  # a cache that is full or read-only costs time, not this run
        say(f"  {spec.name} will be evaluated again by the next run: {error}")


def _place(job: Job, spec: Spec) -> Path | None:
    """Return the folder of a reference's evaluation; None if the job remembers none."""
    if job.evaluations is None:
        return None
    batch = job.workload.headline_point.batch_size if spec.batch_dependent else None
    return Path(job.evaluations) / digest([{**asdict(spec), "path": None}, batch])


def _mark(place: Path, stored: Path) -> str:
    """Return the digest of a stored evaluation and of the place that it belongs to."""
    return digest([place.parent.name, place.name, content_hash(stored)])


def _read(spec: Spec, place: Path | None) -> Runner | None:
    if place is None:
        return None
    for stored in place.parent.glob(f"{place.name}-*"):
        try:
            if stored.name == f"{place.name}-{_mark(place, stored)}":
                (runner,) = trace.read(stored).runners
                return runner if runner.name == spec.name else None
        except (InputError, ValueError, OSError):  # damaged: it is evaluated again
            continue
    return None
