"""Code of a user's metric file: it can neither end this process, nor hang it, nor write into its output.

    this process --- request.json --> child: imports the file, computes it of made examples
    this process <-- state.json ----- child

The child tries the file first: code that loops, waits, crashes or ends its process reaches no further. The child has a
limit of processor time, and this process waits `WAIT_S` at most. This process sets no signal and no timer: it works in
any thread and beside the threads of any library. What the child could do, this process does without a limit.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from subprocess import DEVNULL, TimeoutExpired
from typing import Any

from compress.base.config import InputError
from compress.base.files import passing
from compress.base.processes import started

IMPORT_S = 60.0
MADE_S = 10.0
"""Seconds of processor time for importing a metric, and for computing it of a few made examples."""
WAIT_S = 300.0
"""Seconds for both together: code that waits takes no processor time."""
CHILD = "compress.analysis.metrics.child"


@contextlib.contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turns whatever the code inside raises, SystemExit included, into an InputError; its prints go to standard error.

    A Ctrl-C of the user's is passed on.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (InputError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise InputError(f"{what}: ends the program (SystemExit: {error.code}); expected a value") from None
    except BaseException as error:  # whatever a file of the user's raises
        raise InputError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}") from error


@lru_cache(maxsize=32)
def problem(metric: str, content: str, sample: str) -> str:
    """Return why a metric file cannot be used for a task, found by a child; empty if it can.

    `content`: the digest of the file, so that an edited one is tried again. `sample`: made outcomes of the task, JSON.
    """
    with passing("metric") as folder:
        request = {"metric": metric, "sample": sample, "path": [*map(str, sys.path)], "limits_s": [IMPORT_S, MADE_S]}
        (folder / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", CHILD, str(folder)]
        try:  # what it leaves in its temporary folder goes with ours
            with started(command, {**os.environ, "TMPDIR": str(folder)}, stdout=DEVNULL) as child:
                code = child.wait(WAIT_S)
        except TimeoutExpired:
            return f"{_state(folder, metric)['place']}took over {WAIT_S:g} s; does it wait for something?"
        state = _state(folder, metric)
    if "answer" in state:
        return str(state["answer"])
    if code == -getattr(signal, "SIGXCPU", 0):
        return f"{state['place']}took over {state['limit_s']:g} s of processor time; does it loop?"
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return f"{state['place']}ends the program ({how}); expected a value"


def _state(folder: Path, metric: str) -> dict[str, Any]:
    """Return how far a child came."""
    file = folder / "state.json"
    return dict(json.loads(file.read_text())) if file.exists() else {"place": f"metric {metric}: ", "limit_s": 0.0}
