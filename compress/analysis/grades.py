"""Grades of energy figures, from A (most trustworthy) to E, with reasons.

A   external meter of stated calibration
B   counter and integrated instant power within 2 %, nothing flagged, 6 rounds or more of 5 s or more
C   one source only, sources 2 to 5 % apart, edges uncertain by over 2 %, windows under 5 s, fewer than 6 rounds, or
    a batch length close to the period of a counter that misreads such loads
D   sources over 5 % apart, device shared, throttled (by itself, or by a control group's quota), or drifting
E   modelled
"""

import math
from collections.abc import Mapping, Sequence

from compress.analysis.agreement import AGREE, TOLERABLE, WINDOW_S, agreement
from compress.analysis.joules import EVENTS, HARD, Energy, events, mean_of, series
from compress.records.result import Grade
from compress.records.sample import Signal
from compress.records.session import MeterFacts, RunnerPoint, Session
from compress.records.window import Window

CLOCK_DRIFT = 0.03
REFERENCE_DRIFT = 0.03
ROUNDS = 6
FOREIGN_CORES = 0.1  # on two cores, a tenth of one already moves a latency by several percent
BEAT = 2.0  # batches of half to twice the counter's period can alias with it
UNTOLD: Mapping[Signal, str] = {
    "events": "whether the device throttled",
    "temperature_c": "temperatures",
    "sm_mhz": "clocks",
}
POWER_CAP = 0x4  # normal operation at the board's limit


def grade(
    session: Session,
    name: str,
    index: int,
    energies: Sequence[Energy],
    against: str,
    against_j: Sequence[float] | None,
) -> tuple[Grade | None, tuple[str, ...]]:
    """Return the grade of one runner's energy at one point, and its reasons. The grade is None without a meter.

    `against` names the verdict's reference, and `against_j` holds its joules per round. Reasons are returned without a
    meter too, because disturbances also affect latency.
    """
    meter, point = session.meter, session.runner(name).points[index]
    reasons = disturbances(session, name, index, against)
    if against_j is not None and meter.measured:
        reasons += _drifted(against_j, f"the energy of {against}")
    if meter.source is None:
        return None, tuple(reasons)
    if not meter.measured:
        return "E", ("energy is modelled, not measured", *reasons)
    worst: Grade = "D" if reasons else "B"
    if meter.source == "external":
        worst = "D" if reasons else "A" if meter.calibration else "C"
        limits: list[tuple[Grade, str]] = [] if meter.calibration else [("C", "the meter's calibration is not stated")]
    else:
        limits = [*_agreement(energies, meter.integrated), *_edges(energies)]
    if "nvml" in (meter.source, meter.beside):
        limits += _unobserved(session, point.windows)
    if meter.source == "nvml":
        limits += _beating(meter, point.windows)
    if _capped(session, point.windows):
        limits.append(("C", "the board ran at its power cap"))
    if point.settled is False:
        limits.append(("C", "temperature and power had not settled when warm-up ended"))
    shortest = min(window.duration_ns for window in point.windows) / 1e9
    if shortest < 0.999 * WINDOW_S or len(point.windows) < ROUNDS:
        limits.append(
            ("C", f"{len(point.windows)} rounds of {shortest:.2g} s; grade B takes {ROUNDS} of {WINDOW_S:g} s")
        )
    reasons += [reason for _, reason in limits]
    return max([worst, *(limit for limit, _ in limits)]), tuple(reasons)  # the worst grade is the largest letter


def _beating(meter: MeterFacts, windows: Sequence[Window]) -> list[tuple[Grade, str]]:
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


def _unobserved(session: Session, windows: Sequence[Window]) -> list[tuple[Grade, str]]:
    """Return grade C for each kind of disturbance that the driver cannot report: it may have happened."""
    limits: list[tuple[Grade, str]] = []
    if session.foreign_processes is None:
        limits.append(("C", "other processes on the device cannot be told from here (a container?)"))
    for signal, name in UNTOLD.items():
        times = [time for time, _ in series(session.samples, signal)]
        if not any(w.started_ns <= time <= w.ended_ns for w in windows for time in times):
            limits.append(("C", f"the driver does not tell {name}"))
    return limits


def _agreement(energies: Sequence[Energy], integrated: bool) -> list[tuple[Grade, str]]:
    """Return the limits that the second source sets: instant power integrated over the same windows."""
    if integrated:
        return [("C", "integrated power only, without a counter to check it")]
    pairs = [(e.joules, e.integrated_j) for e in energies if e.joules and e.integrated_j]
    if len(pairs) < len(energies) or not pairs:
        return [("C", "one source only, without a second one to check it")]
    limit = agreement([a for a, _ in pairs], [b for _, b in pairs])
    return [] if limit is None else [limit]


def _edges(energies: Sequence[Energy]) -> list[tuple[Grade, str]]:
    """Return grade C if the edges of a window are uncertain by more than 2 %."""
    worst = max((e.edge_error for e in energies), default=0.0)
    if worst <= AGREE:
        return []
    return [("C", f"the counter's movements at a window's edges leave {100 * worst:.1f} % open")]


def _capped(session: Session, windows: Sequence[Window]) -> bool:
    return any(events(session.samples, w.started_ns, w.ended_ns) & POWER_CAP for w in windows)


def disturbances(session: Session, name: str, index: int, against: str) -> list[str]:
    """Return the disturbances of the measurement of a point, which affect latency too."""
    point = session.runner(name).points[index]
    reasons = [] if point.steady else ["latency was not steady when warm-up ended"]
    if point.foreign_cores is not None and point.foreign_cores > FOREIGN_CORES:
        reasons.append(f"other processes kept {point.foreign_cores:.1f} cores busy during the measurement")
    stolen = point.stolen_cores
    if stolen is not None and stolen > FOREIGN_CORES:
        reasons.append(f"the host gave {stolen:.1f} of this virtual machine's cores to others during the measurement")
    if point.throttled_periods:
        reasons.append(
            f"the control group's CPU quota stopped the measurement in {point.throttled_periods} periods, "
            f"for {point.throttled_s:.2g} s"
        )
    processes = session.foreign_processes
    if processes:
        reasons.append(f"{processes} other process{'es' if processes > 1 else ''} on the device")
    reasons += _device_events(session, point)
    reasons += _drift(session, against, index)
    return reasons


def _device_events(session: Session, point: RunnerPoint) -> list[str]:
    """Return throttling and clock changes between rounds, from the samples inside the windows."""
    bits, clocks = 0, []
    for window in point.windows:
        bits |= events(session.samples, window.started_ns, window.ended_ns)
        clock = mean_of(session.samples, "sm_mhz", window.started_ns, window.ended_ns)
        if clock:
            clocks.append(clock)
    reasons = [f"the device throttled: {EVENTS[bit]}" for bit in EVENTS if bits & bit & HARD]
    if clocks and max(clocks) / min(clocks) - 1 > CLOCK_DRIFT:
        reasons.append(f"the device's clock went from {min(clocks):.0f} to {max(clocks):.0f} MHz between rounds")
    return reasons


def _drift(session: Session, against: str, index: int) -> list[str]:
    """Return a sentence if the reference's latency drifted over the session."""
    points = session.runner(against).points
    if len(points) <= index:
        return []
    return _drifted([window.duration_ns / len(window.batch_ns) for window in points[index].windows], against)


def _drifted(costs: Sequence[float], what: str) -> list[str]:
    """Return a sentence if a reference's cost drifted between its first and last third of rounds.

    The change must exceed both `REFERENCE_DRIFT` and four times the standard error of the rounds.
    """
    logs = [math.log(cost) for cost in costs]
    third = max(len(logs) // 3, 2)
    if len(logs) < 2 * third:
        return []
    first, last = logs[:third], logs[-third:]
    change = _mean(last) - _mean(first)
    error = math.sqrt((_variance(first) + _variance(last)) / third)
    if abs(change) <= max(REFERENCE_DRIFT, 4 * error):  # 4: few rounds, so the error is uncertain
        return []
    return [f"{what} drifted by {100 * math.expm1(change):+.1f} % over the session"]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
