"""Interval of the difference of two paired proportions, from the numbers of discordant pairs.

more     pairs of which only the first is right
fewer    pairs of which only the second is right          difference = (more - fewer) / n
"""

from statistics import NormalDist

import numpy as np

NORMAL = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""
STEPS = 60  # halvings of an interval of length 2: beyond the precision of a float


def tango(more: np.ndarray, fewer: np.ndarray, n: int, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return Tango's score intervals (1998, Statistics in Medicine 17) of differences of paired proportions.

    `more` and `fewer` are counts of any one shape, which is that of both ends. The interval keeps its level with few
    or no discordant pairs, and far in the tails, where Wald and bootstrap intervals do not.
    """
    limit = NormalDist().inv_cdf(0.5 + confidence / 2)
    gained, lost = np.broadcast_arrays(np.asarray(more, dtype=np.int64), np.asarray(fewer, dtype=np.int64))
    # many rows have the same counts: each is computed once
    keys, place = np.unique(gained * (n + 1) + lost, return_inverse=True)
    gains, losses = (keys // (n + 1)).astype(np.float64), (keys % (n + 1)).astype(np.float64)
    low, high = -_upper(losses, gains, n, limit), _upper(gains, losses, n, limit)
    return low[place].reshape(gained.shape), high[place].reshape(gained.shape)


def _upper(more: np.ndarray, fewer: np.ndarray, n: int, limit: float) -> np.ndarray:
    """Return the largest differences whose score statistic is at least -limit, by bisection."""
    low, high = (more - fewer) / n, np.ones_like(more)
    for _ in range(STEPS):
        middle = (low + high) / 2
        inside = _score(more, fewer, n, middle) >= -limit
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low


def _score(more: np.ndarray, fewer: np.ndarray, n: int, difference: np.ndarray) -> np.ndarray:
    """Return the score statistics of differences: with the other cell at its constrained maximum of likelihood."""
    linear = (2 * n - more + fewer) * difference - more - fewer
    root = np.sqrt(np.maximum(0.0, linear * linear + 8 * n * fewer * difference * (1 - difference)))
    variance = n * ((root - linear) / (2 * n) + difference * (1 - difference))
    excess = more - fewer - n * difference
    certain = np.where(excess == 0, 0.0, np.copysign(np.inf, excess))
    return np.where(variance > 0, excess / np.sqrt(np.where(variance > 0, variance, 1.0)), certain)
