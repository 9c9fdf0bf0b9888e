"""A function computed in a forked process while this one does other work; computed here if a fork is not safe."""

import contextlib
import gc
import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from compress.base.processes import follow

Given = TypeVar("Given")
Made = TypeVar("Made")


class Forked(Generic[Given, Made]):
    """Computes `make(value)` in a child process, forked at once; it runs `prepare` while it waits for `start`.

    The child ends with this process. A process with threads cannot fork safely: it computes the value itself.
    """

    def __init__(self, what: str, make: Callable[[Given], Made], prepare: Callable[[], object] | None = None) -> None:
        """Fork the child; `what` names the result in errors."""
        self._what, self._make = what, make
        self._child: Any = None
        if not hasattr(os, "fork") or threading.active_count() > 1:
            return
        import multiprocessing

        context = multiprocessing.get_context("fork")
        self._pipe, child_end = context.Pipe()
        parent = os.getpid()

        def work() -> None:
            follow(parent)
            gc.disable()  # it ends soon, and collecting would copy pages shared with the parent
            self._pipe.close()
            with child_end, contextlib.suppress(EOFError):  # the parent ended before it sent a value
                if prepare is not None:
                    prepare()
                child_end.send(make(child_end.recv()))

        self._child = context.Process(target=work)
        self._child.start()
        child_end.close()

    def start(self, value: Given) -> None:
        """Send the value; the child starts to compute."""
        self._value = value
        if self._child is not None:
            with contextlib.suppress(BrokenPipeError):  # `result` reports it
                self._pipe.send(value)

    def result(self) -> Made:
        """Return the result of `make(value)`. Raises RuntimeError if the child failed."""
        if self._child is None:
            return self._make(self._value)
        try:
            result: Made = self._pipe.recv()
        except EOFError:
            self._child.join()  # wait until it has printed its reason
            raise RuntimeError(f"{self._what} could not be created; see the message of its process above") from None
        return result

    def __enter__(self) -> "Forked[Given, Made]":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if self._child is not None:
            self._pipe.close()
            if error is not None:
                self._child.terminate()  # nobody waits for the result
            self._child.join()
