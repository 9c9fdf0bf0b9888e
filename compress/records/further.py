"""Further sessions of the same artifacts: their runners, in step with those of the first session."""

from collections.abc import Mapping
from dataclasses import replace

from compress.base.config import InputError
from compress.records.session import MeterFacts, Runner, Session


def completed(session: Session, first: Session) -> Session:
    """Return a further session with the runners of the first one that it lacks, each with the reason as its error.

    Raises InputError if a runner was measured at other points than in the first session.
    """
    present = {runner.name: runner for runner in session.runners}
    for runner in first.runners:
        shapes = [point.point for point in present[runner.name].points] if runner.name in present else []
        if shapes != [point.point for point in runner.points][: len(shapes)]:
            raise InputError(f"{runner.name}: a further session measured other operating points than the first")
    lost = {r.name: r.error or "the session did not measure it" for r in first.runners if r.name not in present}
    return replace(session, runners=(*session.runners, *_unmeasured(lost)))


def lost_session(first: Session, reason: str) -> Session:
    """Return a further session whose process failed: every runner has the reason as its error."""
    return Session(runners=_unmeasured({r.name: reason for r in first.runners}), meter=MeterFacts(absent=reason))


def _unmeasured(errors: Mapping[str, str]) -> tuple[Runner, ...]:
    return tuple(Runner(name, {}, True, 0, "", None, (), error=error) for name, error in errors.items())
