"""Warm-up before the first round: latency first, then the temperature and power of a device that reports them.

All runners of a session warm up in turn, one block each, so that a ramp that they share (clocks, temperature) is seen
by all of them over the whole time. `compress.measure.trend` has the rule.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch

from compress.energy.meters import Absent, Meter, read_uj
from compress.measure.disturbance import between, reading, severity
from compress.measure.latency import run_for, whole
from compress.measure.trend import DISTINCT_OWN, LEAST_BLOCKS, PARTS, UNCERTAIN_OWN, Series, late, trend
from compress.records.session import Ramp
from compress.records.window import Window

Batches = Sequence[dict[str, torch.Tensor]]
WARM_BLOCK_S = 0.3
AT_CAP = 2 / 3  # of the blocks: the part whose slope flags a warm-up that was cut
LOAD_S = 4.0  # of a block of power, between its edges
BLOCK_S = 5.0  # with both edges; longer where the counter must be read slowly
TREND_BLOCKS = 12  # 60 s
UNCERTAIN_POWER = 0.005  # standard error of the change over 12 blocks
EDGE_READINGS = 12
GOLDEN = 0.618034  # its multiples, modulo 1, lie evenly between 0 and 1
SLOW_S = 0.1  # between two readings of a board whose count is disturbed by faster ones


@dataclass(frozen=True)
class Block:
    """One block of a runner."""

    seconds: float
    """Its middle, on a clock that only its differences matter of."""
    log: float
    """Logarithm of the median latency."""
    quiet: bool


class WarmUp:
    """Blocks of the runners that warm up together, until all are steady or `cap_s` seconds and five turns are over."""

    def __init__(self, names: Sequence[str], batches: Batches, sync: Callable[[], None], cap_s: float) -> None:
        """Start the clock."""
        self._batches, self._sync = batches, sync
        self._block_s = min(WARM_BLOCK_S, cap_s / len(names) / LEAST_BLOCKS / 2)
        self._deadline = time.monotonic() + cap_s
        self._names = list(names)
        self._turns: list[dict[str, Block]] = []
        """Blocks by runner; a turn has one of each."""

    def block(self, name: str, model: Any, batches: Batches | None = None) -> None:
        """Run one block of a runner, on batches of its own if it has any."""
        batches = self._batches if batches is None else batches
        before, started = reading(), time.monotonic_ns()
        times = run_for(model, batches, self._block_s, self._sync, least=1, multiple=whole(batches))
        ended = time.monotonic_ns()
        window = Window(started, ended, tuple(times), 0, None, None, disturbance=between(before, reading()))
        if not self._turns or name in self._turns[-1]:
            self._turns.append({})
        self._turns[-1][name] = Block((started + ended) / 2e9, math.log(median(times)), severity(window) <= 1)

    def keep(self, names: Collection[str]) -> None:
        """Forget all other runners: they failed."""
        self._names = [name for name in self._names if name in names]
        self._turns = [{name: block for name, block in turn.items() if name in names} for turn in self._turns]

    @property
    def over(self) -> bool:
        """Whether all runners are steady, or the time is up. Only undisturbed blocks end the warm-up early."""
        timed_out = time.monotonic() >= self._deadline and len(self._turns) >= LEAST_BLOCKS
        return timed_out or self._steady(self._quiet())

    def unsteady(self) -> dict[str, Ramp]:
        """Return the runners that were not shown to be steady at the end, each with its ramp.

        If disturbances left fewer than five blocks of a runner, all blocks count.
        """
        quiet = self._quiet()
        if self._steady(quiet):
            return {}
        related = self._series(relative(quiet)).values() if len(self._names) > 1 else ()
        enough = all(len(series) >= LEAST_BLOCKS for series in (*self._series(quiet).values(), *related))
        turns = quiet if enough else self._turns
        return ramping(self._series(turns), self._series(relative(turns)))

    def _quiet(self) -> list[dict[str, Block]]:
        return [{name: block for name, block in turn.items() if block.quiet} for turn in self._turns]

    def _series(self, turns: Sequence[Mapping[str, Block]]) -> dict[str, Series]:
        return {n: [(turn[n].seconds, turn[n].log) for turn in turns if n in turn] for n in self._names}

    def _steady(self, turns: Sequence[Mapping[str, Block]]) -> bool:
        return all_steady(list(self._series(turns).values()), list(self._series(relative(turns)).values()))


def relative(turns: Sequence[Mapping[str, Block]]) -> list[dict[str, Block]]:
    """Return the blocks with latencies relative to the median runner of their turn: what all share cancels.

    Turns with a single runner are left out.
    """
    found = []
    for turn in turns:
        if len(turn) > 1:
            level = median(block.log for block in turn.values())
            found.append({name: replace(block, log=block.log - level) for name, block in turn.items()})
    return found


def all_steady(groups: Sequence[Series], own: Sequence[Series]) -> bool:
    """Return whether the slope common to all runners is negligible, and that of each one relative to the others."""
    related = own if len(groups) > 1 else ()
    if not groups or min(map(len, (*groups, *related))) < LEAST_BLOCKS:
        return False
    return any(trend([late(series, part) for series in groups]).negligible() for part in PARTS) and all(
        any(trend([late(series, part)]).negligible(uncertain=UNCERTAIN_OWN) for part in PARTS) for series in related
    )


def goes_on(series: Series) -> bool:
    """Return whether a runner has a slope over all its blocks that its late blocks still have."""
    whole, recent = trend([series]), trend([late(series, AT_CAP)])
    return whole.distinct(errors=DISTINCT_OWN) and recent.distinct() and whole.slope * recent.slope > 0


def ramping(series: Mapping[str, Series], own: Mapping[str, Series]) -> dict[str, Ramp]:
    """Return the ramp of every runner of a warm-up that did not become steady.

    own        its slope relative to the others is distinguishable from 0; also too few blocks, or no other runner
    all        only the slope common to all runners is distinguishable
    unknown    no slope is distinguishable, nor shown to be negligible
    """
    found: dict[str, Ramp] = {name: "own" for name, group in series.items() if len(group) < LEAST_BLOCKS}
    known = {name: late(group, AT_CAP) for name, group in series.items() if name not in found}
    found |= {name: "own" for name in known if len(own[name]) >= LEAST_BLOCKS and goes_on(own[name])}
    common: Ramp = "all" if len(series) > 1 else "own"
    rest: Ramp = common if known and trend(list(known.values())).distinct() else "unknown"
    return {name: found.get(name, rest) for name in series}


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


def _power(models: Sequence[Any], batches: Batches, sync: Callable[[], None], meter: Meter) -> float | None:
    """Return the mean power in watts of a block, or None. Readings at arbitrary edges would add 2 % of noise.

    The first model runs at both edges, so that a late count is late by the same energy.
    """
    start = _edge(models[0], batches, sync, meter)
    for model in models:
        run_for(model, batches, LOAD_S / len(models), sync, least=1)
    end = _edge(models[0], batches, sync, meter)
    return None if start is None or end is None else 1e3 * (end[0] - start[0]) / (end[1] - start[1])  # uJ / ns = 1e3 W


def _edge(model: Any, batches: Batches, sync: Callable[[], None], meter: Meter) -> tuple[float, float] | None:
    """Return mean count (uJ) and mean time (ns) of several readings under load.

    The counter has moved at an unknown time within its step before each reading. Pauses of many lengths spread
    these times, so that the mean is late by half a step at every edge. Where fast reading does harm, pauses are 0.1 s
    or longer.
    """
    step_s = meter.step_s or 0.0
    whole_steps = math.ceil(SLOW_S / step_s) if meter.harmed_by_reading and step_s else 0
    run_for(model, batches, 2 * step_s, sync, least=1)
    counts, times = [], []
    for i in range(EDGE_READINGS):
        run_for(model, batches, (whole_steps + GOLDEN * i % 1) * step_s, sync, least=1)
        counts.append(read_uj(meter))
        times.append(time.monotonic_ns())
    known = [count for count in counts if count is not None]
    return (math.fsum(known) / len(known), math.fsum(times) / len(times)) if len(known) == len(counts) else None


def settled(blocks: Sequence[tuple[int, float]]) -> bool:
    """Return whether blocks of (whole degrees, power) have settled.

    Over the last 60 s the temperature must show no trend, and the slope of power must be negligible. Rounding a
    constant temperature to whole degrees alone can make the halves of a minute differ by half a degree.
    """
    if len(blocks) < TREND_BLOCKS:
        return False
    degrees = [degree for degree, _ in blocks[-TREND_BLOCKS:]]
    half = TREND_BLOCKS // 2
    change = (sum(degrees[half:]) - sum(degrees[:half])) / half
    if abs(change) > 0.5 or min(power for _, power in blocks[-TREND_BLOCKS:]) <= 0:
        return False
    powers = [(i * BLOCK_S, math.log(power)) for i, (_, power) in enumerate(blocks[-TREND_BLOCKS:])]
    return trend([powers]).negligible(TREND_BLOCKS * BLOCK_S, UNCERTAIN_POWER)
