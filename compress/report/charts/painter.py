"""Draws in a forked process while this one does other work: drawing takes as long as all the rest."""

import contextlib
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np  # noqa: F401  both processes need it: loaded once, before they part

from compress.base.processes import follow
from compress.report.charts.marks import Panel


class Painter:
    """Pictures on their way. The other process loads what it draws with at once.

    Where this one cannot fork safely, `pictures` draws here.
    """

    def __init__(self) -> None:
        self._panels: list[Panel] = []
        self._child: Any = None
        if not hasattr(os, "fork") or threading.active_count() > 1:
            return
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self._pipe, theirs = context.Pipe()
        parent = os.getpid()

        def draw() -> None:
            follow(parent)
            self._pipe.close()
            with theirs, contextlib.suppress(EOFError):  # this process ended before it had anything to draw
                _warm()
                theirs.send(_pictures(theirs.recv()))

        self._child = context.Process(target=draw)
        self._child.start()
        theirs.close()

    def start(self, panels: Sequence[Panel]) -> None:
        """Begins to draw."""
        self._panels = list(panels)
        if self._child is not None:
            with contextlib.suppress(BrokenPipeError):  # `pictures` says it
                self._pipe.send(self._panels)

    def pictures(self) -> dict[str, bytes]:
        """File name -> content, of what was begun."""
        if self._child is None:
            return _pictures(self._panels)
        try:
            made: dict[str, bytes] = self._pipe.recv()
        except EOFError:
            raise RuntimeError("the picture could not be drawn; the message of the drawing process is above") from None
        return made

    def __enter__(self) -> "Painter":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if self._child is not None:
            self._pipe.close()
            if error is not None:
                self._child.terminate()  # nobody will look at the picture
            self._child.join()


def _pictures(panels: Sequence[Panel]) -> dict[str, bytes]:
    from compress.report.charts import plot

    return plot.pictures(panels)


def _warm() -> None:
    """Loads what draws and finds the font: none of it depends on what is drawn."""
    from compress.report.charts import canvas, plot  # noqa: F401

    canvas.svg(canvas.new_figure(1, 1))
