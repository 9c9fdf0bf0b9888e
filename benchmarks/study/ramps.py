"""Warm-up on simulated ramps: how much a runner has left to gain when its warm-up ends without a flag.

    latency(t) = L (1 + a exp(-t / tau)), with independent noise of every batch

Every session goes through `compress.measure.warmup.WarmUp`, on a clock that moves with the batches.
"""

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from benchmarks.study import SEED, Bound
from compress.measure import latency, warmup
from compress.measure.disturbance import Reading

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


def rows(warm_ups: int) -> Iterator[Bound]:
    """Yield missed ramps, and steady runners that are flagged. `warm_ups` is the number of each row."""
    draw = random.Random(SEED)
    steep = [(height, tau_s, noise) for height in HEIGHTS for tau_s in TAUS_S for noise in NOISES]
    label = "ramps of tau 1 to 30 s with over 1 % left after warm-up, not flagged"
    yield Bound(label, _missed(draw, steep, warm_ups, CAP_S), 0, 0.05)
    yield Bound(f"the same, warm-up cut at {SHORT_CAP_S:g} s", _missed(draw, steep, warm_ups, SHORT_CAP_S), 0, 0.05)
    flat = [not warm_up(draw, 0.0, 1.0, NOISES[i % 3], 1 + i % 2 * 4)[2] for i in range(warm_ups)]
    yield Bound("steady runners flagged, cv 1 to 5 %", sum(flat) / len(flat), 0, 0.05)


def _missed(draw: random.Random, steep: Sequence[tuple[float, float, float]], warm_ups: int, cap_s: float) -> float:
    """Return the share of ramps that end with too much left and without a flag, by turns with 1 and 5 runners."""
    runs = [warm_up(draw, *steep[i // 2 % len(steep)], 1 + i % 2 * 4, cap_s) for i in range(warm_ups)]
    return sum(steady and left > LEFT for _, left, steady in runs) / len(runs)
