"""Ctrl-C and termination: a command ends with exit code 128 + signal number, whatever it was doing.

The signal's handler ends the process itself; it raises no exception. An exception would come up in whatever runs at
that moment: C++ code that calls back into Python aborts the process at one, and libraries swallow or replace it.
Nothing is lost: files are written atomically, children end with their parent, and temporary folders are removed here or
by the next run.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from compress.base.files import drop_all
from compress.base.startup import CODES

GO_ON = "; nothing that was finished is lost; run the same command to continue"
CLOSED = 128 + signal.SIGPIPE
"""Exit code of a command whose reader has ended: `... | head`."""
GRACE_S = 1.0
"""Time that Python has to run the handler before the thread of `insist` ends the process: C code may run long."""
HAND_ON_S = 1.0
"""Time that a command has to end by itself after Ctrl-C, which a terminal sends to the command too."""
SHOW_CURSOR = b"\x1b[?25h"


class _State:
    """The signal received first; one state per process."""

    received: int | None = None
    printed = False
    """Whether the line that reports the signal was printed."""
    remark = ""
    """Text added to that line."""
    insisting = False
    """Whether the thread of `insist` runs."""


def run(command: Callable[[], int]) -> NoReturn:
    """Run a command and exit with the code that it returns; a signal ends the process before that."""
    handle()
    try:
        code = _flushed(command())
    except BrokenPipeError:
        code = CLOSED
    if code == CLOSED:
        _discard(1, 2)
    _print_end()
    sys.exit(128 + _State.received if _State.received is not None else code)


def handle() -> None:
    """Make the signals of `CODES` end this process with their code; ignored ones (nohup) stay ignored."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)
    os.register_at_fork(after_in_child=_reset_in_child)


def insist(remark: str = "") -> None:
    """Start the thread that ends this process `GRACE_S` after a signal, even during a call that releases the GIL.

    It is not started earlier because a process with threads cannot fork safely.
    """
    _State.remark = remark or _State.remark
    if _State.insisting or signal.getsignal(signal.SIGTERM) is not _on_signal:
        return
    _State.insisting = True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_late, args=(reader,), name="compress-interrupts", daemon=True).start()


@contextlib.contextmanager
def handed_on(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Forward signals to a child until the block ends: the child decides how it ends, and this process waits for it."""

    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    def hand_on(number: int, _frame: FrameType | None) -> None:
        is_first, _State.received = _State.received is None, number
        delayed = is_first and number == signal.SIGINT
        timer = threading.Timer(HAND_ON_S if delayed else 0, send, (number,))
        timer.daemon = True
        timer.start()

    previous = {number: signal.getsignal(number) for number in CODES}
    handled = [number for number, handler in previous.items() if handler is _on_signal]
    for number in handled:
        signal.signal(number, hand_on)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, previous[number])


def _on_signal(number: int, _frame: FrameType | None) -> None:
    is_first = _State.received is None
    _State.received = _State.received or number
    _end(flush=is_first)


def _reset_in_child() -> None:
    """Let signals end a forked process at once and silently: its parent reports them."""
    for number in CODES:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_DFL)
    if _State.insisting:
        signal.set_wakeup_fd(-1)


def _end_late(reader: int) -> None:
    while (number := os.read(reader, 1)[0]) not in CODES:
        pass
    time.sleep(GRACE_S)
    _State.received = _State.received or number
    _end(flush=False)


def _end(flush: bool) -> NoReturn:
    """End this process at once. A second call, during the first, continues where that may wait for a reader."""
    try:
        if os.isatty(2):
            os.write(2, SHOW_CURSOR)
        _print_end()
        drop_all()
        if flush:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError, RuntimeError):  # closed, or in the middle of a write
                    stream.flush()
    finally:  # an exception would come up in whatever the signal interrupted
        os._exit(128 + (_State.received or signal.SIGTERM))


def _print_end() -> None:
    if _State.received is not None and not _State.printed:
        _State.printed = True
        with contextlib.suppress(OSError):  # nobody reads it
            os.write(2, f"{CODES[signal.Signals(_State.received)]}{_State.remark}\n".encode())


def _flushed(code: int) -> int:
    """Return the code once all output has been written: `CLOSED` or 1 instead of 0 if it could not be."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except BrokenPipeError:
            return CLOSED
        except OSError as error:
            code = code or 1
            _discard(number)
            with contextlib.suppress(OSError):  # standard error may lie on the same full disk
                print(f"error: the output cannot be written ({error.strerror})", file=sys.stderr)
    return code


def _discard(*numbers: int) -> None:
    """Discard the buffered output of these streams: Python would print an error about it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in numbers:
        with contextlib.suppress(OSError):
            os.dup2(null, number)
    os.close(null)
