"""Setup of the package's own processes (command line, measuring process) before they import anything large.

The package imports this module first: until then Ctrl-C prints Python's traceback. It imports next to nothing.
"""

import atexit
import gc
import os
import signal
import sys

CODES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
"""Signals that end a process -> the line that reports them."""


def is_command() -> bool:
    """Return whether this process is the command line: `python -m compress` during its imports, or the script."""
    name = getattr(sys, "argv", [""])[0]  # embedded Python has no sys.argv
    if name == "-m":
        return "compress" in sys.orig_argv or "-mcompress" in sys.orig_argv
    return bool(name) and name == f"{sys.executable.rpartition(os.sep)[0]}{os.sep}compress"


def end_at_once() -> None:
    """Make Ctrl-C and termination end this process with their code and one line: there is nothing to clean up yet."""
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _frame: object) -> None:
    try:
        os.write(2, f"{CODES[signal.Signals(number)]}\n".encode())
    finally:  # standard error may be closed
        os._exit(128 + number)


def seldom_collect() -> None:
    """Make Python collect garbage after 50,000 new objects instead of 700, and not at all at exit.

    Importing torch and transformers creates millions of permanent objects. Collecting over them takes a sixth of the
    start-up time, and freeing them one by one over a second at exit. Never called in a user's process.
    """
    gc.set_threshold(50_000, 50, 100)
    atexit.register(gc.freeze)
