"""Measuring windows: one model runs batch after batch, with energy and latency of the same seconds."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from compress.energy.meters import Absent, Meter, read_uj
from compress.energy.sampler import Sampler
from compress.measure.disturbance import between, reading, with_device
from compress.records.window import Window


class Pass(tuple[dict[str, torch.Tensor], ...]):
    """Batches of different cost: measuring windows and warm-up blocks run whole passes over them."""

    __slots__ = ()


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


def synchronizer(devices: Sequence[torch.device]) -> Callable[[], None]:
    """Return a function that waits until all of these devices have finished."""
    if devices[0].type != "cuda":
        return lambda: None
    if len(devices) == 1:
        return lambda: torch.cuda.synchronize(devices[0])

    def synchronize_all() -> None:
        for device in devices:
            torch.cuda.synchronize(device)

    return synchronize_all


def run_for(
    model: Any,
    batches: Sequence[dict[str, torch.Tensor]],
    seconds: float,
    sync: Callable[[], None],
    least: int = 2,
    multiple: int = 1,
) -> list[int]:
    """Run the batches in turn for at least `seconds` and `least` batches; return the nanoseconds of each.

    Their number is a multiple of `multiple`.
    """
    times: list[int] = []
    clock = time.monotonic_ns
    count = len(batches)
    with torch.no_grad():
        sync()
        end = clock() + round(1e9 * seconds)
        now = 0
        while now < end or len(times) < least or len(times) % multiple:
            batch = batches[len(times) % count]
            start = clock()
            model(**batch)
            sync()
            now = clock()
            times.append(now - start)
    return times


def whole(batches: Sequence[dict[str, torch.Tensor]]) -> int:
    """Return the number of batches that are only measured together: those of a pass, otherwise 1."""
    return len(batches) if isinstance(batches, Pass) else 1


def measure_window(
    model: Any,
    batches: Sequence[dict[str, torch.Tensor]],
    settings: Settings,
    sync: Callable[[], None],
    meter: Meter | Absent,
    sampler: Sampler,
) -> Window:
    """Measure one window, after a pre-roll.

    Around both edges the load runs long enough for the sampler to see the counter move. The device is synchronised at
    both edges.
    """
    run_for(model, batches, settings.preroll_s, sync, least=1)
    _around_edge(model, batches, sync, sampler)
    before = reading()
    # a counter that moves in steps is read by the sampler: waiting for a step here would idle the device
    continuous = sampler.step_s == 0
    cpu = time.process_time_ns()
    start_uj = read_uj(meter) if continuous else None
    started = time.monotonic_ns()
    seconds = max(settings.window_s, settings.least_movements * sampler.step_s)
    times = run_for(model, batches, seconds, sync, settings.least_batches, whole(batches))
    ended = time.monotonic_ns()
    end_uj = read_uj(meter) if continuous else None
    cpu = time.process_time_ns() - cpu
    disturbance = between(before, reading())
    _around_edge(model, batches, sync, sampler)
    window = Window(started, ended, tuple(times), cpu, start_uj, end_uj, disturbance=disturbance)
    return with_device(window, sampler.samples)


def _around_edge(
    model: Any, batches: Sequence[dict[str, torch.Tensor]], sync: Callable[[], None], sampler: Sampler
) -> None:
    if sampler.edge_s:
        sampler.near_edge()
        run_for(model, batches, sampler.edge_s, sync)
