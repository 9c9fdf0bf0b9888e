"""The child process that tries a user's metric file. `foreign` starts it and reads its state."""

import contextlib
import json
import math
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from compress.analysis import metrics
from compress.analysis.metrics.foreign import described
from compress.base.config import InputError

UNUSED = ("transformers", "scipy.stats")
"""Imports of `evaluate` that only its evaluators need: two thirds of the child's startup."""


def main(arguments: Sequence[str]) -> None:
    """Import a metric, compute it of the examples in `request.json`, and write the answer to `state.json`."""
    folder = Path(arguments[0])
    request = json.loads((folder / "request.json").read_text())
    metric, (import_s, made_s, split_s) = request["metric"], request["limits_s"]
    examples = json.loads(request["examples"])
    sys.path[:] = request["path"]
    sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - closing the real one would end this process
    _import_evaluate()
    answer = ""
    try:
        _enter(folder, f"metric {metric}: cannot be imported: ", import_s)
        metrics.module_of(metric)
        _enter(folder, f"metric {metric}: ", made_s)
        metrics.trial(metric, examples["sample"])
        if examples["count"]:
            _enter(folder, f"metric {metric}: on {examples['count']} examples, as in the test split: ", split_s)
            metrics.try_split(metric, **examples)
    except InputError as error:
        answer = str(error)
    except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt too: no terminal interrupts this process
        answer = f"metric {metric}: {described(error)}"
    _write(folder, {"answer": answer})
    sys.stderr.flush()
    os._exit(0)  # without waiting for threads that the metric started


def _enter(folder: Path, place: str, limit_s: float) -> None:
    """Record the next stage, and limit its processor time: the system ends this process beyond it."""
    _write(folder, {"place": place, "limit_s": limit_s})
    with contextlib.suppress(ImportError):  # Windows has no such limit
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = math.ceil(used.ru_utime + used.ru_stime + limit_s)
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _write(folder: Path, state: dict[str, Any]) -> None:
    (folder / "state.json").write_text(json.dumps(state))


def _import_evaluate() -> None:
    """Import `evaluate` without the libraries that metrics do not need from it. A metric can still import them."""
    import_module("datasets")
    absent = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: as if it were not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_module("evaluate")
    finally:
        for name in absent:
            del sys.modules[name]
