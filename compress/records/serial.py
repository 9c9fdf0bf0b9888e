"""Correlation between successive rounds, and how it widens an interval.

A runner that wanders slowly (temperature, memory layout) makes rounds alike: their mean is less certain than that of as
many independent rounds. The model is AR(1): the correlation of rounds k apart is rho^k. The rounds of one pair are too
few to estimate rho, so that the log-ratios of all pairs of runners in the same rounds are pooled. Wandering that the
runners share cancels in them, and a stalled window affects only the pairs of its runner.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from compress.records.fields import Several

FEWEST = 6  # with fewer rounds the bias of the estimate exceeds its range
LARGEST = 0.8  # widening stops here: higher estimates occur by chance, and true ones are flagged
FLAGGED = 0.6  # coverage is at least 93 % up to here, at 10 rounds
RANGE = 0.95  # of the estimate
ROUNDING = 1e-12  # relative differences below this are not noise
CLIPPED = 3.0  # standard deviations: one stall must not hide a correlation


@dataclass(frozen=True)
class Correlation:
    """Correlation of costs from one round to the next, estimated from all runners of the session."""

    value: Annotated[float, Field(ge=-1, le=1)]
    error: Annotated[float, Field(ge=0, le=10)]
    """Standard error of the value if rounds are independent."""
    upper: Annotated[float, Field(ge=0, le=1)]
    """The value that widens the interval: the estimate with an allowance for its own error, from 0 to 0.8."""
    series: Several
    """Independent series among the runners' ratios: runners minus 1. For absolute costs: 1."""

    @property
    def flagged(self) -> bool:
        """Whether rounds are so correlated that intervals may be too narrow: above 0.6 and above the error."""
        return self.value > max(FLAGGED, self.error)


def pooled(logs: np.ndarray, shared: bool = True) -> Correlation | None:
    """Return the correlation of the log costs [runners, rounds], in order of time; None with too few of either.

    `shared`: for ratios, in which a factor that all runners share in a round cancels. Otherwise for absolute costs: the
    runners may then all follow one factor, and count as a single series.
    """
    runners, n = logs.shape
    if n < FEWEST or runners < 1 + shared:
        return None
    series = runners - 1 if shared else 1
    value = estimated(logs, shared)
    return Correlation(float(value), n / (n - 4) / math.sqrt(n * series), float(allowed(value, n, series)), series)


def estimated(logs: np.ndarray, shared: bool = True) -> np.ndarray:
    """Return the estimated correlation of sessions [..., runners, rounds]: the mean over all pairs of runners. [...]

    Deviations from the mean of few rounds correlate negatively. A sample lag-1 correlation r of n rounds is therefore
    too small by (1 + 4 rho) / n (Kendall 1954; Marriott and Pope 1954, Biometrika 41), hence (n r + 1) / (n - 4).
    """
    runners, n = logs.shape[-2:]
    one, other = np.triu_indices(runners, 1)
    series = logs[..., one, :] - logs[..., other, :] if shared else logs
    centre = np.median(series, axis=-1, keepdims=True)
    reach = CLIPPED * 1.4826 * np.median(np.abs(series - centre), axis=-1, keepdims=True)
    clipped = np.where(reach > 0, np.clip(series, centre - reach, centre + reach), series)
    deviation = clipped - clipped.mean(axis=-1, keepdims=True)
    squares = (deviation**2).sum(axis=-1)
    products = (deviation[..., 1:] * deviation[..., :-1]).sum(axis=-1)
    lag_1 = np.divide(products, squares, out=np.zeros_like(squares), where=squares > n * ROUNDING**2)
    return np.clip((n * lag_1.mean(axis=-1) + 1) / (n - 4), -RANGE, RANGE)


def allowed(value: np.ndarray, n: int, series: int) -> np.ndarray:
    """Return the correlation that widens an interval: coverage at 0.6 is then at least 93 % at 10 rounds.

    With several series the allowance is relative, two standard errors, so that uncorrelated rounds stay narrow. One
    series is too short for that: an estimate of 0 excludes little, and one standard error is added. The study shows
    coverage and width.
    """
    error = 1 / math.sqrt(n * series)
    return np.clip(value * (1 + 2 * error) if series > 1 else value + error, 0.0, LARGEST)


def variance_of_mean(rho: np.ndarray | float, n: int) -> np.ndarray | float:
    """Return the variance of the mean of `n` rounds of an AR(1) series over the variance of one round."""
    return ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n) / (n * (1 - rho) ** 2)) / n


def inflation(n: int, rho: np.ndarray | float) -> np.ndarray | float:
    """Return the factor on the squared standard error of `n` rounds: 1 for rho 0, above 1 for positive rho.

    The mean varies more, and the sample variance, from which the standard error follows, is too small:
    n var(mean) / E[s^2].
    """
    mean = variance_of_mean(rho, n)
    return (n - 1) * mean / (1 - mean)
