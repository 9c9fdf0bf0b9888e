"""The trace of a meter, and the joules of a window in it.

A counter that moves in steps cannot be read at a window's edges: 100 ms of 1.5 s is 7 %. So the moments at which it
moved are looked for, close to both edges, while the same load keeps running, and the window gets the mean power
between those two moments:

    counter   ____|^^^^|____ ... ____|^^^^|____
                  a [ window ............ ] b            joules = (c_b - c_a) / (t_b - t_a) * (end - start)

Samples are taken at no more than 10 Hz; near an edge every 4 ms for at most two steps, unless `doctor` found that such
reading changes the board's count. Far from edges a counter that takes long to read (an H200's took 3.4 ms of processor
time) is read less often where only the edges are of interest. Several boards are sampled one by one, and their joules
summed. (Yang et al. 2024, arXiv:2312.02741, for what boards do; an RTX 4090's counter is said to fall short when read
every 0.5 ms.)
"""

import itertools
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.energy import FELL_BACK, Absent, Meter, MeterError, read_uj
from compress.energy.several import boards

PERIOD_S = 0.1
NEAR_EDGE_S = 0.004  # of a window of 5 s: 0.08 %; looking twice as often costs a tenth more processor time in all
COUNTER_CPU = 0.002  # of a core, far from edges: beside what else is asked, under 0.3 % in all
IDLE_AGREE, IDLE_TRIES = 0.05, 8
HOLE = 0.2  # of a window without a reading of power: a check that overslept is none
READINGS = 10  # of an outside meter in every window, at least
OUTSIDE = "outside_mw"
"""Power by a meter outside of this machine, beside what the device tells of itself."""
Sample = Mapping[str, int | None]
"""time_ns, board (its number), counter_uj (None where it was not read), and what the meter's `state` tells."""


class Sampler:
    """Samples a meter from a thread, inside a `with` block."""

    def __init__(self, meter: Meter | Absent, period_s: float = PERIOD_S, sparing: bool = True):
        """`sparing`: a counter that is dear to read is read in every sample near edges only."""
        self._meter = None if isinstance(meter, Absent) or not meter.measured else meter
        self._boards = () if self._meter is None else boards(self._meter)
        self._last: dict[int, dict[str, int | None]] = {}
        """Of each board, the last sample with its counter."""
        self._cost_s = [0.0] * len(self._boards)
        """Processor time that reading each board's counter took."""
        self._moved: set[int] = set()
        self._period_s = period_s
        self._sparing = sparing
        self._near_until = 0.0
        self._asleep = threading.Lock()  # waiting for it with a timeout costs less processor time than for an Event
        self._asleep.acquire()
        self._stop = False
        self.samples: list[dict[str, int | None]] = []
        self.error: str | None = None
        """Why sampling ended before its time, or None."""
        self.cpu_s = 0.0
        """CPU time of the sampling thread."""

    def __enter__(self) -> "Sampler":
        self._thread = threading.Thread(target=self._run, name="compress-sampler", daemon=True)
        if self._meter is not None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._rouse()
        if self._meter is not None:
            self._thread.join()

    @property
    def edge_s(self) -> float:
        """How long load must run at each edge for a movement of the counter to be seen; 0 for one that moves finely."""
        return 2 * self.step_s + (3 * PERIOD_S if self.step_s and not self._closely else 0.0)

    @property
    def _closely(self) -> bool:
        """Whether the meter may be read every few ms near an edge."""
        return not getattr(self._meter, "harmed_by_reading", False)

    @property
    def step_s(self) -> float:
        """Seconds between two movements of the counter, at most; 0 for one that moves finely."""
        return (None if self._meter is None else self._meter.step_s) or 0.0

    def near_edge(self) -> None:
        """An edge is near: reads counters, and closely until each has been seen to move if that does no harm."""
        self._moved.clear()
        if self.edge_s:
            self._near_until = time.monotonic() + self.edge_s
            if self._closely:
                self._rouse()

    def _rouse(self) -> None:
        if self._asleep.locked():
            self._asleep.release()

    def _run(self) -> None:
        while not self._stop:
            try:
                for number, board in enumerate(self._boards):
                    if self._take(number, board):
                        self._moved.add(number)
            except MeterError as error:
                self.error = str(error)
                return
            if len(self._moved) == len(self._boards):
                self._near_until = 0.0
            self._asleep.acquire(timeout=NEAR_EDGE_S if self._fast else self._period_s)
            self.cpu_s = time.thread_time()

    @property
    def _fast(self) -> bool:
        return self._closely and time.monotonic() < self._near_until

    def _take(self, number: int, board: Meter) -> bool:
        """Takes one sample; whether the board's counter had moved since a reading close before it."""
        fast = self._fast
        counter = self._counter(number, board)
        now = time.monotonic_ns()
        before = self._last.get(number)
        moved = before is not None and counter is not None and before["counter_uj"] != counter
        state: Mapping[str, int | None] = {} if fast and not moved else board.state()  # a close look is cheap
        sample = {"time_ns": now, "board": number, "counter_uj": counter, **state}
        self.samples.append(sample)
        if counter is not None:
            self._last[number] = sample
        if before is None or not moved:
            return False
        return now - int(before["time_ns"] or 0) < 2e9 * (NEAR_EDGE_S + sum(self._cost_s))

    def _counter(self, number: int, board: Meter) -> int | None:
        """Microjoules; None where reading them now would cost more than it tells."""
        before, near = self._last.get(number), time.monotonic() < self._near_until
        if self._sparing and before is not None and not near:
            passed_s = time.monotonic() - int(before["time_ns"] or 0) / 1e9
            if COUNTER_CPU * passed_s < self._cost_s[number]:
                return None
        busy = time.thread_time()
        counter = board.read_uj()
        self._cost_s[number] = time.thread_time() - busy
        return counter


@dataclass(frozen=True)
class Movement:
    """The counter went to `counter_uj` at `time_ns`, give or take half of `within_ns`."""

    time_ns: int
    counter_uj: int
    within_ns: int


def movements(samples: Sequence[Sample]) -> list[Movement]:
    """Every moment at which one board's counter moved: between the last reading before and the first one after."""
    found = []
    for one, two in itertools.pairwise(s for s in samples if s.get("counter_uj") is not None):
        if one["counter_uj"] != two["counter_uj"]:
            start, end = int(one["time_ns"] or 0), int(two["time_ns"] or 0)
            found.append(Movement((start + end) // 2, int(two["counter_uj"] or 0), end - start))
    return found


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
    numbers = sorted({int(s.get("board") or 0) for s in samples})
    if len(numbers) < 2:
        return [samples]
    return [[s for s in samples if int(s.get("board") or 0) == number] for number in numbers]


def window_energy(samples: Sequence[Sample], start_ns: int, end_ns: int, step_s: float) -> Energy:
    """Energy between two times from samples around them, of counters that move every `step_s` at most.

    None and a reason when a counter did not move near both edges, fell back, or stood still.
    """
    reach = round(3e9 * step_s)
    around = [s for s in samples if start_ns - reach <= int(s["time_ns"] or 0) <= end_ns + reach]
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
    counts = [int(s["counter_uj"] or 0) for s in samples if s.get("counter_uj") is not None]
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
    inside = [
        (int(s["time_ns"] or 0), int(s["power_mw"] or 0))
        for s in samples
        if s.get("power_mw") is not None and start_ns <= int(s["time_ns"] or 0) <= end_ns
    ]
    times = [start_ns, *(time for time, _ in inside), end_ns]
    if len(inside) < 2 or max(b - a for a, b in itertools.pairwise(times)) > HOLE * (end_ns - start_ns):
        return None
    doubled = sum((t1 - t0) * (p0 + p1) for (t0, p0), (t1, p1) in itertools.pairwise(inside))
    ends = 2 * (inside[0][0] - start_ns) * inside[0][1] + 2 * (end_ns - inside[-1][0]) * inside[-1][1]
    return (doubled + ends) / 2e12  # ns mW = 1e-12 J


def interpolated_power(samples: Sequence[Sample], start_ns: int, end_ns: int, key: str = "power_mw") -> float | None:
    """Joules between two times of power (milliwatts under `key`) that runs straight from reading to reading.

    None where readings lack: before, after, or for longer than a tenth of that time.
    """
    known = [(int(s["time_ns"] or 0), int(s[key] or 0)) for s in samples if s.get(key) is not None]
    if not known or known[0][0] > start_ns or known[-1][0] < end_ns:
        return None
    if longest_gap(samples, start_ns, end_ns, key) > (end_ns - start_ns) / READINGS:
        return None

    def at(time_ns: int) -> float:
        for (t0, p0), (t1, p1) in itertools.pairwise(known):
            if t0 <= time_ns <= t1 and t1 > t0:
                return p0 + (p1 - p0) * (time_ns - t0) / (t1 - t0)
        return float(known[-1][1])

    inside = [(t, float(p)) for t, p in known if start_ns < t < end_ns]
    line = [(start_ns, at(start_ns)), *inside, (end_ns, at(end_ns))]
    return math.fsum((t1 - t0) * (p0 + p1) for (t0, p0), (t1, p1) in itertools.pairwise(line)) / 2e12


def longest_gap(samples: Sequence[Sample], start_ns: int, end_ns: int, key: str = "power_mw") -> int:
    """Nanoseconds between two successive readings of power, at most, of those that concern the time between."""
    times = [int(s["time_ns"] or 0) for s in samples if s.get(key) is not None]
    return max((b - a for a, b in itertools.pairwise(times) if b > start_ns and a < end_ns), default=0)


def events(samples: Sequence[Sample], start_ns: int, end_ns: int) -> int:
    """All event reasons (bits) seen between two times."""
    seen = 0
    for sample in samples:
        if start_ns <= int(sample["time_ns"] or 0) <= end_ns:
            seen |= int(sample.get("events") or 0)
    return seen


def mean_of(samples: Sequence[Sample], key: str, start_ns: int, end_ns: int) -> float | None:
    """Mean of a state's figure between two times, or None where it was never told."""
    inside = [s[key] for s in samples if s.get(key) is not None and start_ns <= int(s["time_ns"] or 0) <= end_ns]
    return math.fsum(float(v or 0) for v in inside) / len(inside) if inside else None


def idle_w(meter: Meter | Absent, seconds: float) -> float | None:
    """Watts while nothing runs here, over `seconds`; None where the meter cannot know."""
    return None if isinstance(meter, Absent) else idle_watts(idle(meter, seconds), meter.step_s)


def idle(meter: Meter | Absent, seconds: float) -> dict[str, Any] | None:
    """Raw samples of a time in which nothing runs here; None without a meter that measures."""
    if isinstance(meter, Absent) or not meter.measured:
        return None
    with Sampler(meter) as sampler:
        _edge(sampler)
        start_uj, start = read_uj(meter), time.monotonic_ns()
        time.sleep(seconds)
        end_uj, end = read_uj(meter), time.monotonic_ns()
        _edge(sampler)
    counts = {"start_uj": start_uj, "end_uj": end_uj}
    return {"started_ns": start, "ended_ns": end, **counts, "samples": sampler.samples}


def steady_idle(meter: Meter | Absent, seconds: float) -> dict[str, Any] | None:
    """`idle`, taken again until two in a row agree: clocks stay up for a while after work, and power with them.

    Where they do not agree within `IDLE_TRIES`, the last one that tells: a sampler that came too late is no reason to
    have none.
    """
    before: float | None = None
    kept: dict[str, Any] | None = None
    for _ in range(IDLE_TRIES):
        raw = idle(meter, seconds)
        if raw is None or isinstance(meter, Absent):
            return None
        watts = idle_watts(raw, meter.step_s)
        if watts is None:
            kept = kept or raw
            continue
        if before is not None and abs(watts / before - 1) <= IDLE_AGREE:
            return raw
        before, kept = watts, raw
    return kept


def idle_watts(raw: Mapping[str, Any] | None, step_s: float | None) -> float | None:
    """Watts that these samples of `idle` come to; None where they cannot tell."""
    if raw is None or raw["start_uj"] is None or raw["end_uj"] is None:
        return None
    start, end = raw["started_ns"], raw["ended_ns"]
    if step_s is None:
        used = raw["end_uj"] - raw["start_uj"]
        return float(used * 1000 / (end - start)) if used > 0 else None  # uJ / ns = kW
    joules = window_energy(raw["samples"], start, end, step_s).joules
    return None if joules is None else float(joules * 1e9 / (end - start))


def _edge(sampler: Sampler) -> None:
    sampler.near_edge()
    time.sleep(sampler.edge_s)


def facts(meter: Meter | Absent) -> dict[str, Any]:
    """What a result states of its meter."""
    if isinstance(meter, Absent):
        return {"absent": meter.reason}
    return {
        "source": meter.source,
        "boundary": meter.boundary,
        "measured": meter.measured,
        "step_s": meter.step_s,
        "integrated": getattr(meter, "integrated", False),
        "doctor": getattr(meter, "profile", None),
        "like_another": getattr(meter, "like", False),
        "misread": getattr(meter, "misread", None),
        "why_modelled": getattr(meter, "why", None),
        "watts_per_core": getattr(meter, "watts", None),
        "basis": getattr(meter, "basis", None),
    }
