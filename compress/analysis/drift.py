"""Drift of costs over a session's rounds: of each runner, of all runners together, and of a runner's ratio.

A change is the difference of the median log cost between the first and the last third of rounds. It counts if it
exceeds `LIMIT`. It is drift if the slope over the rounds also exceeds its own noise, by a t test at 95 % with n - 2
degrees of freedom. Otherwise the rounds are too scattered to show a drift, which limits the precision, not the drift:

                        change up to 5 %      change over 5 %
    within its noise    nothing               grade C
    beyond its noise    nothing               drift: grade D, and NOT RELIABLE if it touches latency

Noise therefore never buys a better grade.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from compress.analysis.verdict import Axis
from compress.records.stats import CONFIDENCE, within_t

Of = Literal["own", "all", "ratio"]
AXES: tuple[Axis, ...] = ("latency", "energy")
LIMIT = 0.05
LEAST = 4
"""Rounds below which a trend cannot be told from noise."""
MANY, CLIPPED = 15, 0.3
"""With this many rounds, this share at each end is Winsorized: stalls of one window in six do not hide a trend."""


@dataclass(frozen=True)
class Series:
    """Costs of one runner at one operating point, a value per round."""

    name: str
    seconds: Sequence[float]
    """Seconds per example."""
    joules: Sequence[float] | None
    """Measured joules per example; None if any round lacks them, or without a meter."""


@dataclass(frozen=True)
class Change:
    """Change of a cost from the first to the last third of rounds."""

    size: float
    """Relative: -0.1 is 10 % less."""
    beyond_noise: bool

    @property
    def large(self) -> bool:
        """Whether the change exceeds `LIMIT`."""
        return abs(self.size) > LIMIT


def change(costs: Sequence[float]) -> Change | None:
    """Return the change of positive costs over the rounds; None with fewer than `LEAST` of them."""
    if len(costs) < LEAST:
        return None
    logs = [math.log(cost) for cost in costs]
    third = max(len(logs) // 3, 2)
    return Change(math.expm1(median(logs[-third:]) - median(logs[:third])), _trend_beyond_noise(logs))


def _trend_beyond_noise(logs: Sequence[float]) -> bool:
    """Return whether the least-squares slope over the rounds differs from 0 by a t test at 95 %."""
    n, y = len(logs), np.asarray(logs, dtype=np.float64)
    if n >= MANY:
        y = np.clip(y, *np.quantile(y, [CLIPPED, 1 - CLIPPED]))
    x = np.arange(n) - (n - 1) / 2
    slope = float(x @ y / (x @ x))
    residuals = y - y.mean() - slope * x
    error = math.sqrt(float(residuals @ residuals) / (n - 2) / float(x @ x))
    return within_t(slope / error, n - 2) > CONFIDENCE if error > 0 else slope != 0


def together(everyone: Sequence[Series]) -> Series | None:
    """Return the factor common to all runners: the geometric mean of their costs for each round.

    Runners with fewer rounds than the others are left out. None for a single runner.
    """
    rounds = max((len(series.seconds) for series in everyone), default=0)
    alike = [series for series in everyone if len(series.seconds) == rounds]
    joules = [series.joules for series in alike if series.joules is not None]
    if len(alike) < 2:
        return None
    return Series("all", _geometric([s.seconds for s in alike]), _geometric(joules) if len(joules) > 1 else None)


def _geometric(costs: Sequence[Sequence[float]]) -> list[float]:
    """Return the geometric mean over runners for each round, from [runners][rounds]."""
    logs = np.log(np.asarray(costs, dtype=np.float64))
    return [math.exp(math.fsum(column) / len(column)) for column in logs.T.tolist()]


@dataclass(frozen=True)
class Trend:
    """A cost whose rounds were tested: its change and the words for it."""

    what: str
    axis: Axis
    of: Of
    change: Change

    @property
    def sentence(self) -> str:
        """The change in words."""
        verb, end = ("drifted", "") if self.change.beyond_noise else ("changed", ", within its noise")
        return f"{self.what} {verb} by {100 * self.change.size:+.1f} % from the first to the last third of rounds{end}"


def trends(own: Series, against: Series | None, common: Series | None) -> Iterator[Trend]:
    """Yield every large change of a runner's cost, of the cost of all runners, and of its ratio to `against`."""
    for axis in AXES:
        mine, shared, theirs = (axis_costs(series, axis) for series in (own, common, against))
        if mine is None:
            continue
        tested: list[tuple[Of, str, Sequence[float]]] = [("own", f"its {axis}", mine)]
        if shared is not None and len(shared) == len(mine):
            tested.append(("all", f"the {axis} of all models together", shared))
        if against is not None and theirs is not None and against.name != own.name and len(theirs) == len(mine):
            paired = [a / b for a, b in zip(mine, theirs, strict=True)]
            tested.append(("ratio", f"its ratio of {axis} to {against.name}", paired))
        for of, what, costs in tested:
            found = change(costs)
            if found is not None and found.large:
                yield Trend(what, axis, of, found)


def axis_costs(series: Series | None, axis: Axis) -> Sequence[float] | None:
    """Return the costs of a runner on an axis, or None if they are unknown."""
    if series is None:
        return None
    return series.seconds if axis == "latency" else series.joules
