"""Quantiles with intervals from order statistics, free of any assumption about the distribution.

The number of n independent values below the p-quantile is binomial with n and p. Hence two order statistics enclose the
quantile with a known probability (David and Nagaraja, Order Statistics, 3rd ed. 2003, section 7.1). Few values have no
such interval: the upper end of a p90 needs 36 of them, that of a p99 needs 368.

Batches of one round resemble each other. Therefore the ranks also cover p +- t x the standard error of the share of
values below the quantile, from its variance between rounds (Woodruff 1952, JASA 47:635): the wider interval counts.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np

from compress.records.stats import CONFIDENCE, Estimate, t_quantile

FRACTIONS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def quantile_estimate(rounds: Sequence[Sequence[float]], fraction: float) -> Estimate | None:
    """Return the `fraction` quantile of all values with its 95 % interval, or None if too few values have one.

    `rounds` holds the values of each round. The quantile is interpolated linearly between order statistics.
    """
    ordered = np.sort(np.concatenate([np.asarray(values, dtype=np.float64) for values in rounds]))
    n, ends = len(ordered), ranks(len(ordered), fraction)
    if ends is None:
        return None
    value = float(np.quantile(ordered, fraction))
    reach = _reach(rounds, fraction, value)
    first = max(1, min(ends[0], math.floor(n * (fraction - reach))))
    last = min(n, max(ends[1], math.ceil(n * (fraction + reach)) + 1))
    return Estimate(value, float(ordered[first - 1]), float(ordered[last - 1]), n)


def _reach(rounds: Sequence[Sequence[float]], fraction: float, value: float) -> float:
    """Return the half-width of the share of values below the quantile, from its variance between rounds."""
    k = len(rounds)
    if k < 2:
        return 0.0
    excess = [sum(v <= value for v in values) - fraction * len(values) for values in rounds]
    mean = math.fsum(excess) / k
    total = sum(len(values) for values in rounds)
    return t_quantile(k) * math.sqrt(k / (k - 1) * math.fsum((e - mean) ** 2 for e in excess)) / total


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
