"""Detection of boards whose counter sees only part of each update period, by the doctor's square waves.

Simulated boards average the last quarter of each period, as an A100 or H100 does; honest boards average all of it.
Periods, phases and jitter differ. The doctor must find the former and must not flag the latter.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from benchmarks.study import SEED, Bound
from compress.analysis.agreement import TOLERABLE
from compress.energy import nvml
from compress.energy.doctor.board import square_waves
from compress.energy.doctor.period import update_period
from compress.energy.doctor.report import Report
from compress.energy.meters import Gpu
from tests.simulator import Board, Simulator
from tests.virtual_time import Switch, VirtualTime

BOARDS = 12
DUTY = 0.25  # part of each period that the counter averages
PERIODS_S = (0.02, 0.1)
JITTER = 0.03  # of a movement, of the period; at most


@dataclass(frozen=True)
class Kind:
    """The update period, its phase and its jitter, in seconds."""

    period_s: float
    phase_s: float
    jitter_s: float


def kinds(boards: int = BOARDS) -> list[Kind]:
    """Return periods of 20 to 100 ms with random phases and jitters up to 3 % of the period."""
    draw = random.Random(SEED)
    periods = [draw.uniform(*PERIODS_S) for _ in range(boards)]
    return [Kind(p, draw.uniform(0, p), draw.uniform(0, JITTER * p)) for p in periods]


def misread(kind: Kind, duty: float | None, scale: float = 1.0) -> float:
    """Return the spread that the doctor finds on this board. `duty` None: the counter averages the whole period.

    `scale` multiplies the doctor's durations, as its `quick` does.
    """
    with pytest.MonkeyPatch.context() as patch:
        clock = VirtualTime.install(patch)
        switch = Switch(clock)
        averaged_s = None if duty is None else duty * kind.period_s
        board = Board(
            "GPU-a",
            watts=switch,
            period_s=kind.period_s,
            averaged_s=averaged_s,
            phase_s=kind.phase_s,
            jitter_s=kind.jitter_s,
        )
        patch.setitem(sys.modules, "pynvml", Simulator([board], clock.monotonic))
        meter = nvml.find(Gpu("a"))
        assert isinstance(meter, nvml.NvmlCounter)
        report = Report()
        period = update_period(meter, report, 6 * scale)
        assert period is not None
        meter.step_s, meter.harmed_by_reading = period.step_s, False
        spread = square_waves(meter, report, 5 * scale, switch.load, period.median_s)
        assert spread is not None
        return spread


def flagged(duty: float | None, boards: Sequence[Kind] | None = None, scale: float = 1.0) -> int:
    """Return how many boards are reported as misreading loads near their update period."""
    return sum(misread(kind, duty, scale) > TOLERABLE for kind in boards or kinds())


def rows(boards: int) -> Iterator[Bound]:
    """Yield the share of boards found, and of honest boards flagged."""
    examined = kinds(boards)
    found = flagged(DUTY, examined) / boards
    yield Bound("boards whose counter sees 25 % of each period, found by the doctor", found, 0.916)
    yield Bound("boards whose counter sees all of it, flagged", flagged(None, examined) / boards, 0, 0.05)
