"""The trace of a meter: samples of its counter and state, taken by a thread. `energy.window` reads joules off it.

Samples are taken at no more than 10 Hz; near an edge every 4 ms for at most two steps, unless `doctor` found that such
reading changes the board's count. Far from edges a counter that takes long to read (an H200's took 3.4 ms of processor
time) is read less often where only the edges are of interest. Several boards are sampled one by one. (Yang et al. 2024,
arXiv:2312.02741, for what boards do; an RTX 4090's counter is said to fall short when read every 0.5 ms.)
"""

import threading
import time
from collections.abc import Mapping

from compress.analysis.joules import idle_watts
from compress.energy.meters import Absent, Meter, MeterError, read_uj
from compress.records.sample import Sample
from compress.records.session import IdleTime, MeterFacts

PERIOD_S = 0.1
NEAR_EDGE_S = 0.004  # of a window of 5 s: 0.08 %; looking twice as often costs a tenth more processor time in all
COUNTER_CPU = 0.002  # of a core, far from edges: beside what else is asked, under 0.3 % in all
IDLE_AGREE, IDLE_TRIES = 0.05, 8


class Sampler:
    """Samples a meter from a thread, inside a `with` block."""

    def __init__(self, meter: Meter | Absent, period_s: float = PERIOD_S, sparing: bool = True):
        """`sparing`: a counter that is dear to read is read in every sample near edges only."""
        self._meter = None if isinstance(meter, Absent) or not meter.measured else meter
        self._boards = () if self._meter is None else self._meter.boards
        self._last: dict[int, Sample] = {}
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
        self.samples: list[Sample] = []
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
        return self._meter is None or not self._meter.harmed_by_reading

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
        moved = before is not None and counter is not None and before.counter_uj != counter
        state: Mapping[str, int | None] = {} if fast and not moved else board.state()  # a close look is cheap
        sample = Sample(now, number, counter, **state)
        self.samples.append(sample)
        if counter is not None:
            self._last[number] = sample
        if before is None or not moved:
            return False
        return now - before.time_ns < 2e9 * (NEAR_EDGE_S + sum(self._cost_s))

    def _counter(self, number: int, board: Meter) -> int | None:
        """Microjoules; None where reading them now would cost more than it tells."""
        before, near = self._last.get(number), time.monotonic() < self._near_until
        if self._sparing and before is not None and not near:
            passed_s = time.monotonic() - before.time_ns / 1e9
            if COUNTER_CPU * passed_s < self._cost_s[number]:
                return None
        busy = time.thread_time()
        counter = board.read_uj()
        self._cost_s[number] = time.thread_time() - busy
        return counter


def idle_w(meter: Meter | Absent, seconds: float) -> float | None:
    """Watts while nothing runs here, over `seconds`; None where the meter cannot know."""
    return None if isinstance(meter, Absent) else idle_watts(idle(meter, seconds), meter.step_s)


def idle(meter: Meter | Absent, seconds: float) -> IdleTime | None:
    """Readings of a time in which nothing runs here; None without a meter that measures."""
    if isinstance(meter, Absent) or not meter.measured:
        return None
    with Sampler(meter) as sampler:
        _edge(sampler)
        start_uj, start = read_uj(meter), time.monotonic_ns()
        time.sleep(seconds)
        end_uj, end = read_uj(meter), time.monotonic_ns()
        _edge(sampler)
    return IdleTime(start, end, start_uj, end_uj, tuple(sampler.samples))


def steady_idle(meter: Meter | Absent, seconds: float) -> IdleTime | None:
    """`idle`, taken again until two in a row agree: clocks stay up for a while after work, and power with them.

    Where they do not agree within `IDLE_TRIES`, the last one that tells: a sampler that came too late is no reason to
    have none.
    """
    before: float | None = None
    kept: IdleTime | None = None
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


def _edge(sampler: Sampler) -> None:
    sampler.near_edge()
    time.sleep(sampler.edge_s)


def facts(meter: Meter | Absent) -> MeterFacts:
    """What a result states of its meter."""
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
