"""Quantiles with intervals from order statistics, free of any assumption about the distribution.

The number of n independent observations below the p-quantile is binomial with n and p. Hence two order statistics
enclose the quantile with a known probability (David and Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1). Few
observations have no such interval: the upper end of a p90 needs 36 of them, that of a p99 needs 368.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from compress.records.stats import CONFIDENCE, Estimate

FRACTIONS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def quantile_estimate(values: Sequence[float], fraction: float) -> Estimate | None:
    """Return the `fraction` quantile with its 95 % interval, or None if too few values have one.

    The value is interpolated linearly between order statistics. Values are taken as independent.
    """
    ends = ranks(len(values), fraction)
    if ends is None:
        return None
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    low, high = (float(ordered[rank - 1]) for rank in ends)
    return Estimate(float(np.quantile(ordered, fraction)), low, high, len(values))


@cache
def ranks(n: int, fraction: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Return the ranks, from 1, of the order statistics that enclose a quantile; None if one of them does not exist.

    Each end fails with a probability of at most (1 - confidence) / 2.
    """
    tail = (1 - confidence) / 2
    below = _cumulative(n, fraction)  # below[k]: at most k of n values lie below the quantile
    low = int(np.searchsorted(below, tail, side="right"))  # largest rank with below[rank - 1] <= tail
    high = int(np.searchsorted(below, 1 - tail, side="left")) + 1  # smallest rank with below[rank - 1] >= 1 - tail
    return (low, high) if low >= 1 and high <= n else None


@cache
def least(fraction: float, confidence: float = CONFIDENCE) -> int:
    """Return the smallest number of values with an interval: 6 for p50, 36 for p90, 368 for p99."""
    rarer = min(fraction, 1 - fraction)
    return math.ceil(math.log((1 - confidence) / 2) / math.log(1 - rarer))


def _cumulative(n: int, fraction: float) -> np.ndarray:
    """Return the cumulative binomial probabilities of 0 to n successes. [n + 1]"""
    k = np.arange(n)
    steps = np.log((n - k) / (k + 1)) + math.log(fraction / (1 - fraction))  # of successive log probabilities
    logs = n * math.log1p(-fraction) + np.concatenate([[0.0], np.cumsum(steps)])
    return np.minimum(np.cumsum(np.exp(logs)), 1.0)
