"""A session: several models measured against one another, interleaved in every round, in one fresh process.

`python -m compress.session JOB` knows nothing but saved artifacts and references. The job says which; the answer is one
JSON file of raw figures (per-example outcomes, windows, sizes, operators), from which the harness makes results.
"""

import json
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from compress.energy import Absent, Meter, find_meter
from compress.formats import Runtime
from compress.progress import bar, say
from compress.quiet import quiet_libraries, quiet_transformers
from compress.recipe import Settings
from compress.results import write_atomic
from compress.workloads import OperatingPoint, Workload, source, task_of

EVALUATION_BATCH = 32
SENSITIVITY_BATCHES = (1, 32)
TIMING_BATCHES = 8  # different real texts in turn, so that no cache sees one batch only
IDLE_S = 2.0


@dataclass(frozen=True)
class Spec:
    """One model to be measured: an artifact's folder, or the workload's own model in some precision."""

    name: str
    path: str | None
    dtype: str
    runtime: Runtime
    low_bit: bool
    """Weights are stored in 8 bits or fewer."""
    dynamic_activations: bool
    """Activation scales come from the batch, so answers can depend on it."""
    reference: bool


@dataclass(frozen=True)
class Job:
    """All that a session's process is told."""

    workload: Workload
    source: source.Source
    runners: tuple[Spec, ...]
    settings: Settings
    device: str
    uuid: str | None
    device_name: str
    seed: int
    limit: int | None
    threads: int


@dataclass
class Measured:
    """Raw figures of one runner; `error` is set when it could not be measured."""

    name: str
    error: str | None = None
    outcomes: dict[str, list[float]] = field(default_factory=dict)
    finite: bool = True
    batch_size: int = 0
    order: str = ""
    batch_sensitivity: float | None = None
    parameters: int | None = None
    nonzero: int | None = None
    weight_bytes: int | None = None
    memory: dict[str, Any] = field(default_factory=dict)
    kernel: dict[str, Any] = field(default_factory=dict)
    points: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Runner:
    """A loaded model, ready to run."""

    spec: Spec
    model: Any
    processor: Any


def write_job(path: Path, job: Job) -> None:
    """The job as JSON."""
    plain = {
        "workload": job.workload.model_dump(mode="json"),
        "source": {**asdict(job.source), "workload": None},
        "runners": [asdict(spec) for spec in job.runners],
        "settings": job.settings.model_dump(mode="json"),
        **{key: getattr(job, key) for key in ("device", "uuid", "device_name", "seed", "limit", "threads")},
    }
    write_atomic(path, json.dumps(plain).encode())


def read_job(path: Path) -> Job:
    """The job a file describes."""
    plain = json.loads(path.read_text())
    workload = Workload.model_validate(plain["workload"])
    return Job(
        workload=workload,
        source=source.Source(**{**plain["source"], "workload": workload}),
        runners=tuple(Spec(**spec) for spec in plain["runners"]),
        settings=Settings.model_validate(plain["settings"]),
        **{key: plain[key] for key in ("device", "uuid", "device_name", "seed", "limit", "threads")},
    )


def open_runner(spec: Spec, job: Job) -> Runner:
    """Loads one model from its artifact, or the workload's own in the reference's precision."""
    import torch

    from compress import artifact, runtimes

    if spec.path is None:
        dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[spec.dtype]
        model, processor = source.load_model(job.source, device=job.device, dtype=dtype)
    else:
        trusted = job.workload.trust_remote_code
        model, processor, _ = artifact.load(Path(spec.path), device=job.device, trust_remote_code=trusted)
    return Runner(spec, runtimes.prepare(model, spec.runtime), processor)


def timing_batches(job: Job, runner: Runner, point: OperatingPoint, count: int) -> list[dict[str, Any]]:
    """`count` batches of exactly the point's shape, on the device, made of the test split's own data."""
    limit = max(256, 4 * point.batch_size)
    examples = source.load_examples(job.source, "test", runner.processor, runner.model.config, limit=limit)
    batches = task_of(job.workload.task).fixed(examples, runner.processor, point, count, job.seed)
    return [{key: value.to(job.device) for key, value in batch.items()} for batch in batches]


def run_session(job: Job, memory: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Measures every runner of the job; a runner that fails is reported and left out of the rounds."""
    from compress.measure import latency

    meter = find_meter("cuda" if job.device.startswith("cuda") else "cpu", job.uuid, job.device_name)
    idle_before_w = _idle_w(meter)
    found = {spec.name: Measured(spec.name) for spec in job.runners}
    live: list[Runner] = []
    for spec in job.runners:
        runner = _attempt(found[spec.name], lambda spec=spec: _load_and_evaluate(spec, job, found[spec.name]))
        if runner is not None:
            found[spec.name].memory = memory.get(spec.name, memory.get("", {}))
            live.append(runner)
    idle_w = _idle_w(meter)
    sync = latency.synchronizer(job.device)
    points = [job.workload.headline_point]
    if job.settings.points == "all":
        points += [point for point in job.workload.points if point != points[0]]
    for point in points if live else ():
        live = _measure_point(job, point, live, found, meter, sync)
    return {
        "runners": [asdict(measured) for measured in found.values()],
        "meter": {"absent": meter.reason} if isinstance(meter, Absent) else _meter_facts(meter),
        "idle_w": idle_w,
        "idle_before_w": idle_before_w,
        "finished": time.time(),
    }


def _meter_facts(meter: Meter) -> dict[str, Any]:
    return {
        "source": meter.source,
        "boundary": meter.boundary,
        "measured": meter.measured,
        "why_modelled": getattr(meter, "why", None),
    }


def _idle_w(meter: Meter | Absent) -> float | None:
    """Watts while nothing runs here; None where the meter cannot know."""
    if isinstance(meter, Absent) or not meter.measured:
        return None
    joules, start = meter.read_j(), time.monotonic()
    time.sleep(IDLE_S)
    return (meter.read_j() - joules) / (time.monotonic() - start)


def _attempt(measured: Measured, work: Any) -> Any:
    """What `work` returns; a failure becomes this runner's error, and the others go on."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  the failure of one recipe is a result with `error`
        measured.error = f"{type(error).__name__}: {error}"
        say(f"  {measured.name} failed: {measured.error}")
        if not isinstance(error, ValueError):
            say(traceback.format_exc())
        return None


def _load_and_evaluate(spec: Spec, job: Job, measured: Measured) -> Runner:
    """Loads a runner, evaluates it on the whole test split and profiles one batch."""
    from compress.measure import accuracy, kernels, size

    runner = open_runner(spec, job)
    task = task_of(job.workload.task)
    examples = source.load_examples(job.source, "test", runner.processor, runner.model.config, limit=job.limit)
    batch_size = job.workload.headline_point.batch_size if spec.dynamic_activations else EVALUATION_BATCH

    def evaluate(size: int) -> accuracy.Evaluation:
        return accuracy.evaluate(runner.model, task, examples, runner.processor, job.device, size, spec.name)

    start = time.monotonic()
    evaluation = evaluate(batch_size)
    measured.outcomes = {key: list(values) for key, values in evaluation.outcomes.items()}
    measured.finite, measured.batch_size, measured.order = evaluation.finite, batch_size, evaluation.order
    if spec.dynamic_activations:
        small, large = (evaluate(size) for size in SENSITIVITY_BATCHES)
        measured.batch_sensitivity = accuracy.flips(small, large)
    if spec.path is None:
        measured.parameters, measured.nonzero = size.parameter_counts(runner.model)
        measured.weight_bytes = size.weight_bytes(runner.model)
    batch = timing_batches(job, runner, job.workload.headline_point, 1)[0]
    measured.kernel = asdict(kernels.label(runner.model, batch, job.device, spec.low_bit))
    say(f"  evaluated {spec.name} on {len(examples)} examples in {time.monotonic() - start:.1f} s")
    return runner


def _measure_point(
    job: Job, point: OperatingPoint, live: list[Runner], found: dict[str, Measured], meter: Meter | Absent, sync: Any
) -> list[Runner]:
    """Warm-up, then rounds in which every runner has one pre-roll and one window, in random order."""
    from compress.measure import latency
    from compress.measure.machine import foreign_cpu_s

    settings = job.settings
    batches = timing_batches(job, live[0], point, TIMING_BATCHES)
    steady: dict[str, bool] = {}
    for runner in live:
        cap_s = settings.warmup_s / len(live)
        warm = _attempt(found[runner.spec.name], lambda r=runner, c=cap_s: latency.warm_up(r.model, batches, sync, c))
        if warm is not None:
            steady[runner.spec.name] = warm
    live = [runner for runner in live if runner.spec.name in steady]
    windows: dict[str, list[dict[str, Any]]] = {runner.spec.name: [] for runner in live}
    times: dict[str, list[float]] = {runner.spec.name: [] for runner in live}
    shuffle = random.Random(f"{job.seed}-{point.batch_size}-{point.sequence_length}")
    total_s = settings.rounds * len(live) * (settings.window_s + settings.preroll_s)
    label = f"batch {point.batch_size}" + (f" x {point.sequence_length} tokens" if point.sequence_length else "")
    say(f"  measuring {label}: {settings.rounds} rounds of {len(live)} models, about {total_s:.0f} s")
    foreign, start = foreign_cpu_s(), time.monotonic()
    with bar(f"measuring {label}", settings.rounds * len(live)) as running:
        for index in range(settings.rounds):
            order = shuffle.sample(live, len(live))
            for position, runner in enumerate(order):
                latency.run_for(runner.model, batches, settings.preroll_s, sync)
                window = latency.measure_window(runner.model, batches, settings.window_s, sync, meter)
                windows[runner.spec.name].append(
                    {
                        "index": index,
                        "order": position,
                        "started_s": window.started_s,
                        "duration_s": window.duration_s,
                        "batches": len(window.batch_s),
                        "gap_s": window.gap_s,
                        "energy_j": window.energy_j,
                        "cpu_s": window.cpu_s,
                    }
                )
                times[runner.spec.name].extend(window.batch_s)
                running.advance()
    foreign_end = foreign_cpu_s()
    for runner in live:
        name = runner.spec.name
        found[name].points.append(
            {
                "point": point.model_dump(),
                "rounds": windows[name],
                "batch_s": times[name],
                "steady": steady[name],
                "foreign_cores": None
                if foreign is None or foreign_end is None
                else (foreign_end - foreign) / (time.monotonic() - start),
            }
        )
    return live


def _end_with_parent() -> None:
    """Ends this process once its standard input closes: the parent is gone, and nobody waits for the figures."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: its lock would be held at exit
            pass
        os._exit(3)

    threading.Thread(target=wait, name="compress-parent", daemon=True).start()


def main(arguments: Sequence[str]) -> None:
    """Runs the session of a job file and writes the answer beside it."""
    quiet_libraries()
    _end_with_parent()
    import torch

    from compress.memory import measure_memory

    quiet_transformers()
    path = Path(arguments[0])
    job = read_job(path)
    memory = measure_memory(path)
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    try:
        answer = run_session(job, memory)
    except KeyboardInterrupt:
        sys.exit(130)
    write_atomic(path.with_name("session.json"), json.dumps(answer).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
