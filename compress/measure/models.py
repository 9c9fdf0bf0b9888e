"""The models of a session, from artifacts and references: all of them in memory, or one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.data import source
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.measure.job import Job, Spec
from compress.records.session import Memory

ROOM = 0.9  # of what is free; batches, caches and fragments take the rest


@dataclass(frozen=True)
class Runner:
    """A loaded model, ready to run."""

    spec: Spec
    model: Any
    processor: Any


def open_runner(spec: Spec, job: Job) -> Runner:
    """Loads one model from its artifact, or the workload's own in the reference's precision."""
    import torch

    from compress.model import artifact, runtimes

    first = job.devices[0] if len(job.devices) == 1 else "cpu"  # several: no one of them need hold the whole model
    if first == "cpu" and spec.low_bit and len(job.devices) > 1:
        raise InputError("a model of 8 bits or fewer is measured on one GPU; use --device cuda:0")
    if spec.path is None:
        half = {"fp16": torch.float16, "bf16": torch.bfloat16}
        dtype = half.get(spec.dtype, torch.float32)  # also of what a model stored in few bits keeps in floating point
        model, processor = source.load_model(job.source, device=first, dtype=dtype)
        return Runner(spec, runtimes.prepare(_placed(model, job), spec.runtime, padded_to=spec.padded_to), processor)
    trusted = job.workload.trust_remote_code
    model, processor, manifest = artifact.load(Path(spec.path), device=first, trust_remote_code=trusted)
    return Runner(spec, runtimes.prepared(_placed(model, job), spec.runtime, manifest), processor)


def _placed(model: Any, job: Job) -> Any:
    """The model where it is measured: as it was loaded, or divided among several GPUs."""
    from compress.base.devices import pick_all, spread

    return spread(model, pick_all(job.device)) if len(job.devices) > 1 else model


def timing_batches(job: Job, runner: Runner, point: OperatingPoint, count: int) -> list[dict[str, Any]]:
    """`count` batches of exactly the point's shape, on the device, made of the test split's own data."""
    limit = max(256, 4 * point.batch_size)
    examples = source.load_examples(job.source, "test", runner.processor, runner.model.config, limit=limit)
    batches = task_of(job.workload.task).fixed(examples, runner.processor, point, count, job.seed)
    return [{key: value.to(job.devices[0]) for key, value in batch.items()} for batch in batches]


class Shelf:
    """Hands out models; where they do not fit together, loading one puts the one before it away."""

    def __init__(self, job: Job, together: bool):
        self.together = together
        self._job = job
        self._loaded: dict[str, Runner] = {}

    def take(self, spec: Spec) -> Runner:
        """The model of this spec, loaded now if it is not."""
        if spec.name not in self._loaded:
            if not self.together:
                self.put_away(list(self._loaded))
            self._loaded[spec.name] = open_runner(spec, self._job)
        return self._loaded[spec.name]

    def put_away(self, names: Iterable[str]) -> None:
        """Frees the memory of these models."""
        from compress.base.devices import release_memory

        for name in names:
            self._loaded.pop(name, None)
        release_memory()


def crowded(job: Job, memory: Mapping[str, Memory]) -> str | None:
    """Why the models are loaded in turn inside every round, or None where they stay loaded together."""
    if job.settings.residency == "in_turn":
        return "each model was loaded again in every round, as measure.residency asks"
    if job.settings.residency == "together":
        return None
    needed, free = _needed_bytes(memory), free_bytes(job.devices)
    if needed is None or free is None or needed <= ROOM * free:
        return None
    return (
        f"the models together need {needed / 1e9:.1f} GB of the {free / 1e9:.1f} GB that are free, "
        "so each was loaded again in every round"
    )


def _needed_bytes(memory: Mapping[str, Memory]) -> int | None:
    """All models loaded and the largest batch among them running; None where none could be measured."""
    pairs = ((m.memory_bytes, m.peak_memory_bytes) for m in memory.values())
    known = [(loaded, peak) for loaded, peak in pairs if loaded is not None and peak is not None]
    if not known:
        return None
    return sum(loaded for loaded, _ in known) + max(0, *(peak - loaded for loaded, peak in known))


def free_bytes(devices: Sequence[str]) -> int | None:
    """Memory that is free on the devices now; None where the system does not tell."""
    if devices[0].startswith("cuda"):
        import torch

        return sum(int(torch.cuda.mem_get_info(torch.device(device))[0]) for device in devices)
    info = Path("/proc/meminfo")
    if not info.is_file():
        return None
    for line in info.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
