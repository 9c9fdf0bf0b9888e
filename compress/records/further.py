"""Further sessions of the same artifacts: their runners, in step with those of the first session."""

from dataclasses import replace

from compress.base.config import InputError
from compress.records.session import MeterFacts, Runner, RunnerPoint, Session


def completed(session: Session, first: Session) -> Session:
    """Return a further session with the runners of the first one that it lacks, each with the reason as its error.

    Artifacts of further seeds have no error: only the first session evaluates them.
    Raises InputError if a runner was measured at other points than in the first session.
    """
    present = {runner.name: runner for runner in session.runners}
    for runner in first.runners:
        points = present[runner.name].points if runner.name in present else ()
        if len(points) > len(runner.points) or not all(map(_same_shape, points, runner.points)):
            raise InputError(f"{runner.name}: a further session measured other operating points than the first")
    lacking = tuple(
        _unmeasured(runner, runner.error or (None if runner.further_of else "the session did not measure it"))
        for runner in first.runners
        if runner.name not in present
    )
    return replace(session, runners=(*session.runners, *lacking))


def _same_shape(one: RunnerPoint, other: RunnerPoint) -> bool:
    """Return whether two points are the same.

    A natural point that was not measured has the requested batch size: its split may have fewer texts.
    """
    if (one.lacking is None and other.lacking is None) or one.point.natural is None:
        return one.point == other.point
    return replace(one.point, batch_size=other.point.batch_size) == other.point


def lost_session(first: Session, reason: str) -> Session:
    """Return a further session whose process failed: every runner has the reason as its error."""
    return Session(runners=tuple(_unmeasured(r, reason) for r in first.runners), meter=MeterFacts(absent=reason))


def _unmeasured(runner: Runner, error: str | None) -> Runner:
    return Runner(runner.name, {}, True, 0, "", None, (), error, further_of=runner.further_of, seed=runner.seed)
