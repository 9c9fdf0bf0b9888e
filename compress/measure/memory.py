"""Host memory of each model, measured in its own child process: after loading, and the peak of one batch.

The session's process imports the libraries and forks one child per runner before it runs anything. So every child
starts from the same empty process, whose memory is subtracted. Linux only; elsewhere the figures are None with a
reason. For GPU memory see `compress.measure.memory_gpu`.
"""

import gc
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from compress.data.empty import empty_model
from compress.measure.job import Job, Spec, failure
from compress.records.session import Memory
from compress.spec.formats import GRAPH_RUNTIMES, LIBRARIES

if TYPE_CHECKING:
    import torch

REASON = "memory is read from /proc, which this system does not have"


def measure_memory(job: Job) -> dict[str, Memory]:
    """Return the memory by runner name. Call it before any thread is started, since it forks."""
    if not Path("/proc/self/clear_refs").exists() or not hasattr(os, "fork"):
        return {}
    _import_libraries(job)
    gc.freeze()  # libraries stay: collecting over them takes a tenth of a second, and copies the pages of each child
    return {spec.name: _measure_in_child(spec, job) for spec in job.runners if not spec.accuracy_only}


def _import_libraries(job: Job) -> None:
    """Import what the children need, so that libraries are loaded once and not counted."""
    import datasets  # noqa: F401
    import transformers

    from compress.model import artifact, runtimes, skeleton  # noqa: F401

    for library in {spec.runtime for spec in job.runners} & GRAPH_RUNTIMES:
        import_module(LIBRARIES.get(library, library))
    trusted = job.workload.trust_remote_code
    try:
        config = transformers.AutoConfig.from_pretrained(job.source.model, trust_remote_code=trusted)
        empty_model(config, job.workload.task, trusted)  # imports the architecture; takes no memory
    except (OSError, ValueError):
        return  # loading the model reports the error


def _status_bytes(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _measure_here(spec: Spec, job: Job) -> Memory:
    """Measure one runner in this process, which must not measure another one after it."""
    import torch

    from compress.measure.decode import called
    from compress.measure.models import open_model, timing_batches

    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the high-water mark
    runner = open_model(spec, job)
    batch = timing_batches(job, runner, job.workload.headline_point, 1)[0]
    _touch((*runner.model.parameters(), *runner.model.buffers()))  # runtimes of graphs copy their weights themselves
    loaded = _status_bytes("VmRSS") - before
    with torch.no_grad():
        called(runner.model, job.workload.headline_point, batch)(**batch)
    peak = _status_bytes("VmHWM") - before
    return Memory(max(loaded, 0), max(peak, 0))


def _touch(tensors: "Iterable[torch.Tensor]") -> None:
    """Read a byte of every page of these weights: the pages of a file that was mapped count only after a first use.

    A tensor subclass is read through the plain tensors inside it.
    """
    import torch

    for tensor in tensors:
        if hasattr(tensor, "__tensor_flatten__"):
            names, _ = tensor.__tensor_flatten__()
            _touch(getattr(tensor, name) for name in names)
        elif tensor.device.type == "cpu" and tensor.numel():
            data = torch.empty(0, dtype=torch.uint8).set_(tensor.detach().untyped_storage())
            data[:: os.sysconf("SC_PAGE_SIZE")].max()


def _measure_in_child(spec: Spec, job: Job) -> Memory:
    """Measure one runner in a forked child."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        try:
            memory = _measure_here(spec, job)
        except Exception as error:  # noqa: BLE001  whatever fails becomes the reason of this one figure
            memory = Memory(reason=failure(error))
        with os.fdopen(write_end, "w") as out:
            json.dump(asdict(memory), out)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as reader:
        text = reader.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return Memory(reason=f"the process that loaded it ended with status {status}")
    return Memory(**json.loads(text))
