"""Isolation of a user's metric file: its code can neither end this process, nor hang it, nor write into its output.

    this process --- request.json --> child: imports the file, computes it of synthetic examples and of the real labels
    this process <-- state.json ----- child

The child tries the file first. Code that loops, waits, crashes or exits affects only the child, which has a limit of
processor time. This process waits at most `WAIT_S`. It sets no signal and no timer, so it works in any thread and with
any library's threads. Code that passed in the child runs here without a limit: a file that exits or loops only on the
answers of a real model, or on some resamples, still ends or hangs the run.
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
"""Seconds of processor time for importing a metric, and for computing it of a few synthetic examples."""
SPLIT_S = 240.0
"""Seconds of processor time for computing a metric three times of as many examples as the test split has."""
WAIT_S = 300.0
"""Wall-clock seconds for all of it, because waiting takes no processor time."""
LONGEST = 200
"""Longest text of an exception or a value in an error, in characters."""
CHILD = "compress.analysis.metrics.child"


@contextlib.contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn every exception of the code inside, SystemExit included, into an InputError.

    Its standard output goes to standard error. KeyboardInterrupt is passed on.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except (InputError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise InputError(f"{what}: ends the program (SystemExit: {error.code}); expected a value") from None
    except BaseException as error:  # a user's file can raise anything
        raise InputError(f"{what}: {described(error)}") from error


def described(error: BaseException) -> str:
    """Return type and text of an exception in one line, even if computing its text fails."""
    try:
        text = " ".join(str(error).split())
    except BaseException as second:  # noqa: BLE001 - a user's class can raise anything
        text = f"its text cannot be computed ({type(second).__name__})"
    return f"{type(error).__name__}: {text[:LONGEST]}" if text else type(error).__name__


@lru_cache(maxsize=32)
def problem(metric: str, content: str, examples: str) -> str:
    """Try a metric file in a child process. Return why it cannot be used for a task, or an empty string.

    `content` is the digest of the file, so that an edited file is tried again. `examples` are the arguments `sample`,
    `labels` and `count` of `metrics.trial` and `metrics.try_split`, as JSON.
    """
    with passing("metric") as folder:
        limits_s = [IMPORT_S, MADE_S, SPLIT_S]
        request = {"metric": metric, "examples": examples, "path": [*map(str, sys.path)], "limits_s": limits_s}
        (folder / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", CHILD, str(folder)]
        try:  # its temporary files are deleted with our folder
            with started(command, {**os.environ, "TMPDIR": str(folder)}, stdout=DEVNULL) as child:
                code = child.wait(WAIT_S)
        except TimeoutExpired:
            return f"{_state(folder, metric)['place']}took over {WAIT_S:g} s; does it wait for something?"
        state = _state(folder, metric)
    if "answer" in state:
        return str(state["answer"])
    if code == -getattr(signal, "SIGXCPU", 0):
        return f"{state['place']}took over {state['limit_s']:g} s of processor time; does it loop?"
    ending = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return f"{state['place']}ends the program ({ending}); expected a value"


def _state(folder: Path, metric: str) -> dict[str, Any]:
    """Return the last state that a child recorded, or a default if it recorded none."""
    file = folder / "state.json"
    return dict(json.loads(file.read_text())) if file.exists() else {"place": f"metric {metric}: ", "limit_s": 0.0}
