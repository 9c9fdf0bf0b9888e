"""The joules of a window, from the samples of a meter's trace.

A counter that moves in steps cannot be read at a window's edges: 100 ms of 1.5 s is 7 %. So the moments at which it
moved are looked for, close to both edges, while the same load keeps running, and the window gets the mean power
between those two moments:

    counter   ____|^^^^|____ ... ____|^^^^|____
                  a [ window ............ ] b            joules = (c_b - c_a) / (t_b - t_a) * (end - start)

Joules of several boards are summed. Instant power is integrated beside, to check the counter.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from compress.records.sample import Sample, Signal
from compress.records.session import IdleTime

HOLE = 0.2  # of a window without a reading of power: a check that overslept is none
READINGS = 10  # of an outside meter in every window, at least


@dataclass(frozen=True)
class Movement:
    """The counter went to `counter_uj` at `time_ns`, give or take half of `within_ns`."""

    time_ns: int
    counter_uj: int
    within_ns: int


def movements(samples: Sequence[Sample]) -> list[Movement]:
    """Every moment at which one board's counter moved: between the last reading before and the first one after."""
    counted = ((s.time_ns, s.counter_uj) for s in samples if s.counter_uj is not None)
    return [
        Movement((start + end) // 2, after, end - start)
        for (start, before), (end, after) in itertools.pairwise(counted)
        if before != after
    ]


@dataclass(frozen=True)
class Energy:
    """Joules of a window from the counter, how far its edges may shift them, and joules from instant power."""

    joules: float | None
    edge_error: float
    """Largest relative error from not knowing when exactly the counter moved."""
    integrated_j: float | None
    reason: str | None = None

    @property
    def disagreement(self) -> float | None:
        """|counter / integrated power - 1|, or None where one of them is not had."""
        if not self.joules or not self.integrated_j:
            return None
        return abs(self.joules / self.integrated_j - 1)


def by_board(samples: Sequence[Sample]) -> list[Sequence[Sample]]:
    """The samples of each board by themselves; all in one list where there is a single one, or none."""
    numbers = sorted({s.board or 0 for s in samples})
    if len(numbers) < 2:
        return [samples]
    return [[s for s in samples if (s.board or 0) == number] for number in numbers]


def window_energy(samples: Sequence[Sample], start_ns: int, end_ns: int, step_s: float) -> Energy:
    """Energy between two times from samples around them, of counters that move every `step_s` at most.

    None and a reason when a counter did not move near both edges, fell back, or stood still.
    """
    reach = round(3e9 * step_s)
    around = [s for s in samples if start_ns - reach <= s.time_ns <= end_ns + reach]
    found = [_board_energy(board, start_ns, end_ns) for board in by_board(around)]
    return found[0] if len(found) == 1 else _summed(found)


def _summed(parts: Sequence[Energy]) -> Energy:
    """Energy of several boards; unknown when one of them is."""
    integrated = [p.integrated_j for p in parts if p.integrated_j is not None]
    checked = math.fsum(integrated) if len(integrated) == len(parts) else None
    known = [(p.joules, p.edge_error) for p in parts if p.joules is not None]
    if len(known) < len(parts):
        return Energy(None, math.inf, checked, next(p.reason for p in parts if p.joules is None))
    total = math.fsum(joules for joules, _ in known)
    error = math.fsum(joules * error for joules, error in known) / total if total else 0.0
    return Energy(total, error, checked)


def _board_energy(samples: Sequence[Sample], start_ns: int, end_ns: int) -> Energy:
    integrated = integrated_power(samples, start_ns, end_ns)
    counts = [s.counter_uj for s in samples if s.counter_uj is not None]
    if any(b < a for a, b in itertools.pairwise(counts)):
        return Energy(None, math.inf, integrated, FELL_BACK)
    found = movements(samples)
    before = min((m for m in found if m.time_ns <= start_ns), key=lambda m: m.within_ns, default=None)
    after = min((m for m in found if m.time_ns >= end_ns), key=lambda m: m.within_ns, default=None)
    if before is None or after is None:
        return Energy(None, math.inf, integrated, "the energy counter did not move near both edges of a window")
    span, spent = after.time_ns - before.time_ns, after.counter_uj - before.counter_uj
    joules = spent * (end_ns - start_ns) / span / 1e6
    return Energy(joules, (before.within_ns + after.within_ns) / 2 / span, integrated)


def integrated_power(samples: Sequence[Sample], start_ns: int, end_ns: int) -> float | None:
    """Joules by the trapezoid rule over instant power between two times.

    None with fewer than two samples inside, or none for a `HOLE` of the window: what was not looked at is not known.
    Beyond the outermost samples inside the window the nearest one's power is taken.
    """
    inside = [(s.time_ns, s.power_mw) for s in samples if s.power_mw is not None and start_ns <= s.time_ns <= end_ns]
    times = [start_ns, *(time for time, _ in inside), end_ns]
    if len(inside) < 2 or max(b - a for a, b in itertools.pairwise(times)) > HOLE * (end_ns - start_ns):
        return None
    doubled = sum((t1 - t0) * (p0 + p1) for (t0, p0), (t1, p1) in itertools.pairwise(inside))
    ends = 2 * (inside[0][0] - start_ns) * inside[0][1] + 2 * (end_ns - inside[-1][0]) * inside[-1][1]
    return (doubled + ends) / 2e12  # ns mW = 1e-12 J


def series(samples: Sequence[Sample], signal: Signal) -> list[tuple[int, int]]:
    """Return nanoseconds and value of all samples that tell a signal."""
    return [(s.time_ns, value) for s in samples if (value := s.value(signal)) is not None]


def interpolated_power(
    samples: Sequence[Sample], start_ns: int, end_ns: int, signal: Signal = "power_mw"
) -> float | None:
    """Joules between two times of power (a signal in milliwatts) that runs straight from reading to reading.

    None where readings lack: before, after, or for longer than a tenth of that time.
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
    """Nanoseconds between two successive readings of power, at most, of those that concern the time between."""
    times = [time for time, _ in series(samples, signal)]
    return max((b - a for a, b in itertools.pairwise(times) if b > start_ns and a < end_ns), default=0)


def events(samples: Sequence[Sample], start_ns: int, end_ns: int) -> int:
    """All event reasons (bits) seen between two times."""
    seen = 0
    for sample in samples:
        if start_ns <= sample.time_ns <= end_ns:
            seen |= sample.events or 0
    return seen


def mean_of(samples: Sequence[Sample], signal: Signal, start_ns: int, end_ns: int) -> float | None:
    """Mean of a signal between two times, or None where it was never told."""
    inside = [value for time, value in series(samples, signal) if start_ns <= time <= end_ns]
    return math.fsum(inside) / len(inside) if inside else None


FELL_BACK = "the counter fell back (a driver reload?)"


MOVEMENTS = 20  # of a counter, that a piece of work lasts at least for its joules to be told


def counted_j(
    start_uj: int | None, end_uj: int | None, seconds: float, step_s: float | None, measured: bool
) -> tuple[float | None, str | None]:
    """Joules between two readings that lie anywhere between the counter's movements; or None, and why not.

    `step_s` and `measured` are the meter's. At each edge up to a movement is missed or counted too much: of 20
    movements, 5 % in all on average.
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
    """Watts that the readings of an idle time come to; None where they cannot tell."""
    if idle is None or idle.start_uj is None or idle.end_uj is None:
        return None
    lasted_ns = idle.ended_ns - idle.started_ns
    if step_s is None:
        used_uj = idle.end_uj - idle.start_uj
        return used_uj * 1000 / lasted_ns if used_uj > 0 else None  # uJ / ns = kW
    joules = window_energy(idle.samples, idle.started_ns, idle.ended_ns, step_s).joules
    return None if joules is None else joules * 1e9 / lasted_ns


GAIN = 0.05  # a board's own error of measuring, +-5 %: it cancels in ratios and never averages out of joules


EVENTS: dict[int, str] = {
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""nvml.h, nvmlClocksEventReason bits that change what a model costs; idle and application clocks do not."""


HARD = 0x8 | 0x20 | 0x40 | 0x80
"""Those that are faults; a power cap is how a board works at its limit."""


UNCERTAINTY_FACTOR = 2.5
