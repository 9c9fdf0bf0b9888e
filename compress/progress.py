"""What a person sees while waiting: one line a step, and bars on a terminal. All of it on standard error."""

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from compress import terminal
from compress.ranks import rank

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

T = TypeVar("T")
_SCREEN = threading.Lock()


@cache
def console() -> "Console":
    """The console on standard error; silent under COMPRESS_QUIET=1, and in all but the first of several processes."""
    quiet = os.environ.get("COMPRESS_QUIET") == "1" or rank() > 0
    return terminal.console(stderr=True, quiet=quiet, soft_wrap=True)


def say(line: str) -> None:
    """One plain line; markup in names stays text."""
    console().print(terminal.visible(line), markup=False)


def interactive() -> bool:
    """Whether bars make sense: standard error is a terminal."""
    return sys.stderr.isatty() and rank() == 0


class Bar:
    """A running bar; `advance` moves it."""

    def __init__(self, progress: "Progress | None", task: "TaskID | None"):
        self._progress = progress
        self._task = task

    def advance(self, by: float = 1) -> None:
        """Moves the bar by so many units."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, by)


@contextmanager
def bar(description: str, total: float | None) -> Iterator[Bar]:
    """A progress bar of `total` units (None: nobody knows) on a terminal, nothing elsewhere. It vanishes when done.

    Within another bar it is not shown: the other one says how far the whole is.
    """
    if not interactive() or not _SCREEN.acquire(blocking=False):
        yield Bar(None, None)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console(), transient=True) as progress:
            yield Bar(progress, progress.add_task(description.replace("[", "\\["), total=total))
    finally:
        _SCREEN.release()


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """The items, with a bar that follows them."""
    with bar(description, total) as running:
        for item in items:
            yield item
            running.advance()
