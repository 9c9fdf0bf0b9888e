"""A session: several models measured together in one fresh process, interleaved in every round.

`python -m compress.measure.session JOB` measures the saved artifacts and references that the job lists. It writes a
folder of raw figures (`compress.records.trace`), from which the harness makes results.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.cgroup import quota_cores
from compress.base.console import say
from compress.base.quiet import quiet_libraries, quiet_transformers
from compress.data.point import OperatingPoint
from compress.data.tasks import task_of
from compress.energy.find import find_meter
from compress.energy.sampler import Sampler, facts, idle, steady_idle
from compress.measure.answers import answers
from compress.measure.attempts import OutOfMemory, attempt, in_words, shape, unmeasured, with_point, within_memory
from compress.measure.evaluate import BATCH
from compress.measure.examples import differing, label_names
from compress.measure.foreign import foreign_processes, listed_processes
from compress.measure.generation import continuations
from compress.measure.job import Job, Spec, read_job, session_folder
from compress.measure.models import Shelf, in_turn_reason, split_examples, timing_batches
from compress.measure.remembered import recalled, remember
from compress.records import trace
from compress.records.natural import Texts
from compress.records.session import Idle, Memory, Runner, RunnerPoint, Session
from compress.spec.formats import CACHELESS, MOST_PROMPTS, MOST_TEXTS
from compress.spec.measure import share_of_rest

if TYPE_CHECKING:
    from compress.analysis.accuracy import Evaluation
    from compress.energy.peaks import Peaks
    from compress.measure.models import LoadedModel
    from compress.measure.rounds import Bench

SENSITIVITY_BATCHES = (1, 32)
SENSITIVITY_EXAMPLES = 1000  # at most, evenly spaced: one by one, the whole split would take longer than its evaluation
IDLE_S = 2.0
NO_CACHE = "its exported graph keeps no cache: it would compute the whole text anew for every token"


def run_session(
    job: Job,
    memory: Mapping[str, Memory],
    known: Mapping[str, Runner] | None = None,
    limits: "Callable[[], Peaks | None] | None" = None,
) -> Session:
    """Measure every runner of the job; a runner that fails is reported and left out of the rounds.

    `known` are references that an earlier run evaluated, by name. `limits` returns what the device does at most in a
    second; without it, rows have no physical limit.
    """
    from compress.base.devices import torch_devices
    from compress.measure.latency import synchronizer
    from compress.measure.rounds import Bench

    clock_offset_ns = _clock_offset_ns()
    meter = find_meter(job.device.kind, job.gpus)
    before = listed_processes(meter)  # before this process opens the device
    seen: set[int] = set()
    idle_before = idle(meter, IDLE_S)
    runners = {spec.name: unmeasured(spec) for spec in job.runners}
    in_turn = in_turn_reason(job, memory)
    if in_turn:
        say(f"  {in_turn}")
    shelf = Shelf(job, together=in_turn is None)
    live: list[Spec] = []
    config = None
    for spec in sorted(job.runners, key=lambda spec: not spec.accuracy_only):  # these leave before others stay loaded
        model_config = attempt(runners, spec, partial(_evaluate, shelf, spec, job, runners, known or {}))
        if spec.accuracy_only or runners[spec.name].error is not None:
            shelf.put_away([spec.name])
        elif model_config is not None:
            config = model_config
            runners[spec.name] = replace(runners[spec.name], memory=memory.get(spec.name, Memory()))
            if spec.name not in (known or {}):
                remember(job, spec, runners[spec.name])
            live.append(spec)
    if not any(spec.reference and spec.runtime == "eager" for spec in live):
        live = []  # there is no reference to compare with
    peaks = limits() if limits is not None and live else None
    idle_loaded = steady_idle(meter, IDLE_S)
    sync = synchronizer(torch_devices(job.device))
    points, same = _points(job, shelf, live)
    own = [point for point in points if point != same]
    with Sampler(meter) as sampler:
        live = _measure_points(Bench(job, shelf, own, runners, meter, sampler, sync, before, seen, peaks), points, live)
    outcomes = {spec.name: runners[spec.name].outcomes for spec in live}
    examples = differing(job, outcomes) if job.evaluates else None
    return Session(
        runners=tuple(runners.values()),
        meter=replace(facts(meter), sampling_error=sampler.error, sampling_cpu_s=sampler.cpu_s),
        idle=Idle(before=idle_before, loaded=idle_loaded),
        foreign_processes=foreign_processes(before, seen, os.getpid(), os.getppid(), job.parent_on_device),
        in_turn=in_turn,
        quota_cores=quota_cores(),
        cores=os.cpu_count(),
        samples=tuple(sampler.samples),
        labels=None if examples is None else label_names(config),
        examples=examples,
        finished=time.time(),
        clock_offset_start_ns=clock_offset_ns,
        clock_offset_ns=_clock_offset_ns(),
    )


def _measure_points(bench: "Bench", points: Sequence[OperatingPoint], live: list[Spec]) -> list[Spec]:
    """Measure the runners at all points and return those without an error. Points share the budget of the rounds."""
    from compress.measure.operating_point import measure_point

    job, runners, left_s = bench.job, bench.runners, bench.job.settings.budget_s
    for point in points:
        if point not in bench.points:
            _count_for(point, runners, live)
            continue
        lacking = {spec.name: why for spec in live if (why := unable(spec.runtime, point))}
        capable = [spec for spec in live if spec.name not in lacking]
        if capable:
            share_s = None
            if left_s is not None:
                share_s = left_s * share_of_rest(bench.points.index(point), len(bench.points))
            spent_s = measure_point(bench, point, capable, job.settings.model_copy(update={"budget_s": share_s}))
            left_s = None if left_s is None else max(0.0, left_s - spent_s)
        if point is not points[0]:  # an error at a further point leaves the result valid
            lacking |= {s.name: error for s in capable if (error := runners[s.name].error) is not None}
        for name, why in lacking.items():
            runners[name] = with_point(replace(runners[name], error=None), RunnerPoint(shape(point), lacking=why))
        live = [spec for spec in live if runners[spec.name].error is None]
    return live


def _points(job: Job, shelf: Shelf, live: Sequence[Spec]) -> tuple[list[OperatingPoint], OperatingPoint | None]:
    """Return the points to measure, and the natural one if its batches have the headline's shape.

    Natural points of larger batches than the test split are those of its size.
    """
    points = job.workload.measured_points(job.settings.points)
    if not live or all(point.natural is None for point in points):
        return points, None
    examples = split_examples(job, shelf.take(live[-1]))  # this model is loaded
    points = job.workload.measured_points(job.settings.points, len(examples))
    headline, *further = points
    task = task_of(job.workload.task)
    one_length = set(task.lengths(task.rows(examples))) == {headline.sequence_length}
    same = (p for p in further if one_length and p.natural is not None and p.batch_size == headline.batch_size)
    return points, next(same, None)


def _count_for(point: OperatingPoint, runners: dict[str, Runner], live: Sequence[Spec]) -> None:
    """Let the headline's windows count for a natural point whose texts all have the headline's length."""
    say(f"  {in_words(point)}: all texts have the headline's length, whose windows count for both")
    for spec in live:
        headline = runners[spec.name].points[0]
        texts = Texts(1, float(headline.point.sequence_length or 0))  # one shape: each batch is a whole pass
        also = replace(headline, point=shape(point), texts=texts, rounds_s=None)
        runners[spec.name] = with_point(runners[spec.name], also)


def _limits(job: Job) -> "Peaks | None":
    """Return what the job's device does at most in a second, from the cache or measured now; None for several GPUs."""
    from compress.base.devices import torch_device
    from compress.energy.remembered_peaks import remembered

    return None if job.device.several else remembered(torch_device(job.device))


def _clock_offset_ns() -> int:
    return time.time_ns() - time.monotonic_ns()


def unable(runtime: str, point: OperatingPoint) -> str:
    """Return why a runtime cannot be measured at a point: its cache holds too little; empty if it can."""
    if point.phase is None:
        return ""
    if runtime in CACHELESS:
        return NO_CACHE
    most = (MOST_PROMPTS if point.phase == "prefill" else MOST_TEXTS).get(runtime, point.batch_size)
    if point.batch_size <= most:
        return ""
    if most == 1:
        return "its runtime appends tokens to one text only"
    return f"its runtime reads at most {most} texts at once"


def _evaluate(shelf: Shelf, spec: Spec, job: Job, runners: dict[str, Runner], known: Mapping[str, Runner]) -> Any:
    """Evaluate a runner on the whole test split and profile one batch; return its model's configuration.

    A further session of the same artifacts only loads it, and so does one that knows the reference. A runner that
    fails keeps the figures measured up to then.
    """
    from compress.analysis import accuracy
    from compress.base.devices import torch_device
    from compress.measure import kernels, size

    runner = shelf.take(spec)
    if not job.evaluates:
        return runner.model.config
    warn, metric, protocol = spec is job.runners[0], job.workload.metric_name, job.workload.protocol
    check_reference = partial(
        accuracy.check_reference, name=spec.name, metric=metric, seed=job.seed, warn=warn, protocol=protocol
    )
    if spec.name in known:
        earlier = runners[spec.name] = known[spec.name]
        own = accuracy.Evaluation(
            earlier.outcomes, earlier.finite, earlier.batch_size, earlier.order, outputs=earlier.outputs
        )
        check_reference(own)
        say(f"  {spec.name}: evaluated by an earlier run")
        return runner.model.config
    most = min(BATCH, task_of(job.workload.task).together)
    batch_size = job.workload.headline_point.batch_size if spec.batch_dependent else most
    start = time.monotonic()
    evaluation = _answers(job, runner, batch_size)
    count = len(next(iter(evaluation.outcomes.values())))
    measured = runners[spec.name] = replace(
        runners[spec.name],
        outcomes={key: list(values) for key, values in evaluation.outcomes.items()},
        finite=evaluation.finite,
        batch_size=evaluation.batch_size,
        order=evaluation.order,
        outputs=None if spec.own_vocabulary else evaluation.outputs,  # perplexity is per dense token
        remark=evaluation.remark,
    )
    if spec.reference:
        check_reference(evaluation)
    if spec.accuracy_only:
        say(f"  evaluated {spec.name} on {count} examples in {time.monotonic() - start:.1f} s")
        return runner.model.config
    if spec.batch_dependent:
        both = (answers(job, runner, size, SENSITIVITY_EXAMPLES) for size in SENSITIVITY_BATCHES)
        differing_share = accuracy.flips(*both)
        measured = replace(measured, batch_sensitivity=differing_share)
    if spec.path is None:
        parameters, nonzero = size.parameter_counts(runner.model)
        weights = size.weight_bytes(runner.model)
        measured = replace(measured, parameters=parameters, nonzero=nonzero, weight_bytes=weights)
    headline = job.workload.headline_point
    batch = timing_batches(job, runner, headline, 1)[0]
    kernel = kernels.label(runner.model, batch, torch_device(job.device), spec.low_bit, headline)
    theirs = [runners[other.name].continuations for other in job.runners if other.reference]
    runners[spec.name] = replace(measured, kernel=kernel, continuations=continuations(job, runner, theirs))
    say(f"  evaluated {spec.name} on {count} examples in {time.monotonic() - start:.1f} s")
    return runner.model.config


def _answers(job: Job, runner: "LoadedModel", batch_size: int) -> "Evaluation":
    """Return the outcomes of every example, in smaller batches if memory runs out and the settings allow it.

    Not for models whose answers depend on the batch. Raises OutOfMemory.
    """
    while True:
        try:
            place = f"evaluation in batches of {batch_size}"
            return within_memory(partial(answers, job, runner, batch_size), place, "set measure.halve_batch")
        except OutOfMemory as error:
            if batch_size == 1 or runner.spec.batch_dependent or not job.settings.halve_batch:
                raise
            batch_size //= 2
            say(f"  {runner.spec.name} ran out of memory {error}: batches of {batch_size} instead")


def main(arguments: Sequence[str]) -> None:
    """Run the session of a job file and write its figures next to the file."""
    quiet_libraries()
    import torch

    from compress.measure.memory import measure_memory
    from compress.measure.memory_gpu import measure_gpu_memory

    quiet_transformers()
    path = Path(arguments[0])
    try:
        job = read_job(path)
    except FileNotFoundError:
        sys.exit(f"{path}: the run that started this session has ended")
    # measure_memory forks, so it must run before the first thread starts
    memory: dict[str, Memory] = {}
    known = recalled(job)
    if job.evaluates and job.device.on_gpu:
        memory = measure_gpu_memory(job, path)
    elif job.evaluates:
        memory = {name: runner.memory for name, runner in known.items()}
        memory |= measure_memory(replace(job, runners=tuple(s for s in job.runners if s.name not in known)))
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    try:
        session = run_session(job, memory, known, partial(_limits, job))
    except KeyboardInterrupt:
        sys.exit(130)
    trace.write(session_folder(path), session)


if __name__ == "__main__":
    main(sys.argv[1:])
