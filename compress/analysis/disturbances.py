"""Disturbances of a measurement, and the figures that each kind of them spoils.

With a meter, a disturbance lowers the grade of the energy to D, and makes the latency unreliable too if it touches it.
Without a meter, a session has many short rounds: disturbed windows are repeated, and the location is robust. There,
what disturbs all models alike, or only some windows, is a note; a load on a quarter of all cores in most of the windows
that figures use is none of these.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from compress.analysis.drift import Trend
from compress.analysis.joules import EVENTS, HARD, events, mean_of
from compress.records.session import RunnerPoint, Session

CLOCK_DRIFT = 0.03
FOREIGN_CORES = 0.1  # on two cores, a tenth of one already moves a latency by several percent

LASTING = 0.25  # of all cores, in most of the windows that figures use

Kind = Literal[
    "warm-up", "common warm-up", "foreign cores", "lasting load", "stolen cores", "quota", "foreign processes",
    "throttling", "clocks", "drift", "common drift", "drift of the ratio", "energy drift",
]  # fmt: skip


@dataclass(frozen=True)
class Touches:
    """Figures that a kind of disturbance spoils besides the energy, and how schema 1 words it."""

    latency: bool
    """Latency, with a meter."""
    unmetered: bool
    """Latency, without a meter."""
    words: str = ""
    """Regular expression of its sentence in results of schema 1; empty for kinds that they do not know."""


TOUCHES: Mapping[Kind, Touches] = {
    "warm-up": Touches(True, True, r"^latency was not steady when warm-up ended"),
    "common warm-up": Touches(True, False),
    "foreign cores": Touches(True, False, r"^other processes kept .* cores busy"),
    "lasting load": Touches(True, True),
    "stolen cores": Touches(True, False, r"^the host gave .* of this virtual machine's cores"),
    "quota": Touches(True, False, r"^the control group's CPU quota stopped"),
    "foreign processes": Touches(True, True, r"^\d+ other process(es)? on the device"),
    "throttling": Touches(True, True, r"^the device throttled"),
    "clocks": Touches(True, True, r"^the device's clock went from"),
    "drift": Touches(True, False),
    "common drift": Touches(True, False),
    "drift of the ratio": Touches(True, True),
    "energy drift": Touches(False, False),
}
"""Every kind makes the energy grade D."""
OF_LATENCY: Mapping[str, Kind] = {"own": "drift", "all": "common drift", "ratio": "drift of the ratio"}


@dataclass(frozen=True)
class Disturbance:
    """One disturbance of a runner at a point, as a sentence."""

    kind: Kind
    sentence: str

    def spoils_latency(self, metered: bool) -> bool:
        """Return whether it makes the latency unreliable."""
        touches = TOUCHES[self.kind]
        return touches.latency if metered else touches.unmetered


def drifts(trends: Sequence[Trend]) -> list[Disturbance]:
    """Return the changes that exceed their own noise as disturbances."""
    return [
        Disturbance(OF_LATENCY[trend.of] if trend.axis == "latency" else "energy drift", trend.sentence)
        for trend in trends
        if trend.change.beyond_noise
    ]


def disturbances(session: Session, name: str, index: int) -> list[Disturbance]:
    """Return the disturbances that the session recorded while it measured a runner at a point."""
    point = session.runner(name).points[index]
    found = _of_warm_up(point)
    if point.foreign_cores is not None and point.foreign_cores > FOREIGN_CORES:
        sentence = f"other processes kept {point.foreign_cores:.1f} cores busy during the measurement"
        found.append(Disturbance("foreign cores", sentence))
    stolen = point.stolen_cores
    if stolen is not None and stolen > FOREIGN_CORES:
        sentence = f"the host gave {stolen:.1f} of this virtual machine's cores to others during the measurement"
        found.append(Disturbance("stolen cores", sentence))
    found += _lasting_load(session, point)
    if point.throttled_periods:
        sentence = (
            f"the control group's CPU quota stopped the measurement in {point.throttled_periods} periods, "
            f"for {point.throttled_s:.2g} s"
        )
        found.append(Disturbance("quota", sentence))
    processes = session.foreign_processes
    if processes:
        sentence = f"{processes} other process{'es' if processes > 1 else ''} on the device"
        found.append(Disturbance("foreign processes", sentence))
    return found + _device_events(session, point)


def _lasting_load(session: Session, point: RunnerPoint) -> list[Disturbance]:
    """Return a disturbance if others took many cores in most windows that figures use: repeats did not help."""
    if session.cores is None:
        return []
    taken = [
        ((window.disturbance.foreign_ns or 0) + (window.disturbance.stolen_ns or 0)) / window.duration_ns
        for window in point.windows
    ]
    many = sum(cores >= LASTING * session.cores for cores in taken)
    if many <= len(taken) / 2:
        return []
    sentence = (
        f"in {many} of {len(taken)} rounds others took at least {100 * LASTING:.0f} % of this machine's "
        f"{session.cores} cores"
    )
    return [Disturbance("lasting load", sentence)]


def _of_warm_up(point: RunnerPoint) -> list[Disturbance]:
    """Return what the end of warm-up means for the figures. Traces that do not state the ramp count as its own."""
    if point.steady or point.ramp == "unknown":
        return []
    if point.ramp == "all":
        return [Disturbance("common warm-up", "the latency of all models together was not steady when warm-up ended")]
    return [Disturbance("warm-up", "latency was not steady when warm-up ended")]


def _device_events(session: Session, point: RunnerPoint) -> list[Disturbance]:
    """Return throttling and clock changes between rounds, from the samples inside the windows."""
    bits, clocks = 0, []
    for window in point.windows:
        bits |= events(session.samples, window.started_ns, window.ended_ns)
        clock = mean_of(session.samples, "sm_mhz", window.started_ns, window.ended_ns)
        if clock:
            clocks.append(clock)
    found = [Disturbance("throttling", f"the device throttled: {EVENTS[bit]}") for bit in EVENTS if bits & bit & HARD]
    if clocks and max(clocks) / min(clocks) - 1 > CLOCK_DRIFT:
        sentence = f"the device's clock went from {min(clocks):.0f} to {max(clocks):.0f} MHz between rounds"
        found.append(Disturbance("clocks", sentence))
    return found


def recognised(sentence: str) -> Disturbance | None:
    """Return the disturbance that a reason of schema 1 describes, or None for a reason of another kind."""
    kinds = (kind for kind, touches in TOUCHES.items() if touches.words and re.search(touches.words, sentence))
    return next((Disturbance(kind, sentence) for kind in kinds), None)
