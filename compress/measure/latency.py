"""One window: the same runner, batch after batch, with energy and latency from the same seconds."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from compress.energy.meters import Absent, Meter, read_uj
from compress.energy.sampler import Sampler
from compress.records.session import Window

BLOCK_S = 5.0
TREND_BLOCKS = 12  # 60 s
NEAR_S = 0.005  # between two looks at the counter while one of its movements is waited for
SLOW_S = 0.1  # the same on a board whose count reading changes


class Settings(Protocol):
    """How long a window and what precedes it last."""

    @property
    def window_s(self) -> float:
        """Seconds of a window, at least."""

    @property
    def preroll_s(self) -> float:
        """Seconds of the same load before it."""

    @property
    def least_batches(self) -> int:
        """Batches in a window, at least."""

    @property
    def least_movements(self) -> int:
        """Movements of the energy counter in a window, at least."""


def synchronizer(devices: Sequence[str]) -> Callable[[], None]:
    """A function that returns when all of these devices have finished."""
    if not devices[0].startswith("cuda"):
        return lambda: None
    if len(devices) == 1:
        return lambda: torch.cuda.synchronize(devices[0])

    def all_of_them() -> None:
        for device in devices:
            torch.cuda.synchronize(device)

    return all_of_them


def run_for(
    model: Any, batches: Sequence[dict[str, torch.Tensor]], seconds: float, sync: Callable[[], None], least: int = 2
) -> list[int]:
    """Nanoseconds of each batch, over at least `seconds` and `least` batches; the batches are taken in turn."""
    times: list[int] = []
    clock = time.monotonic_ns
    count = len(batches)
    with torch.no_grad():
        sync()
        end = clock() + round(1e9 * seconds)
        now = 0
        while now < end or len(times) < least:
            batch = batches[len(times) % count]
            start = clock()
            model(**batch)
            sync()
            now = clock()
            times.append(now - start)
    return times


def measure_window(
    model: Any,
    batches: Sequence[dict[str, torch.Tensor]],
    settings: Settings,
    sync: Callable[[], None],
    meter: Meter | Absent,
    sampler: Sampler,
) -> Window:
    """One pre-roll, one window, and load around its edges for as long as the counter needs to be seen moving.

    The device is synchronised at both edges.
    """
    run_for(model, batches, settings.preroll_s, sync)
    _around_edge(model, batches, sync, sampler)
    finely = sampler.step_s == 0  # else the sampler's readings tell; waiting for one here, the device would idle
    cpu = time.process_time_ns()
    start_uj = read_uj(meter) if finely else None
    started = time.monotonic_ns()
    seconds = max(settings.window_s, settings.least_movements * sampler.step_s)
    times = run_for(model, batches, seconds, sync, settings.least_batches)
    ended = time.monotonic_ns()
    end_uj = read_uj(meter) if finely else None
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
    """Runs the models in turn until the device's temperature and power have settled, or `cap_s` seconds are over.

    Every block holds a turn of each, so that blocks can be compared whatever the models draw. None where the device
    tells no temperature.
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
    """Mean power of a block, from one movement of the counter to another: unaligned edges would make 2 % of noise."""
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
    return None if start_uj is None or end_uj is None else 1e3 * (end_uj - start_uj) / (end - start)  # uJ / ns = kW


def settled(blocks: Sequence[tuple[int, float]]) -> bool:
    """Whether (whole degrees, power) of successive blocks show no trend over 60 s, and the last two agree within 1 %.

    Half a degree between the halves of a minute is what rounding alone makes of a constant temperature.
    """
    if len(blocks) < TREND_BLOCKS:
        return False
    degrees = [degree for degree, _ in blocks[-TREND_BLOCKS:]]
    half = TREND_BLOCKS // 2
    trend = (sum(degrees[half:]) - sum(degrees[:half])) / half
    before, last = blocks[-2][1], blocks[-1][1]
    return abs(trend) <= 0.5 and before > 0 and abs(last / before - 1) <= 0.01


def warm_up(model: Any, batches: Sequence[dict[str, torch.Tensor]], sync: Callable[[], None], cap_s: float) -> bool:
    """Runs until two successive blocks agree within 3 % (True) or `cap_s` seconds are over (False)."""
    deadline = time.monotonic() + cap_s
    before: float | None = None
    while True:
        block = sorted(run_for(model, batches, min(0.3, cap_s), sync))
        median = block[len(block) // 2]
        if before is not None and abs(median / before - 1) < 0.03:
            return True
        before = median
        if time.monotonic() >= deadline:
            return False
