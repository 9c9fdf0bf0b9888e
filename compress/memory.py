"""Memory of each artifact, from a child process of its own: load, one batch, peak above the empty process.

The session's process imports the libraries and forks one child per runner before anything has run in it, so that every
child starts from the same empty process. Linux only; elsewhere None and a reason.

On a GPU torch counts what each process takes, so as many as fit are measured side by side; what is compiled is then
compiled side by side too, and found in the compiler's cache by the session.
"""

import json
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from compress.formats import GRAPH_RUNTIMES
from compress.job import Job, Spec

REASON = "memory is read from /proc, which this system does not have"
UNSEEN = "onnxruntime takes a GPU's memory by itself, where torch does not count it"
SIDE_BY_SIDE = 8
CONTEXT_BYTES = 1 << 30  # of CUDA itself, in each process


def measure_memory(job: Job) -> dict[str, dict[str, Any]]:
    """Per runner name: {memory_bytes, peak_memory_bytes} or {reason}. To be called before any thread is started."""
    if not Path("/proc/self/clear_refs").exists() or not hasattr(os, "fork"):
        return {}
    _import_libraries(job)
    on_gpu = job.device.startswith("cuda")
    unseen = {s.name: {"reason": UNSEEN} for s in job.runners if on_gpu and s.runtime in GRAPH_RUNTIMES}
    waiting = [spec for spec in job.runners if spec.name not in unseen]
    found: dict[str, dict[str, Any]] = {}
    together = 1
    while waiting:
        group, waiting = waiting[:together], waiting[together:]
        answers = [_ended(*child) for child in [_forked(spec, job) for spec in group]]
        found |= {spec.name: answer for spec, answer in zip(group, answers, strict=True)}
        if on_gpu:
            together = min(map(_fitting, answers))
    return {**unseen, **{name: _without_free(answer) for name, answer in found.items()}}


def _fitting(answer: Mapping[str, Any]) -> int:
    """How many such models have room on the device at once, at most `SIDE_BY_SIDE`; one where nothing is known."""
    free, peak = answer.get("free_bytes"), answer.get("peak_memory_bytes")
    return 1 if free is None or not peak else max(1, min(SIDE_BY_SIDE, int(free / (2 * peak + CONTEXT_BYTES))))


def _without_free(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "free_bytes"}


def _import_libraries(job: Job) -> None:
    """Imports what the children need, so that libraries do not count and are loaded once."""
    import datasets  # noqa: F401
    import transformers

    from compress import artifact, runtimes, skeleton  # noqa: F401

    if not job.device.startswith("cuda"):
        for library in {spec.runtime for spec in job.runners} & GRAPH_RUNTIMES:
            import_module(library)
    trusted = job.workload.trust_remote_code
    try:
        config = transformers.AutoConfig.from_pretrained(job.source.model, trust_remote_code=trusted)
        skeleton.empty_model(config, job.workload.task, trusted)  # imports the architecture; takes no memory
    except (OSError, ValueError):
        return  # what is wrong with a model is said where it is loaded


def _status_bytes(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def _one(spec: Spec, job: Job) -> dict[str, Any]:
    """Figures of one runner, in this process, which is used up by it."""
    import torch

    from compress.runners import open_runner, timing_batches

    on_gpu = job.device.startswith("cuda")
    before = _status_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the high-water mark
    runner = open_runner(spec, job)
    batch = timing_batches(job, runner, job.workload.headline_point, 1)[0]
    if on_gpu:
        return _on_gpu(runner, batch, job.devices)
    loaded = _status_bytes("VmRSS") - before
    with torch.no_grad():
        runner.model(**batch)
    peak = _status_bytes("VmHWM") - before
    return {"memory_bytes": max(loaded, 0), "peak_memory_bytes": max(peak, 0)}


def _on_gpu(runner: Any, batch: Mapping[str, Any], devices: Sequence[str]) -> dict[str, Any]:
    """What torch allocated; of loading and of a batch that needs nothing compiled, which takes memory of its own."""
    import torch

    loaded, loading = (sum(map(f, devices)) for f in (torch.cuda.memory_allocated, torch.cuda.max_memory_allocated))
    free = min(torch.cuda.mem_get_info(torch.device(device))[0] for device in devices)
    with torch.no_grad():
        runner.model(**batch)
        for device in devices:
            torch.cuda.reset_peak_memory_stats(device)
        runner.model(**batch)
    running = sum(map(torch.cuda.max_memory_allocated, devices))
    return {"memory_bytes": loaded, "peak_memory_bytes": max(loading, running), "free_bytes": free}


def _forked(spec: Spec, job: Job) -> tuple[int, int]:
    """The same, in a child that is thrown away: its id, and where its answer comes from."""
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
    return child, read_end


def _ended(child: int, read_end: int) -> dict[str, Any]:
    """What a child found out, once it has ended."""
    with os.fdopen(read_end) as reader:
        text = reader.read()
    _, status = os.waitpid(child, 0)
    if not text:
        return {"reason": f"the process that loaded it ended with status {status}"}
    answer = json.loads(text)
    return dict(answer)
