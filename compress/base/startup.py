"""What a process of our own (the command line, the measuring process) sets up before it imports anything large.

The package imports this module first: until then Ctrl-C is Python's own, with a traceback. It imports next to nothing.
"""

import atexit
import gc
import os
import signal
import sys

CODES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
"""Signals that ask for an end -> the line that says so."""


def is_command() -> bool:
    """Whether this process is the command line: `python -m compress` that still imports the package, or the script."""
    name = getattr(sys, "argv", [""])[0]  # there is none where Python is embedded
    if name == "-m":
        return "compress" in sys.orig_argv or "-mcompress" in sys.orig_argv
    return bool(name) and name == f"{sys.executable.rpartition(os.sep)[0]}{os.sep}compress"


def end_at_once() -> None:
    """Has Ctrl-C and termination end this process with their code and a line: there is nothing to clean up yet."""
    for number in CODES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, _frame: object) -> None:
    try:
        os.write(2, f"{CODES[signal.Signals(number)]}\n".encode())
    finally:  # nobody may read it
        os._exit(128 + number)


def seldom_collect() -> None:
    """Has Python look for reference cycles after 50,000 new objects instead of 700, and not at all when it ends.

    Importing torch and transformers makes millions of objects that stay: looking through them over and over takes a
    sixth of a start, and taking them apart one by one over a second of every end. Never called in a user's process.
    """
    gc.set_threshold(50_000, 50, 100)
    atexit.register(gc.freeze)
