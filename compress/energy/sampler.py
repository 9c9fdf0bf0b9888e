"""The trace of a meter: samples of its counter and state, taken by a thread. `analysis.joules` computes joules from it.

The rate is at most 10 Hz. Near an edge it is one sample every 4 ms for at most two steps, unless `doctor` found that
frequent reading changes the board's count. Far from edges, a counter that is slow to read (an H200's took 3.4 ms of CPU
time) is read less often if only the edges matter. Several boards are sampled one by one. Board behaviour: Yang et al.
2024, arXiv:2312.02741. An RTX 4090's counter reportedly undercounts when read every 0.5 ms.
"""

import threading
import time
from collections.abc import Mapping

from compress.analysis.joules import idle_watts
from compress.energy.meters import Absent, Meter, MeterError, read_uj
from compress.records.sample import Sample
from compress.records.session import IdleTime, MeterFacts

PERIOD_S = 0.1
NEAR_EDGE_S = 0.004  # 0.08 % of a window of 5 s; twice the rate costs a tenth more CPU time in total
COUNTER_CPU = 0.002  # share of a core, far from edges; under 0.3 % with the other queries
IDLE_AGREE, IDLE_TRIES = 0.05, 8


class Sampler:
    """A thread that samples a meter inside a `with` block."""

    def __init__(self, meter: Meter | Absent, period_s: float = PERIOD_S, sparing: bool = True):
        """Store the settings. With `sparing`, a counter that is slow to read is read less often far from edges."""
        self._meter = None if isinstance(meter, Absent) or not meter.measured else meter
        self._boards = () if self._meter is None else self._meter.boards
        self._last: dict[int, Sample] = {}
        """Board number -> its last sample that holds the counter."""
        self._cost_s = [0.0] * len(self._boards)
        """CPU time of the last reading of each board's counter."""
        self._moved: set[int] = set()
        self._period_s = period_s
        self._sparing = sparing
        self._near_until = 0.0
        self._asleep = threading.Lock()  # waiting on a lock costs less CPU time than on an Event
        self._asleep.acquire()
        self._stop = False
        self.samples: list[Sample] = []
        self.error: str | None = None
        """Why sampling ended early, or None."""
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
        """Seconds that load must run at each edge to show a movement of the counter; 0 for a fine-grained counter."""
        return 2 * self.step_s + (3 * PERIOD_S if self.step_s and not self._may_read_rapidly else 0.0)

    @property
    def _may_read_rapidly(self) -> bool:
        """Whether the meter may be read every few ms near an edge."""
        return self._meter is None or not self._meter.harmed_by_reading

    @property
    def step_s(self) -> float:
        """Longest time between two movements of the counter, in seconds; 0 for a fine-grained counter."""
        return (None if self._meter is None else self._meter.step_s) or 0.0

    def near_edge(self) -> None:
        """Announce an edge: read every counter now, and rapidly until each has moved, if rapid reading is harmless."""
        self._moved.clear()
        if self.edge_s:
            self._near_until = time.monotonic() + self.edge_s
            if self._may_read_rapidly:
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
        return self._may_read_rapidly and time.monotonic() < self._near_until

    def _take(self, number: int, board: Meter) -> bool:
        """Take one sample, and return whether the board's counter moved since a reading shortly before it."""
        fast = self._fast
        counter = self._counter(number, board)
        now_ns = time.monotonic_ns()
        last = self._last.get(number)
        moved = last is not None and counter is not None and last.counter_uj != counter
        state: Mapping[str, int | None] = {} if fast and not moved else board.state()  # rapid samples skip it
        sample = Sample(now_ns, number, counter, **state)
        self.samples.append(sample)
        if counter is not None:
            self._last[number] = sample
        if last is None or not moved:
            return False
        return now_ns - last.time_ns < 2e9 * (NEAR_EDGE_S + sum(self._cost_s))

    def _counter(self, number: int, board: Meter) -> int | None:
        """Return the counter in microjoules; None if reading it now would cost too much CPU time."""
        last, near_edge = self._last.get(number), time.monotonic() < self._near_until
        if self._sparing and last is not None and not near_edge:
            passed_s = time.monotonic() - last.time_ns / 1e9
            if COUNTER_CPU * passed_s < self._cost_s[number]:
                return None
        start_s = time.thread_time()
        counter = board.read_uj()
        self._cost_s[number] = time.thread_time() - start_s
        return counter


def idle_w(meter: Meter | Absent, seconds: float) -> float | None:
    """Return the idle power in watts, measured over `seconds`; None if the meter cannot measure it."""
    return None if isinstance(meter, Absent) else idle_watts(idle(meter, seconds), meter.step_s)


def idle(meter: Meter | Absent, seconds: float) -> IdleTime | None:
    """Return the readings of `seconds` of idling; None without a meter that measures."""
    if isinstance(meter, Absent) or not meter.measured:
        return None
    with Sampler(meter) as sampler:
        _wait_at_edge(sampler)
        start_uj, start_ns = read_uj(meter), time.monotonic_ns()
        time.sleep(seconds)
        end_uj, end_ns = read_uj(meter), time.monotonic_ns()
        _wait_at_edge(sampler)
    return IdleTime(start_ns, end_ns, start_uj, end_uj, tuple(sampler.samples))


def steady_idle(meter: Meter | Absent, seconds: float) -> IdleTime | None:
    """Repeat `idle` until two consecutive results agree: clocks, and power with them, stay high for a while after work.

    If none agree within `IDLE_TRIES`, return the last usable one. A late sampler must not leave the result empty.
    """
    previous: float | None = None
    best: IdleTime | None = None
    for _ in range(IDLE_TRIES):
        raw = idle(meter, seconds)
        if raw is None or isinstance(meter, Absent):
            return None
        watts = idle_watts(raw, meter.step_s)
        if watts is None:
            best = best or raw
            continue
        if previous is not None and abs(watts / previous - 1) <= IDLE_AGREE:
            return raw
        previous, best = watts, raw
    return best


def _wait_at_edge(sampler: Sampler) -> None:
    sampler.near_edge()
    time.sleep(sampler.edge_s)


def facts(meter: Meter | Absent) -> MeterFacts:
    """Return the facts about a meter that a result records."""
    if isinstance(meter, Absent):
        return MeterFacts(absent=meter.reason)
    return MeterFacts(
        source=meter.source,
        boundary=meter.boundary,
        measured=meter.measured,
        step_s=meter.step_s,
        integrated=meter.integrated,
        doctor=meter.examined,
        like_another=meter.like_another,
        misread=meter.misread,
        why_modelled=meter.why_modelled,
        watts_per_core=meter.watts_per_core,
        basis=meter.basis,
    )
