"""A child that does not listen: it has started others, and sits in a call that lets no other thread of Python run."""

import ctypes
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

SECONDS = 60


def main(arguments: Sequence[str]) -> None:
    """Records this process, a fork and a started process in a file; then sits, unless told to end."""
    started = subprocess.Popen(["sleep", str(SECONDS)])
    fork = os.fork()
    if fork == 0:
        time.sleep(SECONDS)
        os._exit(0)
    place = Path(arguments[0])
    place.with_suffix(".part").write_text(f"{os.getpid()} {started.pid} {fork}")
    place.with_suffix(".part").rename(place)
    if arguments[1:] != ["end"]:
        ctypes.PyDLL(None).sleep(SECONDS)  # keeps the interpreter's lock
