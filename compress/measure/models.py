"""The models of a session, loaded from artifacts and references: all at once, or one at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.base import memory
from compress.base.config import InputError
from compress.base.device import CPU, Device
from compress.data import loading
from compress.data.natural import natural
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.measure.job import Job, Spec
from compress.records.session import Memory, RunnerPoint, Shape

TIMING_BATCHES = 8  # different real texts in turn, so that caches do not hold a single batch
ROOM = 0.9  # of the free memory; batches, caches and fragmentation take the rest


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model, ready to run."""

    spec: Spec
    model: Any
    processor: Any


def open_model(spec: Spec, job: Job) -> LoadedModel:
    """Load a model from its artifact, or the workload's own model at the reference's precision."""
    import torch

    from compress.base.devices import torch_device
    from compress.model import artifact, runtimes

    first = CPU if job.device.several else job.device  # one of several GPUs may be too small for the model
    if spec.low_bit and job.device.several:
        raise InputError("a model of 8 bits or fewer is measured on one GPU; use --device cuda:0")
    if spec.path is None:
        half = {"fp16": torch.float16, "bf16": torch.bfloat16}
        dtype = half.get(spec.dtype, torch.float32)  # for a low-bit model: of its floating-point parts
        model, processor = loading.load_model(job.source, torch_device(first), dtype)
        model = runtimes.prepare(_placed(model, job), spec.runtime, padded_to=spec.padded_to, kv_cache=spec.kv_cache)
        return LoadedModel(spec, model, processor)
    trusted = job.workload.trust_remote_code
    model, processor, manifest = artifact.load(Path(spec.path), device=first, trust_remote_code=trusted)
    return LoadedModel(spec, runtimes.runnable_artifact(_placed(model, job), spec.runtime, manifest), processor)


def _placed(model: Any, job: Job) -> Any:
    """Return the model on the devices it is measured on: as loaded, or divided among several GPUs."""
    from compress.base.devices import spread, torch_devices

    return spread(model, torch_devices(job.device)) if job.device.several else model


def timing_batches(job: Job, runner: LoadedModel, point: OperatingPoint, count: int) -> list[dict[str, Any]]:
    """Return `count` batches of exactly the point's shape, on the device, made of the test split."""
    from compress.base.devices import torch_device

    limit = max(256, 4 * point.batch_size)
    examples = loading.load_examples(job.source, "test", runner.processor, runner.model.config, limit=limit)
    batches = task_of(job.workload.task).fixed(examples, runner.processor, point, count, job.seed)
    device = torch_device(job.device)
    return [{key: value.to(device) for key, value in batch.items()} for batch in batches]


def load_of(job: Job, runner: LoadedModel, point: OperatingPoint) -> tuple[Sequence[dict[str, Any]], RunnerPoint]:
    """Return the batches that windows run at a point, on the device, and a record of the point without windows."""
    from compress.base.devices import torch_device
    from compress.measure.attempts import shape
    from compress.measure.latency import Pass

    if point.natural is None:
        if not point.generates:
            return timing_batches(job, runner, point, TIMING_BATCHES), RunnerPoint(shape(point))
        if point.stop:  # how soon a text ends depends on its prompt
            return Pass(timing_batches(job, runner, point, TIMING_BATCHES)), RunnerPoint(shape(point))
        (prompt,) = timing_batches(job, runner, point, 1)
        steps = Pass([prompt] * (point.new_tokens or 1) if point.phase == "decode" else [prompt])
        return steps, RunnerPoint(shape(point))
    examples = split_examples(job, runner)
    task, device = task_of(job.workload.task), torch_device(job.device)
    batches, size, texts = natural(task.rows(examples), task, runner.processor, point.batch_size, point.natural)
    moved = Pass({key: value.to(device) for key, value in batch.items()} for batch in batches)
    return moved, RunnerPoint(Shape(size, None, natural=point.natural), texts=texts)


def end_tokens(job: Job, spec: Spec) -> tuple[int, ...]:
    """Return the ids of end tokens, by generation_config.json or else config.json.

    All runners have those of the workload's model, but for one with a vocabulary of its own.
    """
    from transformers import AutoConfig, GenerationConfig

    options = loading.options_of(job.source)
    folder = spec.path if spec.own_vocabulary and spec.path is not None else job.source.model
    options = {name: value for name, value in options.items() if folder == job.source.model or name != "revision"}
    try:
        end = GenerationConfig.from_pretrained(folder, **options).eos_token_id
    except OSError:  # a model without generation_config.json
        end = None
    if end is None:
        end = AutoConfig.from_pretrained(folder, **options).get_text_config().eos_token_id
    return (end,) if isinstance(end, int) else tuple(end or ())


def split_examples(job: Job, runner: LoadedModel) -> Any:
    """Return the examples that are evaluated: those of the test split, up to the limit, in the model's own tokens."""
    dense = loading.load_processor(job.source) if runner.spec.own_vocabulary else None
    config = runner.model.config
    return loading.load_examples(job.source, "test", runner.processor, config, limit=job.limit, dense=dense)


class Shelf:
    """Loaded models of a session. If they do not fit together, loading one frees the one before it."""

    def __init__(self, job: Job, together: bool):
        self.together = together
        self._job = job
        self._loaded: dict[str, LoadedModel] = {}

    def take(self, spec: Spec) -> LoadedModel:
        """Return the model of a spec, loading it if needed."""
        if spec.name not in self._loaded:
            if not self.together:
                self.put_away(list(self._loaded))
            self._loaded[spec.name] = open_model(spec, self._job)
        return self._loaded[spec.name]

    def put_away(self, names: Iterable[str]) -> None:
        """Free the memory of these models."""
        from compress.base.devices import release_memory

        gone = [name for name in names if self._loaded.pop(name, None) is not None]
        if gone:  # collecting takes a tenth of a second, in every round
            release_memory()


def in_turn_reason(job: Job, memory: Mapping[str, Memory]) -> str | None:
    """Return why the models are loaded again in every round, or None if all stay loaded."""
    if job.settings.residency == "in_turn":
        return "each model was loaded again in every round, as measure.residency asks"
    if job.settings.residency == "together":
        return None
    needed, free = _needed_bytes(memory), free_bytes(job.device)
    if needed is None or free is None or needed <= ROOM * free:
        return None
    return (
        f"the models together need {needed / 1e9:.1f} GB of the {free / 1e9:.1f} GB that are free, "
        "so each was loaded again in every round"
    )


def _needed_bytes(memory: Mapping[str, Memory]) -> int | None:
    """Return the bytes of all models plus the largest batch of any of them; None if none could be measured."""
    pairs = ((m.memory_bytes, m.peak_memory_bytes) for m in memory.values())
    measured = [(loaded, peak) for loaded, peak in pairs if loaded is not None and peak is not None]
    if not measured:
        return None
    return sum(loaded for loaded, _ in measured) + max(0, *(peak - loaded for loaded, peak in measured))


def free_bytes(device: Device) -> int | None:
    """Return the bytes free on the device now, summed over several GPUs; None if the system does not report them."""
    if device.on_gpu:
        import torch

        from compress.base.devices import torch_devices

        return sum(int(torch.cuda.mem_get_info(board)[0]) for board in torch_devices(device))
    return memory.free_bytes()
