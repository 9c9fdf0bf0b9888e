"""GPU memory of each model, as torch counts it in its own process: after loading, and the peak of one batch.

The processes are started, not forked: CUDA is unusable after a fork once a library has queried the device. As many run
in parallel as fit in memory. They also compile in parallel, and the session finds their output in the compiler's cache.

`python -m compress.measure.memory_gpu JOB NUMBER` writes the figures of one runner next to the job file.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from compress.base.device import CPU
from compress.measure.job import Job, Spec, failure, read_job
from compress.measure.models import free_bytes
from compress.records.session import Memory
from compress.spec.formats import GRAPH_RUNTIMES

UNSEEN = "onnxruntime allocates GPU memory itself, and torch does not count it"
CORES = 2  # for each process, to import, load and compile
CONTEXT_BYTES = 1 << 30  # per process: the CUDA context on the device, and the libraries in host memory


@dataclass(frozen=True)
class Child:
    """Figures from the process of one runner."""

    memory: Memory
    free_bytes: int | None = None
    """Least free memory of any of the devices, once the model was loaded."""


def measure_gpu_memory(job: Job, path: Path) -> dict[str, Memory]:
    """Return the memory by runner name. `path`: the job's file."""
    memory = {spec.name: Memory(reason=UNSEEN) for spec in job.runners if spec.runtime in GRAPH_RUNTIMES}
    measured = [(number, spec) for number, spec in enumerate(job.runners) if not spec.accuracy_only]
    waiting = [(number, spec.name) for number, spec in measured if spec.name not in memory]
    together = 1
    while waiting:
        group, waiting = waiting[:together], waiting[together:]
        share = max(1, job.threads // len(group))
        children = [_wait_child(*child) for child in [_start_child(path, number, share) for number, _ in group]]
        memory |= {name: child.memory for (_, name), child in zip(group, children, strict=True)}
        together = min(_parallel_count(child, job.threads // CORES) for child in children)
    return memory


def _parallel_count(child: Child, most: int) -> int:
    """Return how many such models fit at once in device and host memory, at most `most`; 1 if unknown."""
    peak, host = child.memory.peak_memory_bytes, free_bytes(CPU)
    if child.free_bytes is None or peak is None or host is None:
        return 1
    return max(1, min(most, min(child.free_bytes, host) // (2 * peak + CONTEXT_BYTES)))


def _start_child(path: Path, number: int, cores: int) -> tuple["subprocess.Popen[bytes]", Path]:
    """Start the process of one runner, with `cores` compiler threads; return it and the path of its figures."""
    command = [sys.executable, "-m", "compress.measure.memory_gpu", str(path), str(number)]
    environment = {"TORCHINDUCTOR_COMPILE_THREADS": str(cores), **os.environ}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment), _figures_path(path, number)


def _wait_child(child: "subprocess.Popen[bytes]", path: Path) -> Child:
    """Wait for a child to end and return its figures."""
    with child:
        code = child.wait()
    if not path.exists():
        return Child(Memory(reason=f"the process that loaded it ended with {code}"))
    plain = json.loads(path.read_text())
    return Child(Memory(**plain["memory"]), plain["free_bytes"])


def _figures_path(path: Path, number: int) -> Path:
    return path.with_name(f"memory-{number}.json")


def _measure_here(spec: Spec, job: Job) -> Child:
    """Measure one runner. Its first batch is not counted, since compilation takes memory too."""
    import torch

    from compress.base.devices import torch_devices
    from compress.measure.decode import called
    from compress.measure.models import open_model, timing_batches

    runner = open_model(spec, job)
    batch = timing_batches(job, runner, job.workload.headline_point, 1)[0]
    boards = torch_devices(job.device)
    loaded = sum(map(torch.cuda.memory_allocated, boards))
    loading = sum(map(torch.cuda.max_memory_allocated, boards))
    free = min(torch.cuda.mem_get_info(board)[0] for board in boards)
    with torch.no_grad():
        run = called(runner.model, job.workload.headline_point, batch)
        run(**batch)
        for board in boards:
            torch.cuda.reset_peak_memory_stats(board)
        run(**batch)
    running = sum(map(torch.cuda.max_memory_allocated, boards))
    return Child(Memory(loaded, max(loading, running)), free)


def main(arguments: Sequence[str]) -> None:
    """Write the figures of one runner of a job, or the reason why there are none."""
    from compress.base.quiet import quiet_libraries, quiet_transformers

    quiet_libraries()
    quiet_transformers()
    path, number = Path(arguments[0]), int(arguments[1])
    job = read_job(path)
    try:
        child = _measure_here(job.runners[number], job)
    except Exception as error:  # noqa: BLE001  whatever fails becomes the reason of this one figure
        child = Child(Memory(reason=failure(error)))
    _figures_path(path, number).write_text(json.dumps(asdict(child)))


if __name__ == "__main__":
    main(sys.argv[1:])
