"""Warm-up on simulated ramps: how much a runner has left to gain when its warm-up ends without a flag.

    latency(t) = L (1 + a exp(-t / tau)), with independent noise of every batch

Every session goes through `compress.measure.warmup.WarmUp`, on a clock that moves with the batches.
"""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from compress.measure import latency, warmup
from compress.measure.disturbance import Reading

SEED = 20260501
TAUS_S = (1.0, 3.0, 10.0, 30.0)
HEIGHTS = (0.05, 0.1, 0.2, 0.5)
NOISES = (0.01, 0.03, 0.05)
BATCH_S = 0.02
CAP_S = 120.0
SHORT_CAP_S = 30.0  # of profile quick
LEFT = 0.01


@dataclass
class Clock:
    """Seconds that only batches let pass."""

    now: float = 0.0

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self.now

    def monotonic_ns(self) -> int:
        """Return the same in nanoseconds."""
        return round(1e9 * self.now)


@dataclass
class Ramp:
    """A model that becomes faster with time."""

    clock: Clock
    draw: random.Random
    height: float
    tau_s: float
    noise: float

    @property
    def left(self) -> float:
        """Relative latency above the final one."""
        return self.height * math.exp(-self.clock.now / self.tau_s)

    def __call__(self, **_: Any) -> None:
        """Run one batch."""
        self.clock.now += BATCH_S * (1 + self.left) * max(0.1, 1 + self.noise * self.draw.gauss(0, 1))


@contextmanager
def on(clock: Clock) -> Iterator[None]:
    """Have warm-up go by a clock, on a machine without disturbances."""
    before: list[tuple[Any, str, Any]] = [(latency, "time", latency.time), (warmup, "time", warmup.time)]
    before += [(warmup, "reading", warmup.reading)]
    times = SimpleNamespace(monotonic=clock.monotonic, monotonic_ns=clock.monotonic_ns)
    quiet = Reading(stolen_s=0.0, foreign_s=0.0, switches=0)
    try:
        for module, name, _ in before:
            setattr(module, name, times if name == "time" else lambda: quiet)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def warm_up(
    draw: random.Random, height: float, tau_s: float, noise: float, runners: int = 1, cap_s: float = CAP_S
) -> tuple[float, float, bool]:
    """Return (seconds, relative latency left, steady) of a warm-up in which all runners share a ramp."""
    clock = Clock()
    with on(clock):
        ramp = Ramp(clock, draw, height, tau_s, noise)
        warming = warmup.WarmUp([str(i) for i in range(runners)], [{}], lambda: None, cap_s)
        while not warming.over:
            for i in range(runners):
                warming.block(str(i), ramp)
        return clock.now, ramp.left, not warming.unsteady()


def ramps(repeats: int = 5) -> list[tuple[str, float, float, float]]:
    """Return the rows of the study: (property, value, lowest, highest), as fractions."""
    draw = random.Random(SEED)
    cases = [(h, t, n, r) for h in HEIGHTS for t in TAUS_S for n in NOISES for r in (1, 5)]
    runs = [warm_up(draw, *case) for case in cases for _ in range(repeats)]
    missed = sum(steady and left > LEFT for _, left, steady in runs) / len(runs)
    short = [
        warm_up(draw, h, t, n, cap_s=SHORT_CAP_S)
        for h in HEIGHTS
        for t in TAUS_S
        for n in NOISES
        for _ in range(repeats)
    ]
    missed_short = sum(steady and left > LEFT for _, left, steady in short) / len(short)
    flat = [warm_up(draw, 0.0, 1.0, n, r) for n in NOISES for r in (1, 5) for _ in range(repeats)]
    flagged = sum(not steady for *_, steady in flat) / len(flat)
    return [
        ("ramps of tau 1 to 30 s with over 1 % left at the end of warm-up, not flagged", missed, 0, 0.05),
        ("the same where warm-up is cut at 30 s", missed_short, 0, 0.05),
        ("warm-up of a steady runner flagged, cv 1 to 5 %", flagged, 0, 0.05),
    ]


if __name__ == "__main__":
    for what, value, low, high in ramps():
        print(
            f"{'ok    ' if low <= value <= high else 'MISSED'}  {what}: {100 * value:.2f} % (at most {100 * high:g} %)"
        )
