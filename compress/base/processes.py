"""Child processes that end, with all their descendants, when the process that waits for them ends.

    parent  --- standard input, which closes with the parent --->  child  --- a pipe, which closes with the child --->
       guard: waits for either to close, then kills the group of the child: forks, compilers and their children

The guard does nothing else, so that no long call and no import delays it; it uses no CPU time.
"""

import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from compress.base.cgroup import quota_cores
from compress.base.device import Device
from compress.base.interrupts import CLOSED
from compress.base.startup import seldom_collect

LOOK_S = 0.25
"""Interval at which a forked process checks that its parent is alive."""


def threads() -> int:
    """Return the number of CPU threads for a model: the usable cores, at most the control group's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = quota_cores()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def pinned(device: Device) -> dict[str, str]:
    """Return the OpenMP settings while measuring: one thread per core.

    Two threads on one core wait for each other, which takes ten times as long. No settings if a GPU computes: this
    process and all its children (compilers, the meter's thread) would share one core.
    """
    if device.on_gpu or not hasattr(os, "sched_getaffinity"):
        return {}
    places = ",".join(f"{{{core}}}" for core in sorted(os.sched_getaffinity(0)))
    return {"OMP_PROC_BIND": "close", "OMP_PLACES": places}


def limited() -> dict[str, str]:
    """Return OpenMP's number of threads under a quota; OpenMP does not read quotas itself."""
    return {} if quota_cores() is None else {"OMP_NUM_THREADS": str(threads())}


def end_with_parent() -> None:
    """End this process and its descendants once its standard input closes, which means that the parent has ended.

    Call it before the first thread is started: it forks the guard.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    reader, writer = os.pipe()  # the writing end stays open as long as this process
    if os.fork() != 0:
        os.close(reader)
        return
    os.close(writer)
    with suppress(OSError):
        select.select([0, reader], [], [])
    os.killpg(0, signal.SIGKILL)


def follow(parent: int) -> None:
    """End this forked process soon after its parent has ended: nobody reads its result."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os._exit(3)

    threading.Thread(target=watch, name="compress-parent", daemon=True).start()


@contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a child that runs `python -m MODULE ...`; it ends if this process is killed, and if the block raises."""
    package_root = str(Path(__file__).parents[2])  # so that the child imports this package, even if it is not installed
    path = os.pathsep.join(filter(None, (package_root, environment.get("PYTHONPATH"))))
    python, option, *arguments = command
    guarded_command = [python, option, "compress.base.processes", *arguments]
    # process_group: the child and its descendants are killed together; the pipe closes when this process ends
    child = subprocess.Popen(
        guarded_command, stdin=subprocess.PIPE, stdout=stdout, env={**environment, "PYTHONPATH": path}, process_group=0
    )
    with child:
        try:
            yield child
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            raise


def run_child(command: Sequence[str], device: Device) -> None:
    """Run a child that measures on `device`, and wait for it.

    Raises RuntimeError if it fails.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    environment |= pinned(device) | limited()
    with started(command, environment) as child:
        code = child.wait()
    if code == CLOSED:
        sys.exit(CLOSED)  # nobody reads our output either
    if code != 0:
        raise RuntimeError(f"the measuring process ended with exit code {code}; see its messages above")


def main(arguments: Sequence[str]) -> NoReturn:
    """Run the `main` of a module as a child: `python -m compress.base.processes MODULE ARGUMENTS`."""
    end_with_parent()
    seldom_collect()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # a background group may write to the terminal too
    try:
        import_module(arguments[0]).main(arguments[1:])
    except BrokenPipeError:
        sys.exit(CLOSED)
    except SystemExit as ended:
        sys.exit(CLOSED if isinstance(ended.__context__, BrokenPipeError) else ended.code)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
