"""Progress on standard error: one line per step, and bars on a terminal.

If standard error is not a terminal, a bar becomes a line every 30 s; shorter work prints no line.

    evaluating int8: 320 of 872 (37 %), 1 min 20 s left
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeVar

from compress.base import terminal
from compress.base.ranks import rank

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

T = TypeVar("T")
LINE_S = 30.0
_SCREEN = threading.Lock()


@cache
def console() -> "Console":
    """Return the console on standard error; silent under COMPRESS_QUIET=1 and in all ranks but the first."""
    quiet = os.environ.get("COMPRESS_QUIET") == "1" or rank() > 0
    return terminal.console(stderr=True, quiet=quiet, soft_wrap=True)


def say(line: str) -> None:
    """Print one plain line; markup in names stays text."""
    console().print(terminal.visible(line), markup=False)


def interactive() -> bool:
    """Return whether to draw bars: standard error is a terminal, and this is the first rank."""
    return sys.stderr.isatty() and rank() == 0


class Bar(Protocol):
    """Interface of a progress bar."""

    def advance(self, by: float = 1) -> None:
        """Advance the bar by `by` units."""


class Still:
    """A bar that shows nothing: nested in another bar, or of unknown length."""

    def advance(self, by: float = 1) -> None:
        """Do nothing."""


class Drawn:
    """A bar on a terminal."""

    def __init__(self, progress: "Progress", task: "TaskID"):
        self._progress = progress
        self._task = task

    def advance(self, by: float = 1) -> None:
        """Advance the bar by `by` units."""
        self._progress.advance(self._task, by)


class Lines:
    """A line at most every `LINE_S` seconds, printed from `advance`: no thread wakes up during a measurement."""

    def __init__(
        self,
        description: str,
        total: float,
        clock: Callable[[], float] = time.monotonic,
        beyond: str = "",
    ):
        self._beyond = beyond
        self._description, self._total, self._clock = description, total, clock
        self._done = 0.0
        self._begun = self._last = clock()

    def advance(self, by: float = 1) -> None:
        """Count `by` units, and print a line if one is due."""
        self._done += by
        now = self._clock()
        over = self._done >= self._total
        if now - self._last < LINE_S or self._done <= 0 or (over and not self._beyond):
            return
        self._last = now
        if over:
            planned = f"{duration(self._total)} were planned, but {self._beyond}"
            say(f"  {self._description}: {duration(now - self._begun)} so far; {planned}")
            return
        left_s = (now - self._begun) * (self._total - self._done) / self._done
        share = 100 * self._done / self._total
        form = duration if self._beyond else "{:.0f}".format  # such a total is in seconds
        done = f"{form(self._done)} of {form(self._total)} ({share:.0f} %)"
        say(f"  {self._description}: {done}, {duration(left_s)} left")


@contextmanager
def beating(line: Callable[[float], str], period_s: float = LINE_S) -> Iterator[None]:
    """Print `line(elapsed seconds)` from a thread every `period_s` seconds until the block ends."""
    over, begun = threading.Event(), time.monotonic()

    def beat() -> None:
        while not over.wait(period_s):
            say(line(time.monotonic() - begun))

    thread = threading.Thread(target=beat, name="compress-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def duration(seconds: float) -> str:
    """Return a duration as text: `40 s`, `1 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@contextmanager
def bar(description: str, total: float | None, beyond: str = "") -> Iterator[Bar]:
    """Show a progress bar of `total` units (None: unknown) on a terminal until the block ends; elsewhere print lines.

    `beyond`: why a total in seconds may be exceeded; lines go on then and state it.

    A bar inside another bar is not shown: the outer bar shows the progress of the whole.
    """
    if rank() > 0 or not _SCREEN.acquire(blocking=False):
        yield Still()
        return
    try:
        if interactive():
            with _drawn(description, total) as drawn:
                yield drawn
        elif total is None:
            with beating(lambda passed_s: f"  {description}: {duration(passed_s)} so far"):
                yield Still()
        else:
            yield Lines(description, total, beyond=beyond)
    finally:
        _SCREEN.release()


@contextmanager
def _drawn(description: str, total: float | None) -> Iterator[Bar]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        yield Drawn(progress, progress.add_task(description.replace("[", "\\["), total=total))


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield the items and advance a bar after each."""
    with bar(description, total) as running:
        for item in items:
            yield item
            running.advance()
