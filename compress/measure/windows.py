"""Measuring windows: one model runs batch after batch, with energy and latency of the same seconds."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from compress.energy.meters import Absent, Meter, read_uj
from compress.energy.sampler import Sampler
from compress.measure.disturbance import between, reading, with_device
from compress.measure.latency import run_for, whole
from compress.records.window import Window

RECOMPILED = (
    "torch.compile compiled {} graphs inside a measured window, after the warm-up had compiled all it met; its seconds "
    "are not the model's: use runtime eager"
)


class Settings(Protocol):
    """Durations of a window and its pre-roll."""

    @property
    def window_s(self) -> float:
        """Minimum seconds of a window."""

    @property
    def preroll_s(self) -> float:
        """Seconds of the same load before the window."""

    @property
    def least_batches(self) -> int:
        """Minimum batches in a window."""

    @property
    def least_movements(self) -> int:
        """Minimum movements of the energy counter in a window."""


def measure_window(
    model: Any,
    batches: Sequence[dict[str, torch.Tensor]],
    settings: Settings,
    sync: Callable[[], None],
    meter: Meter | Absent,
    sampler: Sampler,
    speed: Callable[[], int | None] = lambda: None,
) -> Window:
    """Measure one window, after a pre-roll of at least one batch if there is to be any.

    Around both edges the load runs long enough for the sampler to see the counter move. The device is synchronised at
    both edges. `speed` returns that of the processor, in operations per second; it is called before the pre-roll and
    after the load, so that the window starts and ends in it. Raises RuntimeError if torch.compile compiled anything in
    the window: its seconds are not the model's.
    """
    speeds = [speed()]
    if settings.preroll_s:
        run_for(model, batches, settings.preroll_s, sync, least=1)
    _around_edge(model, batches, sync, sampler)
    before = reading()
    # a counter that moves in steps is read by the sampler: waiting for a step here would idle the device
    continuous = sampler.step_s == 0
    compiled = compilations()
    cpu = time.process_time_ns()
    start_uj = read_uj(meter) if continuous else None
    started = time.monotonic_ns()
    seconds = max(settings.window_s, settings.least_movements * sampler.step_s)
    times = run_for(model, batches, seconds, sync, settings.least_batches, whole(batches))
    ended = time.monotonic_ns()
    end_uj = read_uj(meter) if continuous else None
    cpu = time.process_time_ns() - cpu
    if graphs := compilations() - compiled:
        raise RuntimeError(RECOMPILED.format(graphs))
    disturbance = between(before, reading())
    _around_edge(model, batches, sync, sampler)
    speeds.append(speed())
    known = [each for each in speeds if each is not None]
    disturbance = replace(disturbance, cpu_ops=min(known, default=None))
    window = Window(started, ended, tuple(times), cpu, start_uj, end_uj, disturbance=disturbance)
    return with_device(window, sampler.samples)


def compilations() -> int:
    """Return the number of graphs that torch.compile has compiled in this process."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])


def _around_edge(
    model: Any, batches: Sequence[dict[str, torch.Tensor]], sync: Callable[[], None], sampler: Sampler
) -> None:
    if sampler.edge_s:
        sampler.near_edge()
        run_for(model, batches, sampler.edge_s, sync)
