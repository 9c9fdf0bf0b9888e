"""One window: the same runner, batch after batch, with energy and latency from the same seconds."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from compress.energy import Absent, Meter


@dataclass(frozen=True)
class Window:
    """Raw figures of one window."""

    started_s: float
    duration_s: float
    batch_s: tuple[float, ...]
    energy_j: float | None
    cpu_s: float

    @property
    def gap_s(self) -> float:
        """Seconds of the window that no batch accounts for: the harness's own overhead."""
        return self.duration_s - sum(self.batch_s)


def synchronizer(device: str) -> Callable[[], None]:
    """A function that returns when the device has finished."""
    if device.startswith("cuda"):
        return lambda: torch.cuda.synchronize(device)
    return lambda: None


def run_for(
    model: Any, batches: Sequence[dict[str, torch.Tensor]], seconds: float, sync: Callable[[], None]
) -> list[float]:
    """Seconds of each batch, over at least `seconds` and at least two batches; the batches are taken in turn."""
    times: list[float] = []
    clock = time.perf_counter
    count = len(batches)
    with torch.no_grad():
        sync()
        end = clock() + seconds
        now = 0.0
        while now < end or len(times) < 2:
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
    seconds: float,
    sync: Callable[[], None],
    meter: Meter | Absent,
) -> Window:
    """One window of at least `seconds`; the device is synchronised at both edges."""
    metered = not isinstance(meter, Absent)
    sync()
    cpu = time.process_time()
    joules = meter.read_j() if not isinstance(meter, Absent) else 0.0
    started = time.monotonic()
    clock_start = time.perf_counter()
    times = run_for(model, batches, seconds, sync)
    duration = time.perf_counter() - clock_start
    energy = meter.read_j() - joules if not isinstance(meter, Absent) else None
    return Window(started, duration, tuple(times), energy if metered else None, time.process_time() - cpu)


def warm_up(model: Any, batches: Sequence[dict[str, torch.Tensor]], sync: Callable[[], None], cap_s: float) -> bool:
    """Runs until two successive blocks agree within 3 % (True) or `cap_s` seconds are over (False)."""
    deadline = time.perf_counter() + cap_s
    before: float | None = None
    while True:
        block = sorted(run_for(model, batches, min(0.3, cap_s), sync))
        median = block[len(block) // 2]
        if before is not None and abs(median / before - 1) < 0.03:
            return True
        before = median
        if time.perf_counter() >= deadline:
            return False
