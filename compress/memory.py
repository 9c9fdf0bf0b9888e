"""Memory of each artifact, from a short process of its own: load, one batch, peak above the empty process.

`python -m compress.memory JOB` imports the libraries once and forks one child per runner before anything
has run in it, so that every child starts from the same empty process. Linux only; elsewhere None and a reason.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.quiet import quiet_libraries, quiet_transformers

REASON = "memory is read from /proc, which this system does not have"


def measure_memory(job: Path) -> dict[str, dict[str, Any]]:
    """Per runner name: {memory_bytes, peak_memory_bytes} or {reason}."""
    if not Path("/proc/self/clear_refs").exists() or not hasattr(os, "fork"):
        return {}
    command = [sys.executable, "-m", "compress.memory", str(job)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        return {"": {"reason": f"the memory process ended with {done.returncode}: {done.stderr.strip()[-300:]}"}}
    found: dict[str, dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _status_bytes(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _one(spec: Any, job: Any) -> dict[str, Any]:
    """Figures of one runner, in this process, which is used up by it."""
    import torch

    from compress.session import open_runner, timing_batches

    on_gpu = job.device.startswith("cuda")
    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the high-water mark
    runner = open_runner(spec, job)
    batch = timing_batches(job, runner, job.workload.headline_point, 1)[0]
    loaded = torch.cuda.memory_allocated(job.device) if on_gpu else _status_bytes("VmRSS") - before
    with torch.no_grad():
        runner.model(**batch)
    peak = torch.cuda.max_memory_allocated(job.device) if on_gpu else _status_bytes("VmHWM") - before
    return {"memory_bytes": max(loaded, 0), "peak_memory_bytes": max(peak, 0)}


def _forked(spec: Any, job: Any) -> dict[str, Any]:
    """The same, in a child that is thrown away."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        try:
            answer = _one(spec, job)
        except Exception as error:  # noqa: BLE001  whatever fails becomes the reason of this one figure
            answer = {"reason": f"{type(error).__name__}: {error}"}
        with os.fdopen(write_end, "w") as out:
            json.dump(answer, out)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as reader:
        text = reader.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return {"reason": f"the process that loaded it ended with status {status}"}
    answer = json.loads(text)
    return dict(answer)


def main(arguments: Sequence[str]) -> None:
    """Measures every runner of a job and prints one JSON line."""
    quiet_libraries()
    import torch  # noqa: F401  imported before forking, so that libraries do not count

    from compress import artifact  # noqa: F401
    from compress.job import read_job

    quiet_transformers()
    job = read_job(Path(arguments[0]))
    print(json.dumps({spec.name: _forked(spec, job) for spec in job.runners}))


if __name__ == "__main__":
    main(sys.argv[1:])
