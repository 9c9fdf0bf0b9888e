"""Measuring windows: one model runs batch after batch, with energy and latency of the same seconds.

Before the windows `warm_up` waits for steady latency, and `settle` for steady temperature and power.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from compress.energy.meters import Absent, Meter, read_uj
from compress.energy.sampler import Sampler
from compress.records.session import Window

BLOCK_S = 5.0
TREND_BLOCKS = 12  # 60 s
NEAR_S = 0.005  # between two readings of the counter while waiting for it to move
SLOW_S = 0.1  # the same on a board whose count is disturbed by reading


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
    run_for(model, batches, settings.preroll_s, sync)
    _around_edge(model, batches, sync, sampler)
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
    _around_edge(model, batches, sync, sampler)
    return Window(started, ended, tuple(times), cpu, start_uj, end_uj)


def _around_edge(
    model: Any, batches: Sequence[dict[str, torch.Tensor]], sync: Callable[[], None], sampler: Sampler
) -> None:
    if sampler.edge_s:
        sampler.near_edge()
        run_for(model, batches, sampler.edge_s, sync)


def settle(
    models: Sequence[Any],
    batches: Sequence[dict[str, torch.Tensor]],
    sync: Callable[[], None],
    meter: Meter | Absent,
    cap_s: float,
) -> bool | None:
    """Run the models in turn until the device's temperature and power settle; return whether they did.

    Gives up after `cap_s` seconds. Every block runs each model once, so that blocks are comparable whatever power the
    models draw. Returns None for a device that reports no temperature.
    """
    if isinstance(meter, Absent) or meter.state().get("temperature_c") is None:
        return None
    blocks: list[tuple[int, float]] = []
    deadline = time.monotonic() + cap_s
    while not settled(blocks):
        if time.monotonic() >= deadline:
            return False
        power, temperature = _power(models, batches, sync, meter), meter.state().get("temperature_c")
        if power is None or temperature is None:
            return False
        blocks.append((temperature, power))
    return True


def _power(
    models: Sequence[Any], batches: Sequence[dict[str, torch.Tensor]], sync: Callable[[], None], meter: Meter
) -> float | None:
    """Return the mean power in watts of a block between two movements of the counter, or None.

    Edges that are not aligned with movements would add 2 % of noise.
    """
    pause_s = SLOW_S if meter.harmed_by_reading else NEAR_S

    def movement(model: Any) -> tuple[int | None, int]:
        before = counted = read_uj(meter)
        deadline = time.monotonic() + 2 * (meter.step_s or 0.0)
        while counted == before and time.monotonic() < deadline:
            run_for(model, batches, pause_s, sync, least=1)
            counted = read_uj(meter)
        return counted, time.monotonic_ns()

    start_uj, start = movement(models[0])
    for model in models:
        run_for(model, batches, BLOCK_S / len(models), sync, least=1)
    end_uj, end = movement(models[-1])
    return None if start_uj is None or end_uj is None else 1e3 * (end_uj - start_uj) / (end - start)  # uJ / ns = 1e3 W


def settled(blocks: Sequence[tuple[int, float]]) -> bool:
    """Return whether blocks of (whole degrees, power) have settled.

    The temperature must show no trend over 60 s, and the power of the last two blocks must agree within 1 %. Rounding
    a constant temperature to whole degrees alone can make the halves of a minute differ by half a degree.
    """
    if len(blocks) < TREND_BLOCKS:
        return False
    degrees = [degree for degree, _ in blocks[-TREND_BLOCKS:]]
    half = TREND_BLOCKS // 2
    trend = (sum(degrees[half:]) - sum(degrees[:half])) / half
    before, last = blocks[-2][1], blocks[-1][1]
    return abs(trend) <= 0.5 and before > 0 and abs(last / before - 1) <= 0.01


def warm_up(model: Any, batches: Sequence[dict[str, torch.Tensor]], sync: Callable[[], None], cap_s: float) -> bool:
    """Run until the median latencies of two successive blocks agree within 3 %; return whether they did.

    Gives up after `cap_s` seconds.
    """
    deadline = time.monotonic() + cap_s
    before: float | None = None
    while True:
        block = sorted(run_for(model, batches, min(0.3, cap_s), sync, multiple=whole(batches)))
        median = block[len(block) // 2]
        if before is not None and abs(median / before - 1) < 0.03:
            return True
        before = median
        if time.monotonic() >= deadline:
            return False
