"""Times of a run's stages, noted as they end, by which the next run's are estimated."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from compress.base.reading import expanded
from compress.data.workload import Workload
from compress.harness.supported import supported_runtime
from compress.measure.job import Job
from compress.records import pace
from compress.records.pace import Past, Stage
from compress.records.result import Machine
from compress.records.session import Session
from compress.spec.formats import GRAPH_RUNTIMES
from compress.spec.recipe import Recipe

UNKNOWN_STEPS = 3000
"""Optimizer steps of a training that a number of epochs ends: the number of examples is not known in advance."""
BATCH = 32
GUESSED_BYTES = 5_000_000
"""Weights of a model that is still to be made, or to be fetched."""


def key_of(workload: str, what: str, limit: int | None, device_name: str) -> str:
    """Return the key of a stage: equal for work that takes the same time."""
    return f"{workload} | {what} | {limit or 'all'} | {device_name}"


def stage_of(recipe: Recipe) -> Stage:
    """Return the kind of stage that makes the artifact of a recipe."""
    return "train" if recipe.trains else "compress"


def steps_of(recipe: Recipe, limit: int | None) -> int:
    """Return the optimizer steps of a recipe, in batches of 32 examples; 1 without training.

    `limit`: most training examples.
    """
    total = 0.0
    for step in (step for step in recipe.steps if step.method == "distill"):
        examples = step.batch_size * step.accumulation
        of_limit = math.inf if limit is None else math.ceil(step.epochs * math.ceil(limit / examples))
        steps = min(step.max_steps or UNKNOWN_STEPS, of_limit)
        total += steps * examples / BATCH
    return max(1, round(total))


def weight_bytes(model: str) -> int:
    """Return the bytes of the weight files of a model's folder; a guess for a model on the hub."""
    folder: Path = expanded(model)
    files = [*folder.glob("*.safetensors"), *folder.glob("*.bin")] if folder.is_dir() else []
    return sum(file.stat().st_size for file in files) or GUESSED_BYTES


def graph_runtimes(recipes: Sequence[Recipe], machine: Machine, workload: Workload) -> list[str]:
    """Return the runtimes for which the dense model is exported beside these recipes."""
    found = {supported_runtime(recipe, machine, workload.task, workload.writes) for recipe in recipes}
    return sorted(found & set(map(str, GRAPH_RUNTIMES)))


@contextmanager
def timed(stage: Stage, key: str, model: str, steps: int = 1) -> Iterator[None]:
    """Note how long the block takes, unless it fails. Its size is that of the model times its optimizer steps."""
    start = time.monotonic()
    yield
    pace.note(Past(stage, key, weight_bytes(model) * steps, time.monotonic() - start))


def note_session(job: Job, sessions: Sequence[Session], seconds: float, machine: Machine) -> None:
    """Note how long a model of a session takes apart from the rounds: loading, evaluation, memory and warm-up.

    Jobs of several sessions are left out: some may have been kept from an earlier run.
    """
    apart_s = seconds - sum(map(_rounds_s, sessions))
    if apart_s > 0 and len(sessions) == 1:
        key = key_of(job.workload.name, "", job.limit, machine.device_name)
        pace.note(Past("models", key, weight_bytes(job.source.model), apart_s / len(job.runners)))


def _rounds_s(session: Session) -> float:
    """Return the seconds of a session's rounds at all points."""
    points = max((len(runner.points) for runner in session.runners), default=0)
    return sum(
        max((r.points[index].rounds_s or 0.0 for r in session.runners if len(r.points) > index), default=0.0)
        for index in range(points)
    )
