"""Code of a user's metric file, run so that it can neither end this process, nor hang it, nor write into its output."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from compress.base.config import InputError

IMPORT_S = 60
MADE_S = 10
"""Seconds of processor time for importing a metric, and for computing it of a few made examples."""


class _TooLong(BaseException):
    """Raised inside code that has used its time; BaseException, so that its own `except Exception` lets it pass."""


@contextlib.contextmanager
def guarded(what: str, limit_s: float | None = None) -> Iterator[None]:
    """Turns whatever the code inside raises, SystemExit included, into an InputError; its prints go to standard error.

    A Ctrl-C of the user's is passed on. `limit_s` is of processor time; None lets it take as long as it needs.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr), _limited(limit_s):
            yield
    except (InputError, KeyboardInterrupt):
        raise
    except _TooLong:
        raise InputError(f"{what}: took over {limit_s:g} s of processor time; does it loop?") from None
    except SystemExit as error:
        raise InputError(f"{what}: ends the program (SystemExit: {error.code}); expected a value") from None
    except BaseException as error:  # whatever a file of the user's raises
        raise InputError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}") from error


@contextlib.contextmanager
def _limited(limit_s: float | None) -> Iterator[None]:
    """Raises _TooLong after so much processor time, in the main thread: only there are signals handled."""
    if limit_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_: int, __: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        # one that is still on its way would end the process under the default handler
        signal.signal(signal.SIGPROF, signal.SIG_IGN if before is signal.SIG_DFL else before)
