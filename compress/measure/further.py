"""The job of a further session: the same artifacts in a fresh process, with rounds only.

Accuracy, kernels and memory are properties of the artifact, which is the same, so the first session measures them. What
differs between processes is cost: memory layout, clocks, temperature, what else the machine does.
"""

from dataclasses import replace

from compress.data.workload import Workload
from compress.measure.job import Job
from compress.records.session import Session


def further_job(job: Job, first: Session) -> Job | None:
    """Return the job of a further session: the runners that the first one measured, without evaluation.

    Artifacts of further seeds stay out: only their accuracy is measured. Return None if no recipe is left to measure.
    Models stay loaded, or are loaded in turn, as in the first session.
    """
    left = tuple(s for s in job.runners if not s.accuracy_only and first.runner(s.name).error is None)
    if all(spec.reference for spec in left):
        return None
    residency = "in_turn" if first.in_turn else "together"
    settings = job.settings.model_copy(update={"residency": residency})
    return replace(job, workload=_as_measured(job, first), runners=left, settings=settings, evaluates=False)


def _as_measured(job: Job, first: Session) -> Workload:
    """Return the workload with the batch sizes of the first session, which are smaller where memory ran out."""
    points = job.workload.measured_points(job.settings.points)
    measured = max((runner.points for runner in first.runners), key=len)
    if not any(point.smaller for point in measured):
        return job.workload
    sizes = [m.point.batch_size for m in measured]
    headline, *others = (p.model_copy(update={"batch_size": n}) for p, n in zip(points, sizes, strict=True))
    if len({headline, *others}) < len(sizes):  # one of them became another: each session then halves for itself
        return job.workload
    return job.workload.model_copy(update={"headline": headline, "points": tuple(others)})
