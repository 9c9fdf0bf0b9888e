"""The measuring process: started fresh, ended when the process that waits for it ends; on a CPU, a thread a core."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def threads() -> int:
    """CPU threads a model gets: the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pinned(device: str) -> dict[str, str]:
    """OpenMP settings while measuring: one thread per core. Two on one core wait for each other, ten times as long.

    None where a GPU computes: this process and all it starts (compilers, the meter's thread) would share one core.
    """
    if device.startswith("cuda") or not hasattr(os, "sched_getaffinity"):
        return {}
    places = ",".join(f"{{{core}}}" for core in sorted(os.sched_getaffinity(0)))
    return {"OMP_PROC_BIND": "close", "OMP_PLACES": places}


def end_with_parent() -> None:
    """Ends this process once its standard input closes: the parent is gone, and nobody waits for the figures."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be held at exit
            pass
        os._exit(3)

    threading.Thread(target=wait, name="compress-parent", daemon=True).start()


@contextmanager
def _forwarding_interrupts(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Ends the child when this process is interrupted, so that nothing keeps running behind the user's back."""
    try:
        yield
    except BaseException:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
        raise


def run_child(command: Sequence[str], device: str) -> None:
    """Runs a child that measures `device` to its end; it ends by itself when this process is killed.

    Raises RuntimeError when it fails.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")} | pinned(device)
    own = str(Path(__file__).parents[1])  # the package that runs now, also when it is not installed
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (own, environment.get("PYTHONPATH"))))
    child = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)  # the pipe closes when we are gone
    with child, _forwarding_interrupts(child):
        code = child.wait()
    if code != 0:
        raise RuntimeError(f"the measuring process ended with {code}; its messages are above")
