"""Costs of one runner at one operating point, a value per round: seconds per batch and joules per example."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from compress.analysis.joules import Energy, interpolated_power, window_energy
from compress.base.config import InputError
from compress.records.further import completed
from compress.records.sample import OUTSIDE
from compress.records.session import JudgedBy, RunnerPoint, Session
from compress.records.window import Window


@dataclass(frozen=True)
class Raw:
    """Raw samples of one or more sessions, with the references, metric and seed that they are judged by."""

    session: Session
    references: tuple[str, ...]
    """Names of the references that could be measured, fp32 eager first."""
    against: str
    """Name of the reference that verdicts compare with."""
    metric: str
    seed: int
    further: tuple[Session, ...] = ()
    """Further sessions of the same artifacts, with rounds only."""
    protocol: str = ""
    """How examples are scored (see `Task.protocol`)."""

    @cached_property
    def each(self) -> tuple["Raw", ...]:
        """Return the samples of every session alone, in order."""
        if not self.further:
            return (self,)
        return tuple(replace(self, session=session, further=()) for session in (self.session, *self.further))

    @property
    def judged_by(self) -> JudgedBy:
        """Return the fields that a trace stores, from which `from_trace` restores this object."""
        return JudgedBy(self.references, self.against, self.metric, self.seed, self.protocol)

    def measured_point(self, name: str, index: int) -> RunnerPoint:
        """Return a runner's operating point in the first session that measured it."""
        listed = [p[index] for each in self.each if len(p := each.session.runner(name).points) > index]
        return next((point for point in listed if point.windows), listed[0])

    @cached_property
    def computed(self) -> dict[tuple[str, int], "Costs | None"]:
        """(Runner, point) -> costs, as far as `costs` has computed them."""
        return {}


def from_trace(session: Session, further: Sequence[Session] = ()) -> Raw:
    """Return the raw samples of traces on disk. Raises InputError if the first does not record how it is judged.

    A runner that a further session does not list has no rounds in it.
    """
    judged = session.judged_by
    if judged is None:
        raise InputError("the trace does not state what it is judged by; run the recipe again")
    return Raw(
        session,
        judged.references,
        judged.against,
        judged.metric,
        judged.seed,
        tuple(completed(each, session) for each in further),
        judged.protocol,
    )


@dataclass(frozen=True)
class Costs:
    """Costs of one runner at one point, a value per round."""

    batch_size: int
    latency_s: list[float]
    """Seconds per batch."""
    energies: list[Energy]
    energy_j: list[float] | None
    """Joules per example; None if any round lacks them."""
    reason: str | None


def costs(raw: Raw, name: str, index: int) -> Costs | None:
    """Return the costs of a runner at a point; None if it was not measured there. Each is computed once."""
    if (name, index) not in raw.computed:
        raw.computed[name, index] = _costs(raw, name, index)
    return raw.computed[name, index]


def _costs(raw: Raw, name: str, index: int) -> Costs | None:
    points = raw.session.runner(name).points
    if len(points) <= index or not points[index].windows:
        return None  # some runners are not measured at every point
    windows, batch_size = points[index].windows, points[index].point.batch_size
    energies = [_energy(raw.session, window) for window in windows]
    reason = next((e.reason for e in energies if e.joules is None), None)
    per_example = None
    if reason is None:
        per_example = [
            (e.joules or 0.0) / (len(w.batch_ns) * batch_size) for e, w in zip(energies, windows, strict=True)
        ]
    return Costs(batch_size, [window.batch_s for window in windows], energies, per_example, reason)


def _energy(session: Session, window: Window) -> Energy:
    """Return the energy of a window.

    It is taken between movements of a counter that steps, otherwise between the counter's readings at the edges.
    """
    meter = session.meter
    if meter.source is None:
        return Energy(None, 0.0, None, meter.absent or "no meter")
    if meter.source == "external":
        return _external(session, window)
    if meter.step_s is not None:
        energy = window_energy(session.samples, window.started_ns, window.ended_ns, meter.step_s)
        if energy.joules is None and meter.sampling_error:
            return Energy(None, math.inf, None, meter.sampling_error)
        return energy if energy.joules is None or energy.joules > 0 else Energy(None, 0.0, None, _STILL)
    start, end = window.start_uj, window.end_uj
    if start is None or end is None:
        return Energy(None, 0.0, None, "the meter stopped answering during a window")
    return Energy((end - start) / 1e6, 0.0, None) if end > start else Energy(None, 0.0, None, _STILL)


def _external(session: Session, window: Window) -> Energy:
    """Return the energy of a window from the readings of a meter outside of the machine, matched by the clock."""
    joules = interpolated_power(session.samples, window.started_ns, window.ended_ns, OUTSIDE)
    if joules is None:
        return Energy(None, 0.0, None, "the external meter's readings do not cover a window closely")
    return Energy(joules, 0.0, None) if joules > 0 else Energy(None, 0.0, None, "the external meter read no power")


_STILL = "the energy counter stood still during a window"
