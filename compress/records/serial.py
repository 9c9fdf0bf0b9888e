"""Correlation between successive rounds, and how it widens an interval.

A runner that wanders slowly (temperature, memory layout) makes rounds alike: their mean is less certain than that of as
many independent rounds. The model is AR(1): the correlation of rounds k apart is rho^k. One runner's rounds are too few
to estimate rho, so that all runners measured in the same rounds are pooled. Wandering that they share cancels in their
ratios; hence each series is a runner's log cost minus the mean over the runners of its round.
"""

import math
from dataclasses import dataclass

import numpy as np

from compress.records.fields import Quantity, Several

FEWEST = 6  # with fewer rounds the bias of the estimate exceeds its range
LARGEST = 0.8  # widening stops here: higher estimates occur by chance, and true ones are flagged
FLAGGED = 0.6  # coverage is at least 93 % up to here, at 10 rounds
RANGE = 0.95  # of the estimate
CLIPPED = 3.0  # standard deviations: one stall must not hide a correlation


@dataclass(frozen=True)
class Correlation:
    """Correlation of costs from one round to the next, estimated from all runners of the session."""

    value: Quantity
    upper: Quantity
    """The value that widens the interval: the estimate with an allowance for its own error, from 0 to 0.8."""
    series: Several
    """Independent series of rounds: runners minus 1, or 1 for absolute costs."""


def pooled(logs: np.ndarray, shared: bool = True) -> Correlation | None:
    """Return the correlation of the log costs [runners, rounds], in order of time; None with too few of either.

    `shared`: for ratios, in which a factor that all runners share in a round cancels. Otherwise for absolute costs: the
    runners may then all follow one factor, and count as a single series.
    """
    runners, n = logs.shape
    if n < FEWEST or runners < 1 + shared:
        return None
    value, upper = estimated(logs, shared)
    return Correlation(float(value), float(upper), runners - 1 if shared else 1)


def estimated(logs: np.ndarray, shared: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return estimated correlation and its upper value, of sessions [..., runners, rounds]. [...]"""
    runners, n = logs.shape[-2:]
    series = logs - logs.mean(axis=-2, keepdims=True) if shared else logs
    centre = np.median(series, axis=-1, keepdims=True)
    reach = CLIPPED * 1.4826 * np.median(np.abs(series - centre), axis=-1, keepdims=True)
    clipped = np.where(reach > 0, np.clip(series, centre - reach, centre + reach), series)
    deviation = clipped - clipped.mean(axis=-1, keepdims=True)
    squares = (deviation**2).sum(axis=-1)
    products = (deviation[..., 1:] * deviation[..., :-1]).sum(axis=-1)
    lag_1 = np.divide(products, squares, out=np.zeros_like(squares), where=squares > 0).mean(axis=-1)
    value = unbiased(lag_1, n)
    return value, _upper(value, n, runners - 1 if shared else 1)


def _upper(value: np.ndarray, n: int, series: int) -> np.ndarray:
    """Return the estimates with an allowance, so that coverage at a correlation of 0.6 is at least 93 % at 10 rounds.

    The standard error of an estimate is about 1 / sqrt(N) for N rounds of all series (Bartlett 1946). With several
    series the allowance is relative: uncorrelated rounds stay narrow. One series is too short for that: an estimate of
    0 excludes little, and 1.25 standard errors are added. Both constants were chosen by simulation.
    """
    error = 1 / math.sqrt(n * series)
    allowed = value * (1 + 4 * error) if series > 1 else value + 1.25 * error
    return np.clip(allowed, 0.0, LARGEST)


def unbiased(lag_1: np.ndarray, n: int) -> np.ndarray:
    """Return the correlation whose expected sample lag-1 correlation over `n` rounds is `lag_1`, by bisection.

    Deviations from a sample's own mean correlate negatively: by about -(1 + 3 rho) / n (Marriott and Pope 1954).
    """
    low, high = np.full_like(lag_1, -RANGE), np.full_like(lag_1, RANGE)
    for _ in range(60):
        middle = (low + high) / 2
        below = expected_lag_1(middle, n) < lag_1
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def expected_lag_1(rho: np.ndarray, n: int) -> np.ndarray:
    """Return expected lag-1 products over expected squares of deviations from the mean of `n` rounds."""
    mean = variance_of_mean(rho, n)
    edge = (1 - rho**n) / (1 - rho) / n  # covariance of the first round with the mean
    return ((n - 1) * (rho + mean) - 2 * n * mean + 2 * edge) / (n * (1 - mean))


def variance_of_mean(rho: np.ndarray | float, n: int) -> np.ndarray | float:
    """Return the variance of the mean of `n` rounds of an AR(1) series over the variance of one round."""
    return ((1 + rho) / (1 - rho) - 2 * rho * (1 - rho**n) / (n * (1 - rho) ** 2)) / n


def inflation(n: int, rho: np.ndarray | float) -> np.ndarray | float:
    """Return the factor on the squared standard error of `n` rounds: 1 for rho 0, above 1 for positive rho.

    The mean varies more, and the sample variance, from which the standard error follows, is too small:
    n var(mean) / E[s^2].
    """
    mean = variance_of_mean(rho, n)
    return n * mean * (n - 1) / (n * (1 - mean))
