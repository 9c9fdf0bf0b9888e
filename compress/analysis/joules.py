"""Joules of a window, from the samples of a meter's trace.

A counter that moves in steps cannot be read precisely at a window's edges: 100 ms of 1.5 s is 7 %. The load therefore
runs beyond both edges. The counter's movements close to the edges give the mean power, which is scaled to the window:

    counter   ____|^^^^|____ ... ____|^^^^|____
                  a [ window ............ ] b            joules = (c_b - c_a) / (t_b - t_a) * (end - start)

Joules of several boards are summed. Instant power is integrated separately to check the counter.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from compress.records.sample import Sample, Signal
from compress.records.session import IdleTime

HOLE = 0.2  # largest fraction of a window without a power reading: sparser readings check nothing
READINGS = 10  # least readings of an external meter per window


@dataclass(frozen=True)
class Movement:
    """A step of the counter to `counter_uj` at `time_ns`, known to half of `within_ns`."""

    time_ns: int
    counter_uj: int
    within_ns: int


def movements(samples: Sequence[Sample]) -> list[Movement]:
    """Return the movements of one board's counter, each midway between the readings before and after it."""
    counted = ((s.time_ns, s.counter_uj) for s in samples if s.counter_uj is not None)
    return [
        Movement((start + end) // 2, after, end - start)
        for (start, before), (end, after) in itertools.pairwise(counted)
        if before != after
    ]


@dataclass(frozen=True)
class Energy:
    """Energy of a window: joules from the counter with their edge error, and joules from instant power."""

    joules: float | None
    edge_error: float
    """Largest relative error from the uncertain times of the counter's movements."""
    integrated_j: float | None
    reason: str | None = None

    @property
    def disagreement(self) -> float | None:
        """Return |counter / integrated power - 1|, or None if either is missing."""
        if not self.joules or not self.integrated_j:
            return None
        return abs(self.joules / self.integrated_j - 1)


def by_board(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """Split samples by board. A single board, or samples without board numbers, give one list."""
    numbers = sorted({s.board or 0 for s in samples})
    if len(numbers) < 2:
        return [samples]
    return [[s for s in samples if (s.board or 0) == number] for number in numbers]


def window_energy(samples: Sequence[Sample], start_ns: int, end_ns: int, step_s: float) -> Energy:
    """Return the energy between two times from samples around them, for counters that move at least every `step_s`.

    Joules are None, with a reason, if a counter did not move near both edges, fell back or stood still.
    """
    reach = round(3e9 * step_s)
    around = [s for s in samples if start_ns - reach <= s.time_ns <= end_ns + reach]
    energies = [_board_energy(board, start_ns, end_ns) for board in by_board(around)]
    return energies[0] if len(energies) == 1 else _summed(energies)


def _summed(parts: Sequence[Energy]) -> Energy:
    """Sum the energies of several boards; unknown if any of them is."""
    integrated = [p.integrated_j for p in parts if p.integrated_j is not None]
    checked = math.fsum(integrated) if len(integrated) == len(parts) else None
    known = [(p.joules, p.edge_error) for p in parts if p.joules is not None]
    if len(known) < len(parts):
        return Energy(None, math.inf, checked, next(p.reason for p in parts if p.joules is None))
    total = math.fsum(joules for joules, _ in known)
    error = math.fsum(joules * error for joules, error in known) / total if total else 0.0
    return Energy(total, error, checked)


def _board_energy(samples: Sequence[Sample], start_ns: int, end_ns: int) -> Energy:
    """Return the energy of one board between two times."""
    integrated = integrated_power(samples, start_ns, end_ns)
    counts = [s.counter_uj for s in samples if s.counter_uj is not None]
    if any(b < a for a, b in itertools.pairwise(counts)):
        return Energy(None, math.inf, integrated, FELL_BACK)
    moves = movements(samples)
    before = min((m for m in moves if m.time_ns <= start_ns), key=lambda m: m.within_ns, default=None)
    after = min((m for m in moves if m.time_ns >= end_ns), key=lambda m: m.within_ns, default=None)
    if before is None or after is None:
        return Energy(None, math.inf, integrated, "the energy counter did not move near both edges of a window")
    span, spent = after.time_ns - before.time_ns, after.counter_uj - before.counter_uj
    joules = spent * (end_ns - start_ns) / span / 1e6
    return Energy(joules, (before.within_ns + after.within_ns) / 2 / span, integrated)


def integrated_power(samples: Sequence[Sample], start_ns: int, end_ns: int) -> float | None:
    """Integrate instant power between two times by the trapezoid rule, in joules.

    None with fewer than two samples inside, or with a gap longer than `HOLE` of the window. At the edges, the power of
    the nearest sample inside is used.
    """
    inside = [(s.time_ns, s.power_mw) for s in samples if s.power_mw is not None and start_ns <= s.time_ns <= end_ns]
    times = [start_ns, *(time for time, _ in inside), end_ns]
    if len(inside) < 2 or max(b - a for a, b in itertools.pairwise(times)) > HOLE * (end_ns - start_ns):
        return None
    doubled = sum((t1 - t0) * (p0 + p1) for (t0, p0), (t1, p1) in itertools.pairwise(inside))
    ends = 2 * (inside[0][0] - start_ns) * inside[0][1] + 2 * (end_ns - inside[-1][0]) * inside[-1][1]
    return (doubled + ends) / 2e12  # ns mW = 1e-12 J


def series(samples: Sequence[Sample], signal: Signal) -> list[tuple[int, int]]:
    """Return nanoseconds and value of all samples that hold a signal."""
    return [(s.time_ns, value) for s in samples if (value := s.value(signal)) is not None]


def interpolated_power(
    samples: Sequence[Sample], start_ns: int, end_ns: int, signal: Signal = "power_mw"
) -> float | None:
    """Integrate linearly interpolated power (a signal in milliwatts) between two times, in joules.

    None if readings do not enclose the time, or leave a gap longer than a tenth of it.
    """
    known = series(samples, signal)
    if not known or known[0][0] > start_ns or known[-1][0] < end_ns:
        return None
    if longest_gap(samples, start_ns, end_ns, signal) > (end_ns - start_ns) / READINGS:
        return None

    def at(time_ns: int) -> float:
        for (t0, p0), (t1, p1) in itertools.pairwise(known):
            if t0 <= time_ns <= t1 and t1 > t0:
                return p0 + (p1 - p0) * (time_ns - t0) / (t1 - t0)
        return float(known[-1][1])

    inside = [(t, float(p)) for t, p in known if start_ns < t < end_ns]
    line = [(start_ns, at(start_ns)), *inside, (end_ns, at(end_ns))]
    return math.fsum((t1 - t0) * (p0 + p1) for (t0, p0), (t1, p1) in itertools.pairwise(line)) / 2e12


def longest_gap(samples: Sequence[Sample], start_ns: int, end_ns: int, signal: Signal = "power_mw") -> int:
    """Return the longest gap between successive power readings that overlaps the given time, in nanoseconds."""
    times = [time for time, _ in series(samples, signal)]
    return max((b - a for a, b in itertools.pairwise(times) if b > start_ns and a < end_ns), default=0)


def events(samples: Sequence[Sample], start_ns: int, end_ns: int) -> int:
    """Return the union of all event reasons (bits) between two times."""
    bits = 0
    for sample in samples:
        if start_ns <= sample.time_ns <= end_ns:
            bits |= sample.events or 0
    return bits


def mean_of(samples: Sequence[Sample], signal: Signal, start_ns: int, end_ns: int) -> float | None:
    """Return the mean of a signal between two times, or None without readings."""
    inside = [value for time, value in series(samples, signal) if start_ns <= time <= end_ns]
    return math.fsum(inside) / len(inside) if inside else None


FELL_BACK = "the counter fell back (a driver reload?)"


MOVEMENTS = 20  # shortest work whose joules are reported, in movements of the counter


def counted_j(
    start_uj: int | None, end_uj: int | None, seconds: float, step_s: float | None, measured: bool
) -> tuple[float | None, str | None]:
    """Return joules between two readings taken at any time, or None and the reason.

    `step_s` and `measured` are the meter's. Each edge can miss or add up to one movement of the counter: 5 % of 20
    movements in all on average.
    """
    if start_uj is None or end_uj is None:
        return None, "the meter stopped answering"
    if end_uj < start_uj:
        return None, FELL_BACK
    if step_s is not None and seconds < MOVEMENTS * step_s:
        return None, f"{seconds:.2g} s are under {MOVEMENTS} movements of the counter ({MOVEMENTS * step_s:.2g} s)"
    if measured and end_uj == start_uj:
        return None, "the energy counter stood still"
    return (end_uj - start_uj) / 1e6, None


def idle_watts(idle: IdleTime | None, step_s: float | None) -> float | None:
    """Return the mean power of an idle time in watts; None if its readings do not determine it."""
    if idle is None or idle.start_uj is None or idle.end_uj is None:
        return None
    duration_ns = idle.ended_ns - idle.started_ns
    if step_s is None:
        used_uj = idle.end_uj - idle.start_uj
        return used_uj * 1000 / duration_ns if used_uj > 0 else None  # uJ / ns = kW
    joules = window_energy(idle.samples, idle.started_ns, idle.ended_ns, step_s).joules
    return None if joules is None else joules * 1e9 / duration_ns


GAIN = 0.05  # gain error of a board's meter, +-5 %: it cancels in ratios, and averaging joules does not reduce it


EVENTS: dict[int, str] = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""nvml.h, nvmlClocksEventReason bits that change the cost of a model; idle and application clocks do not."""


HARD = 0x8 | 0x20 | 0x40 | 0x80
"""Event bits that are faults; a power cap is normal operation at the board's limit."""


UNCERTAINTY_FACTOR = 2.5
