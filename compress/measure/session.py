"""A session: several models measured together in one fresh process, interleaved in every round.

`python -m compress.measure.session JOB` measures the saved artifacts and references that the job lists. It writes a
folder of raw figures (`compress.records.trace`), from which the harness makes results.
"""

import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from compress.base.cgroup import Throttled, quota_cores, throttled
from compress.base.console import bar, say, track
from compress.base.quiet import quiet_libraries, quiet_transformers
from compress.data import loading
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.energy.find import find_meter
from compress.energy.meters import Absent, Meter
from compress.energy.sampler import Sampler, facts, idle, steady_idle
from compress.measure.evaluate import BATCH, evaluate
from compress.measure.examples import differing, label_names
from compress.measure.foreign import foreign_processes, listed_processes
from compress.measure.job import Job, Spec, failure, read_job, session_folder
from compress.measure.models import Shelf, in_turn_reason, load_of, timing_batches
from compress.records import trace
from compress.records.natural import WORDS
from compress.records.session import Idle, Memory, Runner, RunnerPoint, Session, Shape, Window
from compress.spec.formats import GRAPH_RUNTIMES

SENSITIVITY_BATCHES = (1, 32)
IDLE_S = 2.0
NO_CACHE = "an exported graph keeps no cache: it would compute the whole text anew for every token"


def run_session(job: Job, memory: Mapping[str, Memory]) -> Session:
    """Measure every runner of the job; a runner that fails is reported and left out of the rounds."""
    from compress.base.devices import torch_devices
    from compress.measure import latency

    clock_offset_ns = _clock_offset_ns()
    meter = find_meter(job.device.kind, job.gpus)
    before = listed_processes(meter)  # before this process opens the device
    seen_processes: set[int] | None = None if before is None else set()
    idle_before = idle(meter, IDLE_S)
    runners = {spec.name: _unmeasured(spec) for spec in job.runners}
    in_turn = in_turn_reason(job, memory)
    if in_turn:
        say(f"  {in_turn}")
    shelf = Shelf(job, together=in_turn is None)
    live: list[Spec] = []
    config = None
    for spec in sorted(job.runners, key=lambda spec: not spec.accuracy_only):  # these leave before others stay loaded
        model_config = _attempt(runners, spec, partial(_evaluate, shelf, spec, job, runners))
        if spec.accuracy_only:
            shelf.put_away([spec.name])
        elif model_config is not None:
            config = model_config
            runners[spec.name] = replace(runners[spec.name], memory=memory.get(spec.name, Memory()))
            live.append(spec)
    if not any(spec.reference and spec.runtime == "eager" for spec in live):
        live = []  # there is no reference to compare with
    idle_loaded = steady_idle(meter, IDLE_S)
    sync = latency.synchronizer(torch_devices(job.device))
    points = job.workload.measured_points(job.settings.points)
    with Sampler(meter) as sampler:
        for point in points:
            capable, incapable = _split_by_capability(live, point)
            lacking = {spec.name: NO_CACHE for spec in incapable}
            if capable:
                _measure_point(job, point, shelf, capable, runners, meter, sampler, sync, seen_processes)
            if point is not points[0]:  # an error at a further point leaves the result valid
                lacking |= {s.name: error for s in capable if (error := runners[s.name].error) is not None}
            for name, why in lacking.items():
                runners[name] = _with_point(replace(runners[name], error=None), RunnerPoint(_shape(point), lacking=why))
            live = [spec for spec in live if runners[spec.name].error is None]
    outcomes = {spec.name: runners[spec.name].outcomes for spec in live}
    examples = differing(job, outcomes) if job.evaluates else None
    return Session(
        runners=tuple(runners.values()),
        meter=replace(facts(meter), sampling_error=sampler.error, sampling_cpu_s=sampler.cpu_s),
        idle=Idle(before=idle_before, loaded=idle_loaded),
        foreign_processes=foreign_processes(before, seen_processes, os.getpid(), os.getppid(), job.parent_on_device),
        in_turn=in_turn,
        quota_cores=quota_cores(),
        samples=tuple(sampler.samples),
        labels=None if examples is None else label_names(config),
        examples=examples,
        finished=time.time(),
        clock_offset_start_ns=clock_offset_ns,
        clock_offset_ns=_clock_offset_ns(),
    )


def _unmeasured(spec: Spec) -> Runner:
    return Runner(spec.name, {}, True, 0, "", None, (), further_of=spec.further_of, seed=spec.seed)


def _with_point(runner: Runner, point: RunnerPoint) -> Runner:
    return replace(runner, points=(*runner.points, point))


def _shape(point: OperatingPoint) -> Shape:
    return Shape(point.batch_size, point.sequence_length, point.generate, point.natural)


def _clock_offset_ns() -> int:
    return time.time_ns() - time.monotonic_ns()


def _split_by_capability(live: Sequence[Spec], point: OperatingPoint) -> tuple[list[Spec], list[Spec]]:
    """Return the runners that can be measured at a point, and those that cannot: exported graphs do not generate."""
    incapable = [spec for spec in live if point.generate is not None and spec.runtime in GRAPH_RUNTIMES]
    return [spec for spec in live if spec not in incapable], incapable


def _attempt(runners: dict[str, Runner], spec: Spec, work: Callable[[], Any]) -> Any:
    """Return what `work` returns; a failure becomes this runner's error, and the other runners go on."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  the failure of one recipe is a result with `error`
        reason = failure(error)
        runners[spec.name] = replace(runners[spec.name], error=reason)
        say(f"  {spec.name} failed: {reason}")
        if not isinstance(error, ValueError):
            say(traceback.format_exc())
        return None


def _evaluate(shelf: Shelf, spec: Spec, job: Job, runners: dict[str, Runner]) -> Any:
    """Evaluate a runner on the whole test split and profile one batch; return its model's configuration.

    A further session of the same artifacts only loads it. A runner that fails keeps the figures measured up to then.
    """
    from compress.analysis import accuracy
    from compress.base.devices import torch_device
    from compress.measure import kernels, size

    runner = shelf.take(spec)
    if not job.evaluates:
        return runner.model.config
    task, device = task_of(job.workload.task), torch_device(job.device)
    examples = loading.load_examples(job.source, "test", runner.processor, runner.model.config, limit=job.limit)
    batch_size = job.workload.headline_point.batch_size if spec.batch_dependent else BATCH

    def evaluated(size: int) -> accuracy.Evaluation:
        return evaluate(runner.model, task, examples, runner.processor, device, size, spec.name)

    start = time.monotonic()
    evaluation = evaluated(batch_size)
    measured = runners[spec.name] = replace(
        runners[spec.name],
        outcomes={key: list(values) for key, values in evaluation.outcomes.items()},
        finite=evaluation.finite,
        batch_size=batch_size,
        order=evaluation.order,
        outputs=evaluation.outputs,
        remark=examples.info.description,
    )
    if spec.reference:
        accuracy.check_reference(evaluation, spec.name, job.workload.metric_name, job.seed, warn=spec is job.runners[0])
    if spec.accuracy_only:
        say(f"  evaluated {spec.name} on {len(examples)} examples in {time.monotonic() - start:.1f} s")
        return runner.model.config
    if spec.batch_dependent:
        measured = replace(measured, batch_sensitivity=accuracy.flips(*map(evaluated, SENSITIVITY_BATCHES)))
    if spec.path is None:
        parameters, nonzero = size.parameter_counts(runner.model)
        weights = size.weight_bytes(runner.model)
        measured = replace(measured, parameters=parameters, nonzero=nonzero, weight_bytes=weights)
    batch = timing_batches(job, runner, job.workload.headline_point, 1)[0]
    kernel = kernels.label(runner.model, batch, device, spec.low_bit)
    runners[spec.name] = replace(measured, kernel=kernel)
    say(f"  evaluated {spec.name} on {len(examples)} examples in {time.monotonic() - start:.1f} s")
    return runner.model.config


def _measure_point(
    job: Job,
    point: OperatingPoint,
    shelf: Shelf,
    live: list[Spec],
    runners: dict[str, Runner],
    meter: Meter | Absent,
    sampler: Sampler,
    sync: Any,
    seen_processes: set[int] | None,
) -> None:
    """Warm up, then run rounds in which every runner has one pre-roll and one window, in random order.

    Runners that complete all rounds gain a point; the others an error.
    """
    from compress.base.devices import foreign_cpu_s, stolen_cpu_s
    from compress.measure import latency
    from compress.measure.decode import called

    settings = job.settings
    batches, record = load_of(job, shelf.take(live[0]), point)
    steady = dict.fromkeys((spec.name for spec in live), True)

    def runnable(spec: Spec) -> Any:
        return called(shelf.take(spec).model, point.generate)

    def warm(spec: Spec) -> bool:
        cap_s = settings.warmup_s / len(steady)
        steady[spec.name] &= latency.warm_up(runnable(spec), batches, sync, cap_s)
        return True

    if shelf.together:  # models loaded in turn are warmed up after every load
        waiting = track(live, "warming up", len(live))
        live = [spec for spec in waiting if _attempt(runners, spec, partial(warm, spec))]
    if not live:
        return
    models = [runnable(spec) for spec in (live if shelf.together else live[-1:])]
    with bar("until temperature and power have settled", None):
        settled = latency.settle(models, batches, sync, meter, settings.warmup_s)
    models.clear()  # a model still referenced here could not be freed
    windows: dict[str, list[Window]] = {spec.name: [] for spec in live}
    throttling = Throttled()

    def one_window(spec: Spec, index: int, position: int) -> None:
        nonlocal throttling
        if not shelf.together:
            warm(spec)
        before = throttled()
        window = latency.measure_window(runnable(spec), batches, settings, sync, meter, sampler)
        if before is not None and (after := throttled()) is not None:
            throttling += after - before
        windows[spec.name].append(replace(window, index=index, order=position))

    shuffle = random.SystemRandom()  # unseeded: order effects average out over sessions
    total_s = settings.rounds * len(live) * (settings.window_s + settings.preroll_s + 2 * sampler.edge_s)
    label = f"batch {point.batch_size}" + (f" x {point.sequence_length} tokens" if point.sequence_length else "")
    label += f", {point.generate} generated" if point.generate else ""
    label += f", {WORDS[point.natural]}" if point.natural else ""
    duration = f"about {total_s:.0f} s" + ("" if shelf.together else " and the loading")
    say(f"  measuring {label}: {settings.rounds} rounds of {len(live)} models, {duration}")
    foreign, stolen, start = foreign_cpu_s(), stolen_cpu_s(), time.monotonic()
    with bar(f"measuring {label}", settings.rounds * len(live)) as running:
        for index in range(settings.rounds):
            for position, spec in enumerate(shuffle.sample(live, len(live))):
                _attempt(runners, spec, partial(one_window, spec, index, position))
                running.advance()
            if seen_processes is not None:
                seen_processes.update(listed_processes(meter) or ())
            live = [spec for spec in live if runners[spec.name].error is None]
    elapsed_s = time.monotonic() - start
    foreign_cores, stolen_cores = _cores(foreign, foreign_cpu_s(), elapsed_s), _cores(stolen, stolen_cpu_s(), elapsed_s)
    for spec in live:
        measured = replace(
            record,
            windows=tuple(windows[spec.name]),
            steady=steady[spec.name],
            settled=settled,
            foreign_cores=foreign_cores,
            stolen_cores=stolen_cores,
            throttled_periods=throttling.periods,
            throttled_s=throttling.seconds,
        )
        runners[spec.name] = _with_point(runners[spec.name], measured)


def _cores(before_s: float | None, after_s: float | None, seconds: float) -> float | None:
    return None if before_s is None or after_s is None else (after_s - before_s) / seconds


def main(arguments: Sequence[str]) -> None:
    """Run the session of a job file and write its figures next to the file."""
    quiet_libraries()
    import torch

    from compress.measure.memory import measure_memory
    from compress.measure.memory_gpu import measure_gpu_memory

    quiet_transformers()
    path = Path(arguments[0])
    job = read_job(path)
    # measure_memory forks, so it must run before the first thread starts
    memory: dict[str, Memory] = {}
    if job.evaluates:
        memory = measure_gpu_memory(job, path) if job.device.on_gpu else measure_memory(job)
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    try:
        session = run_session(job, memory)
    except KeyboardInterrupt:
        sys.exit(130)
    trace.write(session_folder(path), session)


if __name__ == "__main__":
    main(sys.argv[1:])
