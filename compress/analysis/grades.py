"""Grades of energy figures, from A (most trustworthy) to E, with reasons.

A   external meter of stated calibration
B   counter and integrated instant power within 2 %, nothing flagged, 6 rounds or more of 5 s or more, which vary by at
    most 5 %
C   one source only, sources 2 to 5 % apart, edges uncertain by over 2 %, windows under 5 s, fewer than 6 rounds, rounds
    that vary by over 5 %, or a batch length close to the period of a counter that misreads such loads
D   sources over 5 % apart, device shared, throttled (by itself, or by a control group's quota), or drifting
E   modelled

What makes the grade D and touches latency too makes the latency unreliable (`compress.analysis.disturbances`).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from compress.analysis.agreement import AGREE, TOLERABLE, WINDOW_S, agreement
from compress.analysis.costs import Raw, costs
from compress.analysis.disturbances import Disturbance, disturbances, drifts
from compress.analysis.drift import AXES, Series, Trend, axis_costs, together, trends
from compress.analysis.joules import Energy, events, series
from compress.records.result import Grade
from compress.records.sample import Signal
from compress.records.session import MeterFacts, RunnerPoint, Session
from compress.records.window import Window

PRECISE = 0.05
"""Largest coefficient of variation over rounds of grade B."""
ROUNDS = 6
BEAT = 2.0  # batches of half to twice the counter's period can alias with it
UNTOLD: Mapping[Signal, str] = {
    "events": "whether the device throttled",
    "temperature_c": "temperatures",
    "sm_mhz": "clocks",
}
POWER_CAP = 0x4  # normal operation at the board's limit

Limit = tuple[Grade, str]
"""The best grade that a flaw allows, and its sentence."""


class Graded(NamedTuple):
    """Grade of a runner's energy at a point, and how far its figures can be trusted."""

    grade: Grade | None
    """None without a meter."""
    reasons: tuple[str, ...]
    """Disturbances and flaws. Disturbances are listed without a meter too."""
    unreliable: tuple[str, ...]
    """Reasons why its latency is not reliable."""


def grade(raw: Raw, name: str, index: int) -> Graded:
    """Return the grade of one runner's energy at one point, with reasons."""
    session, meter, point = raw.session, raw.session.meter, raw.session.runner(name).points[index]
    changes, own = _trends(raw, name, index), costs(raw, name, index)
    assert own is not None
    found = [*disturbances(session, name, index), *drifts(changes)]
    unreliable = unreliable_latency(found, meter.measured)
    reasons = [disturbance.sentence for disturbance in found]
    if meter.source is None:
        return Graded(None, (*reasons, *_unproven(point)), unreliable)
    if not meter.measured:
        return Graded("E", (MODELLED, *reasons, *_unproven(point)), unreliable)
    best: Grade = "B"
    limits = imprecisions(series_of(raw, name, index), changes)
    if meter.source == "external":
        best = "A"
        limits += [] if meter.calibration else [("C", "the meter's calibration is not stated")]
    else:
        limits += [*_agreement(own.energies, meter.integrated), *_edges(own.energies)]
    if "nvml" in (meter.source, meter.beside):
        limits += _unobserved(session, point.windows)
    if meter.source == "nvml":
        limits += _beating(meter, point.windows)
    if _capped(session, point.windows):
        limits.append(("C", "the board ran at its power cap"))
    limits += [("C", sentence) for sentence in _unproven(point)]
    if point.settled is False:
        limits.append(("C", "temperature and power had not settled when warm-up ended"))
    shortest = min(window.duration_ns for window in point.windows) / 1e9
    if shortest < 0.999 * WINDOW_S or len(point.windows) < ROUNDS:
        limits.append(
            ("C", f"{len(point.windows)} rounds of {shortest:.2g} s; grade B takes {ROUNDS} of {WINDOW_S:g} s")
        )
    worst = worst_grade(best, found, limits)
    return Graded(worst, (*reasons, *(reason for _, reason in limits)), unreliable)


MODELLED = "energy is modelled, not measured"


def worst_grade(best: Grade, found: Sequence[Disturbance], limits: Sequence[Limit]) -> Grade:
    """Return the best grade that disturbances (D) and limits allow: the largest letter is the worst."""
    disturbed: list[Grade] = ["D"] if found else []
    return max([best, *disturbed, *(limit for limit, _ in limits)])


def unreliable_latency(found: Sequence[Disturbance], metered: bool) -> tuple[str, ...]:
    """Return the sentences of the disturbances that make the latency unreliable."""
    return tuple(disturbance.sentence for disturbance in found if disturbance.spoils_latency(metered))


def disturbed(raw: Raw, name: str, index: int) -> tuple[str, ...]:
    """Return the disturbances of the measurement of a point, as sentences."""
    found = [*disturbances(raw.session, name, index), *drifts(_trends(raw, name, index))]
    unproven = _unproven(raw.session.runner(name).points[index])
    return (*(disturbance.sentence for disturbance in found), *unproven)


def _unproven(point: RunnerPoint) -> tuple[str, ...]:
    """Return a sentence if warm-up ended at its cap with a slope that is neither negligible nor distinguishable."""
    return ("warm-up ended before latency was shown to be steady",) if point.ramp == "unknown" else ()


def imprecisions(own: Series, changes: Sequence[Trend]) -> list[Limit]:
    """Return grade C for costs that vary too much over rounds, or change by more than drift may within their noise."""
    limits: list[Limit] = []
    for axis in AXES:
        values = axis_costs(own, axis)
        cv = 0.0 if values is None else variation(values)
        if cv > PRECISE:
            most = f"grade B takes at most {100 * PRECISE:g} %"
            limits.append(("C", f"its {axis} varies by {100 * cv:.1f} % from round to round; {most}"))
    return limits + [("C", trend.sentence) for trend in changes if not trend.change.beyond_noise]


def variation(values: Sequence[float]) -> float:
    """Return the coefficient of variation: standard deviation over mean; 0 for a single value."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)) / mean


def _trends(raw: Raw, name: str, index: int) -> list[Trend]:
    """Return the large changes over the rounds that concern a runner at a point."""
    measured = [r.name for r in raw.session.runners if costs(raw, r.name, index) is not None]
    everyone = {each: series_of(raw, each, index) for each in measured}
    return list(trends(everyone[name], everyone.get(raw.against), together(list(everyone.values()))))


def series_of(raw: Raw, name: str, index: int) -> Series:
    """Return the costs of a measured runner per round. Modelled energies are left out."""
    own = costs(raw, name, index)
    assert own is not None
    joules = own.energy_j if raw.session.meter.measured else None
    return Series(name, [latency / own.batch_size for latency in own.latency_s], joules)


def _beating(meter: MeterFacts, windows: Sequence[Window]) -> list[Limit]:
    """Return grade C if batches are about as long as the counter's period and `doctor` found such loads misread."""
    misread, step_s = meter.misread, meter.step_s
    if misread is None or step_s is None or misread <= TOLERABLE:
        return []
    batch_s = sum(w.duration_ns for w in windows) / sum(len(w.batch_ns) for w in windows) / 1e9
    if not 1 / BEAT <= batch_s / step_s <= BEAT:
        return []
    return [
        (
            "C",
            f"batches of {1e3 * batch_s:.0f} ms beat with the counter's {1e3 * step_s:.0f} ms, and doctor found such "
            f"loads read {100 * misread:.0f} % apart",
        )
    ]


def _unobserved(session: Session, windows: Sequence[Window]) -> list[Limit]:
    """Return grade C for each kind of disturbance that the driver cannot report: it may have happened."""
    limits: list[Limit] = []
    if session.foreign_processes is None:
        limits.append(("C", "other processes on the device cannot be told from here (a container?)"))
    for signal, name in UNTOLD.items():
        times = [time for time, _ in series(session.samples, signal)]
        if not any(w.started_ns <= time <= w.ended_ns for w in windows for time in times):
            limits.append(("C", f"the driver does not tell {name}"))
    return limits


def _agreement(energies: Sequence[Energy], integrated: bool) -> list[Limit]:
    """Return the limits that the second source sets: instant power integrated over the same windows."""
    if integrated:
        return [("C", "integrated power only, without a counter to check it")]
    pairs = [(e.joules, e.integrated_j) for e in energies if e.joules and e.integrated_j]
    if len(pairs) < len(energies) or not pairs:
        return [("C", "one source only, without a second one to check it")]
    limit = agreement([a for a, _ in pairs], [b for _, b in pairs])
    return [] if limit is None else [limit]


def _edges(energies: Sequence[Energy]) -> list[Limit]:
    """Return grade C if the edges of a window are uncertain by more than 2 %."""
    worst = max((e.edge_error for e in energies), default=0.0)
    if worst <= AGREE:
        return []
    return [("C", f"the counter's movements at a window's edges leave {100 * worst:.1f} % open")]


def _capped(session: Session, windows: Sequence[Window]) -> bool:
    return any(events(session.samples, w.started_ns, w.ended_ns) & POWER_CAP for w in windows)
