"""Loads for examining meters: products of large matrices, busy for a fraction of every period."""

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

SIZE = 4096  # 16-bit: 3 x 32 MiB, over 100 GFLOP per product: enough to saturate any GPU


def cpu_load() -> Callable[[float, float, float], None]:
    """Return load(seconds, duty, period_s), which multiplies matrices on all cores of this process."""
    import torch

    value = torch.randn(512, 512)

    def burn(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value @ value

    return part_time(burn)


def gpu_load(device: "torch.device") -> Callable[[float, float, float], None]:
    """Return load(seconds, duty, period_s) on a CUDA device; the load returns when the device has finished."""
    import torch

    weight = torch.randn(SIZE, SIZE, device=device, dtype=torch.float16) / SIZE**0.5
    value = torch.randn(SIZE, SIZE, device=device, dtype=torch.float16)

    def burn(seconds: float) -> None:
        nonlocal value
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = weight @ value
            torch.cuda.synchronize(device)
        value = torch.nan_to_num(value, posinf=1.0, neginf=-1.0)

    return part_time(burn)


def part_time(burn: Callable[[float], None]) -> Callable[[float, float, float], None]:
    """Return load(seconds, duty, period_s), which calls `burn` for a fraction `duty` of every period."""

    def load(seconds: float, duty: float, period_s: float) -> None:
        start = time.monotonic()
        end = start + seconds
        for number in range(math.ceil(seconds / period_s)):  # by the clock: delays do not add up
            begin = start + number * period_s
            burn(min(end, begin + duty * period_s) - time.monotonic())
            if duty < 1:
                time.sleep(max(0.0, min(end, begin + period_s) - time.monotonic()))

    return load
