"""Threads on a clock of their own: it stands still while one works and jumps when all wait, so nothing is ever late.

    clock = VirtualTime.install(monkeypatch)     the meters' modules sleep, wait and start threads on it
    Simulator([Board(...)], clock.monotonic)

What depends on when a thread wakes is then the same on every machine, however busy, and takes no time. `late` makes
threads wake late on purpose, as a busy machine would.
"""

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from compress.energy import block, nvml, sampler
from compress.energy.doctor import board, period

START_S = 1000.0
IDLE_W, BUSY_W = 80.0, 400.0


class _Over(Exception):
    """The test has ended in which this thread waited."""


class VirtualTime:
    """What the meters use of `time` and `threading`. One thread runs at a time; the others wait for their moment."""

    def __init__(self, late: Callable[[], float] = lambda: 0.0) -> None:
        self._now = START_S
        self._late = late
        self._order = itertools.count()
        self._due: dict[threading.Thread, tuple[float, int]] = {}
        """Waiting thread -> when it goes on, and its place among those of the same moment."""
        self._turn = threading.Condition()
        self._running = threading.current_thread()
        clock = self

        class Thread(threading.Thread):
            def start(self) -> None:
                clock._due[self] = (clock._now, next(clock._order))
                super().start()

            def run(self) -> None:
                with contextlib.suppress(_Over):
                    clock._await_turn(self)
                    try:
                        super().run()
                    finally:
                        clock._pass_on()

            def join(self, timeout: float | None = None) -> None:
                while self in clock._due:
                    clock.sleep(sampler.NEAR_EDGE_S)
                super().join(timeout)

        class Lock:
            def __init__(self) -> None:
                self._held = False
                self._waiting: list[threading.Thread] = []

            def locked(self) -> bool:
                return self._held

            def release(self) -> None:
                self._held = False
                for thread in self._waiting:
                    clock._due[thread] = (clock._now, next(clock._order))
                self._waiting.clear()

            def acquire(self, timeout: float = math.inf) -> bool:
                if self._held:
                    me = threading.current_thread()
                    self._waiting.append(me)
                    clock.sleep(timeout + clock._late())
                    if me in self._waiting:
                        self._waiting.remove(me)
                free, self._held = not self._held, True
                return free

        self.Thread, self.Lock = Thread, Lock

    @classmethod
    def install(cls, monkeypatch: pytest.MonkeyPatch, late: Callable[[], float] = lambda: 0.0) -> "VirtualTime":
        """A clock that the meters' modules go by for the rest of this test."""
        clock = cls(late)
        times: Any = SimpleNamespace(
            monotonic=clock.monotonic,
            monotonic_ns=clock.monotonic_ns,
            sleep=clock.sleep,
            perf_counter=time.perf_counter,
            thread_time=time.thread_time,
        )
        for module in (block, board, period, nvml, sampler):
            monkeypatch.setattr(module, "time", times)
            if hasattr(module, "threading"):
                monkeypatch.setattr(module, "threading", SimpleNamespace(Thread=clock.Thread, Lock=clock.Lock))
        return clock

    def monotonic(self) -> float:
        """Seconds."""
        return self._now

    def monotonic_ns(self) -> int:
        """Nanoseconds."""
        return round(1e9 * self._now)

    def sleep(self, seconds: float) -> None:
        """Lets the others run until this thread's moment has come."""
        me = threading.current_thread()
        self._due[me] = (self._now + seconds, next(self._order))
        self._pass_on()
        self._await_turn(me)

    def _pass_on(self) -> None:
        """Gives the turn to whoever wakes first, at that moment."""
        with self._turn:
            if not self._due:
                return
            self._running = min(self._due, key=self._due.__getitem__)
            due, _ = self._due.pop(self._running)
            self._now = max(self._now, due)
            self._turn.notify_all()

    def _await_turn(self, thread: threading.Thread) -> None:
        with self._turn:
            woken = self._turn.wait_for(lambda: self._running is thread, timeout=60)
        if not woken and thread.daemon:
            raise _Over
        assert woken, "no thread is left to wake this one"


class Switch:
    """A board's true power: busy while a load runs. Remembers when, because boards report the past."""

    def __init__(self, clock: VirtualTime) -> None:
        self._clock = clock
        self._changes: list[tuple[float, float]] = [(0.0, IDLE_W)]

    def __call__(self, now: float) -> float:
        return next(watts for at, watts in reversed(self._changes) if at <= now or at == 0.0)

    def set(self, watts: float) -> None:
        self._changes.append((self._clock.monotonic(), watts))
        del self._changes[1:-400]

    def load(self, seconds: float, duty: float, period_s: float) -> None:
        """Keeps the board busy for a part of every period."""
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0:
            self.set(BUSY_W)
            self._clock.sleep(min(left, duty * period_s))
            if duty < 1:
                self.set(IDLE_W)
                self._clock.sleep(max(0.0, min(end - self._clock.monotonic(), (1 - duty) * period_s)))
        self.set(IDLE_W)
