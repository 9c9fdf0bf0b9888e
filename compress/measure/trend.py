"""Whether costs have become steady: the slope of their logarithms over time, against its own noise.

The slope is that of a straight line by least squares, with its standard error from the residuals. Several runners
share the slope and have a level each. A cost that approaches its final value exponentially with a time constant of tau
has slope x tau left to go; slow ramps (temperature) have time constants of up to about 30 s.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAST_BLOCKS = 5
HORIZON_S = 30.0
LEFT = 0.01  # of the cost, still to go
UNCERTAIN = 0.005  # its standard error
UNCERTAIN_OWN = 0.01  # the same for one of several runners, relative to the others
DISTINCT = 2.0  # standard errors: a slope beyond is distinguishable from 0
DISTINCT_OWN = 3.0  # the same for one of several runners: of few blocks each, and several tests
PARTS = (1.0, 2 / 3, 1 / 3)  # all blocks or the latest: the beginning of a ramp must not count forever

Series = Sequence[tuple[float, float]]
"""(time in seconds, logarithm of a cost), in order of time."""


@dataclass(frozen=True)
class Trend:
    """Relative change per second, and its standard error."""

    slope: float
    error: float

    def distinct(self, horizon_s: float = HORIZON_S, errors: float = DISTINCT) -> bool:
        """Return whether the slope is distinguishable from 0, and changes a cost by over 0.1 % in `horizon_s`."""
        return abs(self.slope) > errors * self.error and abs(self.slope) * horizon_s > LEFT / 10

    def negligible(self, horizon_s: float = HORIZON_S, uncertain: float = UNCERTAIN) -> bool:
        """Return whether a cost changes by 1 % at most in `horizon_s`, with a standard error of at most `uncertain`."""
        small = abs(self.slope) * horizon_s <= LEFT and self.error * horizon_s <= uncertain
        return small and not self.distinct(horizon_s)


def trend(groups: Sequence[Series]) -> Trend:
    """Return the common slope of series that have a level each. Needs more blocks than series, plus one."""
    square, product, total, count = 0.0, 0.0, 0.0, 0
    for series in groups:
        middle = math.fsum(t for t, _ in series) / len(series)
        level = math.fsum(y for _, y in series) / len(series)
        square += math.fsum((t - middle) ** 2 for t, _ in series)
        product += math.fsum((t - middle) * (y - level) for t, y in series)
        total += math.fsum((y - level) ** 2 for _, y in series)
        count += len(series)
    residual = max(0.0, total - product**2 / square)
    return Trend(product / square, math.sqrt(residual / (count - len(groups) - 1) / square))


def late(series: Series, part: float) -> Series:
    """Return the last `part` of a series, at least `LEAST_BLOCKS` of it."""
    return series[-max(LEAST_BLOCKS, math.ceil(part * len(series))) :]
