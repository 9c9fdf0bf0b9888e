"""Warm-up on simulated ramps: how much a runner has left to gain when its warm-up ends without a flag.

    latency(t) = L (1 + a exp(-t / tau)), with independent noise of every batch

Every session goes through `compress.measure.warmup.WarmUp`, on a clock that moves with the batches.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

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
WANDER, WANDER_TAU_S = 0.1, 3.0


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
    machine: "Wandering"

    @property
    def left(self) -> float:
        """Relative latency above the final one."""
        return self.height * math.exp(-self.clock.now / self.tau_s)

    def __call__(self, **_: Any) -> None:
        """Run one batch."""
        self.clock.now += (
            BATCH_S * (1 + self.left) * max(0.1, 1 + self.noise * self.draw.gauss(0, 1)) * self.machine.factor()
        )


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


@dataclass
class Wandering:
    """A machine whose speed changes by itself: an Ornstein-Uhlenbeck process that all models share."""

    clock: Clock
    draw: random.Random
    size: float
    """Standard deviation of the log latency."""
    tau_s: float = WANDER_TAU_S
    value: float = 0.0
    at: float = 0.0

    def factor(self) -> float:
        """Return the factor on latency now."""
        kept = math.exp(-(self.clock.now - self.at) / self.tau_s)
        self.value = kept * self.value + math.sqrt(1 - kept**2) * self.draw.gauss(0, 1)
        self.at = self.clock.now
        return math.exp(self.size * self.value)


class Ended(NamedTuple):
    """How a simulated warm-up ended."""

    seconds: float
    left: float
    """Relative latency of the first runner above its final one."""
    ramps: Mapping[str, str]
    """Runners that were flagged."""


def warm_up(
    draw: random.Random,
    height: float,
    tau_s: float,
    noise: float,
    runners: int = 1,
    cap_s: float = CAP_S,
    alone: bool = False,
    wander: float = 0.0,
) -> Ended:
    """Return how a warm-up ends in which all runners share a ramp, or the first has one `alone`."""
    clock = Clock()
    with on(clock):
        machine = Wandering(clock, draw, wander)
        ramp = Ramp(clock, draw, height, tau_s, noise, machine)
        models = [
            ramp,
            *(Ramp(clock, draw, 0.0 if alone else height, tau_s, noise, machine) for _ in range(1, runners)),
        ]
        warming = warmup.WarmUp([str(i) for i in range(runners)], [{}], lambda: None, cap_s)
        while not warming.over:
            for i, model in enumerate(models):
                warming.block(str(i), model)
        return Ended(clock.now, ramp.left, warming.unsteady())


def rows(warm_ups: int) -> Iterator[Bound]:
    """Yield missed ramps, and steady runners that are flagged. `warm_ups` is the number of each row."""
    steep = [(height, tau_s, noise) for height in HEIGHTS for tau_s in TAUS_S for noise in NOISES]
    label = "ramps of tau 1 to 30 s with over 1 % left after warm-up, not flagged"
    for cap_s, text in ((CAP_S, label), (SHORT_CAP_S, f"the same, warm-up cut at {SHORT_CAP_S:g} s")):
        draw = random.Random(SEED)
        runs = [warm_up(draw, *steep[i // 2 % len(steep)], 1 + i % 2 * 4, cap_s) for i in range(warm_ups)]
        yield Bound(text, sum(run.left > LEFT and not run.ramps for run in runs) / len(runs), 0, 0.05)
    for runners in (2, 5, 14):
        draw = random.Random(SEED)
        runs = [warm_up(draw, *steep[i % len(steep)], runners, SHORT_CAP_S, alone=True) for i in range(warm_ups // 2)]
        text = f"ramps of one of {runners} runners, over 1 % left at {SHORT_CAP_S:g} s, not flagged"
        yield Bound(text, sum(run.left > LEFT and "0" not in run.ramps for run in runs) / len(runs), 0, 0.05)
        text = f"ramps of one of {runners} runners, over 5 % left at {SHORT_CAP_S:g} s, not flagged as its own"
        yield Bound(text, sum(run.left > 0.05 and run.ramps.get("0") != "own" for run in runs) / len(runs), 0, 0.05)
    draw = random.Random(SEED)
    flat = [warm_up(draw, 0.0, 1.0, NOISES[i % 3], 1 + i % 2 * 4) for i in range(warm_ups)]
    yield Bound("steady runners flagged, cv 1 to 5 %", sum(bool(run.ramps) for run in flat) / len(flat), 0, 0.05)


def wandering_machines(warm_ups: int) -> Iterator[Bound]:
    """Yield rows on a machine that wanders, so that no warm-up becomes steady in time: a quarter of `warm_ups` each."""
    warm_ups = max(1, warm_ups // 4)
    for runners in (2, 5):
        draw, own = random.Random(SEED), Counter[bool]()
        where = f"{runners} runners, machine wanders by {100 * WANDER:g} %"
        for _ in range(warm_ups):
            run = warm_up(draw, 0.0, 1.0, 0.02, runners, SHORT_CAP_S, wander=WANDER)
            own[False] += "own" in run.ramps.values()
            run = warm_up(draw, 0.5, 30.0, 0.02, runners, SHORT_CAP_S, alone=True, wander=WANDER)
            own[True] += run.ramps.get("0") == "own"
        yield Bound(
            f"steady runners flagged as changing relative to the others, {where}", own[False] / warm_ups, 0, 0.1
        )
        yield Bound(f"a runner with 18 % left flagged as such, {where}", own[True] / warm_ups, 0.8)
