"""Ctrl-C and termination: a command ends with 128 + the signal's number, whatever it was doing.

The first signal raises `Interrupted`, so that every block is left in order. Libraries swallow exceptions that pass
through their callbacks, or turn them into others, and a long call into C returns late: after `GRACE_S` seconds, or at
the second signal, the process ends at once. Nothing is lost by that: files are whole at every moment, children end
with their parent, and the next run sweeps what is left.
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

GO_ON = "; finished results and artifacts are whole, run the same command to go on"
CLOSED = 128 + signal.SIGPIPE
"""The code of a command whose reader has gone: `... | head`."""
GRACE_S = 5.0
AGAIN_S = 0.02
HAND_ON_S = 1.0
"""How long a command has to end by itself after Ctrl-C: a terminal sends it to the command as well."""
SHOW_CURSOR = b"\x1b[?25h"


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end."""


class _State:
    """What has come so far, once in a process."""

    received: int | None = None
    swallowed = False
    """Whether `Interrupted` was raised in a callback whose exceptions Python ignores."""
    remark = ""
    """What to add to the line that says why this process ended."""
    pipe: int | None = None
    """Where the system writes the numbers of signals, once a thread reads them."""


def run(command: Callable[[], int]) -> NoReturn:
    """Ends this process with the code that a command returns, or with that of the signal that ended it."""
    handle()
    try:
        code = _flushed(command())
    except BrokenPipeError:
        code = CLOSED
    except BaseException:
        if _State.received is None:
            raise
        code = 0
    if code == CLOSED:
        _discard(1, 2)
    _say_end()
    sys.exit(128 + _State.received if _State.received is not None else code)


def handle() -> None:
    """Has signals that ask for an end raise `Interrupted`; one that is ignored (nohup, a background job) stays so."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)
    os.register_at_fork(after_in_child=_forget)
    sys.unraisablehook = _unraisable


def insist(remark: str = "") -> None:
    """Starts the thread that ends this process `GRACE_S` after a signal, also within a call that lets threads run.

    It is not there from the start because a process with threads cannot fork safely.
    """
    _State.remark = remark or _State.remark
    if _State.pipe is not None or signal.getsignal(signal.SIGTERM) is not _on_signal:
        return
    reader, _State.pipe = os.pipe()
    os.set_blocking(_State.pipe, False)
    signal.set_wakeup_fd(_State.pipe, warn_on_full_buffer=False)
    threading.Thread(target=_end_late, args=(reader,), name="compress-interrupts", daemon=True).start()


def raise_again() -> None:
    """Raises `Interrupted` where a library turned it into another exception, which has just been caught."""
    if _State.received is not None:
        raise Interrupted


@contextlib.contextmanager
def handed_on(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Leaves it to a command how it ends: signals go on to it, and this process waits for it and then ends itself."""

    def send(number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(number)

    def hand_on(number: int, _frame: FrameType | None) -> None:
        first, _State.received = _State.received is None, number
        later = first and number == signal.SIGINT
        timer = threading.Timer(HAND_ON_S if later else 0, send, (number,))
        timer.daemon = True
        timer.start()

    before = {number: signal.getsignal(number) for number in CODES}
    handled = [number for number, handler in before.items() if handler is _on_signal]
    for number in handled:
        signal.signal(number, hand_on)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _on_signal(number: int, _frame: FrameType | None) -> None:
    if _State.swallowed:
        _State.swallowed = False
        raise Interrupted
    if _State.received is not None:
        _end()
    _State.received = number
    insist()
    assert _State.pipe is not None
    os.write(_State.pipe, bytes([number]))
    raise Interrupted


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Raises `Interrupted` again, a moment later, where a finalizer or a callback of Python's own met it."""
    if isinstance(found.exc_value, Interrupted) and _State.received is not None:
        _State.swallowed = True
        to = threading.main_thread().ident
        again = threading.Timer(AGAIN_S, signal.pthread_kill, (to, _State.received))
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(found)


def _forget() -> None:
    """Signals end a forked process at once and in silence: its parent says what there is to say."""
    for number in CODES:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_DFL)
    if _State.pipe is not None:
        signal.set_wakeup_fd(-1)


def _end_late(reader: int) -> None:
    while os.read(reader, 1)[0] not in CODES:
        pass
    time.sleep(GRACE_S)
    _end()


def _end() -> NoReturn:
    drop_all()
    if os.isatty(2):
        os.write(2, SHOW_CURSOR)
    _say_end()
    os._exit(128 + (_State.received or signal.SIGTERM))


def _say_end() -> None:
    if _State.received is not None:
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
    """Send the buffered output of these streams nowhere: Python would complain about it at the very end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in numbers:
        with contextlib.suppress(OSError):
            os.dup2(nowhere, number)
    os.close(nowhere)
