"""Rounds of one operating point, after a warm-up. Disturbed windows are repeated at once.

round 0        every runner once: pages, caches and clocks meet the order of the rounds
round 1, 2 ... every runner once, in random order: a pre-roll and a window; a disturbed window is repeated at once

On a CPU, rounds in which the processor was slower are left out (`compress.analysis.full_speed`).
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from compress.analysis import full_speed
from compress.base.cgroup import Throttled, throttled
from compress.base.console import bar
from compress.data.point import OperatingPoint
from compress.energy.meters import Absent, Meter
from compress.energy.peaks import Peaks
from compress.energy.sampler import Sampler
from compress.measure import processor, warmup, windows
from compress.measure.attempts import OutOfMemory, attempt, in_words, within_memory
from compress.measure.decode import Decoding, Stopping, called
from compress.measure.disturbance import allowance, least_disturbed, severity, usual
from compress.measure.foreign import foreign_processes, listed_processes
from compress.measure.job import Job, Spec
from compress.measure.latency import run_for, whole
from compress.measure.limits import limit
from compress.measure.models import Shelf, end_tokens, load_of
from compress.records.limit import Limit
from compress.records.result import Kernel
from compress.records.session import Ramp, Runner
from compress.records.window import Window

FURTHER_SHARE = 1 / 3
AGAIN_S = 0.01
"""Pre-roll of a repeat: the same load ran until the processor's speed was read."""
SMALLER = "use a smaller batch_size, or set measure.halve_batch"


@dataclass(frozen=True)
class Bench:
    """What all points of a session are measured with."""

    job: Job
    shelf: Shelf
    points: Sequence[OperatingPoint]
    """Points that have rounds of their own, the headline first."""
    runners: dict[str, Runner]
    meter: Meter | Absent
    sampler: Sampler
    sync: Callable[[], None]
    before: Sequence[int] | None
    """Processes on the device before this one opened it; None if unknown."""
    seen: set[int]
    """Processes on the device during the rounds."""
    peaks: Peaks | None = None
    """What the device reads and multiplies at most in a second; None if it is not known: rows have no limit then."""


@dataclass
class Rounds:
    """The rounds of one point: the runners that still take part, and their windows so far."""

    bench: Bench
    point: OperatingPoint
    shared: warmup.Batches
    """Batches of all runners that have the dense model's vocabulary."""
    live: list[Spec]
    used: dict[str, list[Window]]
    unused: dict[str, list[Window]]
    unsteady: dict[str, Ramp] = field(default_factory=dict)
    settled: bool | None = None
    throttling: Throttled = field(default_factory=Throttled)
    cache_bytes: dict[str, int] = field(default_factory=dict)
    limits: dict[str, Limit | None] = field(default_factory=dict)
    lengths: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Tokens of the requests of a pass, of models that stop by themselves."""
    windows: int = 0
    repeats: int = 0
    disturbed: int = 0
    """Windows in a row, up to the last one, that were disturbed."""
    quiet: int = 0
    """Windows that were not; those of the first round, which is not looked at, count as such."""
    starved: list[str] = field(default_factory=list)
    """Runners that ran out of memory."""
    own: dict[str, warmup.Batches] = field(default_factory=dict)
    """Batches of the same shape for runners with a vocabulary of their own, by name."""
    known_ends: dict[str | None, tuple[int, ...]] = field(default_factory=dict)
    """End tokens by the folder of a runner with a vocabulary of its own; None: of all others."""

    def runnable(self, spec: Spec) -> Any:
        """Return what a window of this runner calls; the cache of a decode point is filled."""
        ends = self._ends(spec) if self.point.stop else ()
        return called(self.bench.shelf.take(spec).model, self.point, self.batches(spec)[0], ends)

    def batches(self, spec: Spec) -> warmup.Batches:
        """Return the batches that a runner runs: real text in the tokens of its own vocabulary."""
        if not spec.own_vocabulary:
            return self.shared
        if spec.name not in self.own:
            self.own[spec.name], _ = load_of(self.bench.job, self.bench.shelf.take(spec), self.point)
        return self.own[spec.name]

    def _ends(self, spec: Spec) -> tuple[int, ...]:
        """Return the end tokens of requests that stop."""
        key = spec.path if spec.own_vocabulary else None
        if key not in self.known_ends:
            self.known_ends[key] = end_tokens(self.bench.job, spec)
        return self.known_ends[key]

    def each(self, specs: Sequence[Spec], work: Callable[[Spec], object]) -> None:
        """Do something with each of these runners. Those that fail take part no longer, and free their memory."""
        for spec in specs:
            attempt(self.bench.runners, spec, partial(self._within_memory, spec, work))
        self.bench.shelf.put_away([spec.name for spec in specs if self.bench.runners[spec.name].error is not None])
        self.live = [spec for spec in self.live if self.bench.runners[spec.name].error is None]

    def _within_memory(self, spec: Spec, work: Callable[[Spec], object]) -> None:
        try:
            within_memory(partial(work, spec), in_words(self.point), SMALLER)
        except OutOfMemory:
            self.starved.append(spec.name)
            raise

    def warm_up(self) -> None:
        """Warm up until latency, temperature and power are steady. Models loaded in turn follow after every load.

        At further points, whose models have just run, latency gets at most a third of the time.
        """
        cap_s = self.bench.job.settings.warmup_s
        further = any(self.bench.runners[spec.name].points for spec in self.live)
        if self.bench.shelf.together:
            latency_s = cap_s * (FURTHER_SHARE if further else 1)
            warming = warmup.WarmUp([spec.name for spec in self.live], self.shared, self.bench.sync, latency_s)
            with bar("until latency is steady", None):
                while self.live and not warming.over:
                    self.each(self.live, lambda spec: self._block(warming, spec))
                    warming.keep([spec.name for spec in self.live])
            self.unsteady |= warming.unsteady()
        if self.live:
            specs = self.live if self.bench.shelf.together else self.live[-1:]
            models = [self._load(spec) for spec in specs]
            with bar("until temperature and power have settled", None):
                self.settled = warmup.settle(models, self.shared, self.bench.sync, self.bench.meter, cap_s)

    def _load(self, spec: Spec) -> Any:
        """Return what warms the device up: it takes any batch, and runs one of the runner's own vocabulary."""
        model = self.runnable(spec)
        if not spec.own_vocabulary:
            return model
        batch = self.batches(spec)[0]
        return lambda **_: model(**batch)

    def _block(self, warming: warmup.WarmUp, spec: Spec) -> None:
        """Run one block of a runner's warm-up."""
        warming.block(spec.name, self.runnable(spec), self.batches(spec))

    def _warm_up_alone(self, spec: Spec) -> None:
        cap_s = self.bench.job.settings.warmup_s / len(self.used)
        warming = warmup.WarmUp([spec.name], self.shared, self.bench.sync, cap_s)
        while not warming.over:
            self._block(warming, spec)
        self.unsteady |= warming.unsteady()

    def round(self, index: int) -> None:
        """Measure one window of every runner, in random order. No figure uses round 0."""
        shuffle = random.SystemRandom()  # unseeded: order effects average out over sessions
        order = shuffle.sample(self.live, len(self.live))
        self.each(order, lambda spec: self._turn(spec, index, order.index(spec)))

    def _turn(self, spec: Spec, index: int, order: int) -> None:
        """Measure a runner's window of one round, and repeat it while it is disturbed."""
        if not self.bench.shelf.together:
            self._warm_up_alone(spec)
        if index == 0 and spec.runtime == "compile":
            self._meet_every_shape(spec)
        before = throttled()
        attempts: list[Window] = []
        while True:
            window = self._window(spec, repeat=bool(attempts))
            attempts.append(replace(window, index=index, order=order, attempt=len(attempts)))
            now = usual(self.used[spec.name], [*self._all, *attempts])
            self.windows += 1
            self.quiet += index == 0
            if index == 0:
                self._count(spec)
            if index == 0 or not self._to_repeat(severity(window, now)):
                break
            self.repeats += 1
        if before is not None and (after := throttled()) is not None:
            self.throttling += after - before
        chosen = None if index == 0 else least_disturbed(attempts, now)
        if chosen is not None:
            self.used[spec.name].append(chosen)
        self.unused[spec.name] += [window for window in attempts if window is not chosen]

    @property
    def _all(self) -> list[Window]:
        """All windows so far, of all runners."""
        return [window for groups in (self.used, self.unused) for group in groups.values() for window in group]

    def at_full_speed(self) -> tuple[dict[str, list[Window]], bool]:
        """Return runner -> its windows of the rounds to use, of those that still take part.

        And whether slow ones are among them.
        """
        used = {spec.name: self.used[spec.name] for spec in self.live}
        rounds, mixed = full_speed.at_full_speed(used, self._all)
        return {name: [window for window in group if window.index in rounds] for name, group in used.items()}, mixed

    def _meet_every_shape(self, spec: Spec) -> None:
        """Run every batch once, so that a compiled model compiles what the warm-up did not meet."""
        batches = self.batches(spec)
        run_for(self.runnable(spec), batches, 0.0, self.bench.sync, least=len(batches), multiple=whole(batches))

    def _count(self, spec: Spec) -> None:
        """Count the work of a batch; the model is loaded, and no figure uses this round."""
        if self.bench.peaks is not None:
            runner = self.bench.runners[spec.name]
            integer = spec.low_bit and isinstance(runner.kernel, Kernel) and runner.kernel.label == "real"
            model = self.bench.shelf.take(spec).model
            lengths, batch = self.lengths.get(spec.name, ()), self.batches(spec)[0]
            self.limits[spec.name] = limit(model, self.point, batch, self.bench.peaks, integer, lengths)

    def _to_repeat(self, severity: float) -> bool:
        """Return whether the window that was just measured is to be repeated."""
        self.disturbed = self.disturbed + 1 if severity > 1 else 0
        self.quiet += severity <= 1
        allowed = allowance(self.bench.job.settings.precision)
        return self.disturbed > 0 and allowed.permits(self.disturbed, self.repeats, self.windows, self.quiet)

    def _window(self, spec: Spec, repeat: bool) -> Window:
        """Measure one window, with the processes on the device after it. A repeat has a short pre-roll."""
        bench = self.bench
        settings = bench.job.settings
        if repeat:
            settings = settings.model_copy(update={"preroll_s": min(settings.preroll_s, AGAIN_S)})
        model = self.runnable(spec)
        if isinstance(model, Stopping) and spec.name not in self.lengths:
            self.lengths[spec.name] = model.lengths(self.batches(spec))
        speed = [] if bench.job.device.on_gpu else [processor.operations_per_s]
        window = windows.measure_window(
            model, self.batches(spec), settings, bench.sync, bench.meter, bench.sampler, *speed
        )
        if isinstance(model, Decoding):
            self.cache_bytes[spec.name] = model.cache_bytes
        listed = listed_processes(bench.meter)
        bench.seen.update(listed or ())
        others = foreign_processes(bench.before, listed, os.getpid(), os.getppid(), bench.job.parent_on_device)
        return replace(window, disturbance=replace(window.disturbance, device_processes=others))
