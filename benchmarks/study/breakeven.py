"""Rows on break-even: joules of compressing over joules saved per inference, metered in different sessions.

Each board reads 1 + g times the true joules, with g even within 5 %. A session adds a normal effect to the cost of our
model, and to the joules of compressing. The reference is the unit of both, and has none.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.study import SEED, Bound
from compress.analysis.joules import GAIN
from compress.analysis.verdict import breakeven
from compress.records.result import BreakEven, Round, Transform
from tests import factory

SPENT_J, OURS_J, REFERENCE_J = 300.0, 0.05, 0.10
TRUE = SPENT_J / (REFERENCE_J - OURS_J)  # inferences
ROUNDS, NOISE = 6, 0.005


def rows(sessions: int) -> Iterator[Bound]:
    """Yield the coverage of the number of inferences, on one board and on two."""
    for spread in (0.0, 0.02):
        label = f"sessions differ by {100 * spread:g} %"
        yield Bound(f"coverage on two boards, {label}", covered("b", GAIN, sessions, spread=spread), 0.95)
        found = covered("b", GAIN, sessions, extreme=True, spread=spread)
        yield Bound(f"coverage on two boards with gains of +5 % and -5 %, {label}", found, 0.95)
        yield Bound(f"coverage on one board, {label}", covered("a", GAIN, sessions, spread=spread), 0.935)


def measured(
    draw: random.Random,
    compressing: float,
    inferring: float,
    uuid: str | None,
    spread: float = 0.0,
    assumed: float = 0.02,
) -> BreakEven:
    """Return the break-even as meters with these gains measure it. Inferences are metered by the board `a`."""
    ours = inferring * math.exp(spread * draw.gauss(0, 1))
    points = []
    for mean_j, ratios in ((OURS_J * ours, (factory.ratio(latency=0.5, energy=0.5),)), (REFERENCE_J * inferring, ())):
        joules = [80 * mean_j * (1 + draw.gauss(0, NOISE)) for _ in range(ROUNDS)]
        rounds = tuple(Round(i, 0, 0.0, 1.0, 10, 0.0, j, 1.0) for i, j in enumerate(joules))
        energy_j = factory.near(mean_j)
        points.append(replace(factory.point(*ratios, energy_source="nvml"), rounds=rounds, energy_j=energy_j))
    spent_j = SPENT_J * compressing * math.exp(spread * draw.gauss(0, 1))
    spent = Transform(1.0, spent_j, "nvml", None, 0, (), energy_uuid=uuid)
    return breakeven(spent, points[0], points[1], factory.FP32, assumed, meter="a")


def covered(
    uuid: str | None,
    gain: float,
    draws: int = 1000,
    extreme: bool = False,
    spread: float = 0.0,
    assumed: float = 0.02,
) -> float:
    """Return the share of intervals that contain the truth; gains even within +-gain, or one at each bound."""
    draw, hits = random.Random(SEED), 0
    for _ in range(draws):
        inferring = 1 + (gain if extreme else draw.uniform(-gain, gain))
        compressing = inferring if uuid == "a" else 1 - gain if extreme else 1 + draw.uniform(-gain, gain)
        found = measured(draw, compressing, inferring, uuid, spread, assumed).inferences
        hits += found is not None and found.low <= TRUE <= found.high
    return hits / draws
