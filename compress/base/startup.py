"""What a process of our own (the command line, the measuring process) sets up before it imports anything large."""

import atexit
import gc
import os
import signal


def end_at_once() -> None:
    """Has Ctrl-C and termination end this process with their code: there is nothing to clean up yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda received, _frame: os._exit(128 + received))


def seldom_collect() -> None:
    """Has Python look for reference cycles after 50,000 new objects instead of 700, and not at all when it ends.

    Importing torch and transformers makes millions of objects that stay: looking through them over and over takes a
    sixth of a start, and taking them apart one by one over a second of every end. Never called in a user's process.
    """
    gc.set_threshold(50_000, 50, 100)
    atexit.register(gc.freeze)
