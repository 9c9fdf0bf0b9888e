"""Intervals of the difference of two paired proportions, from the numbers of discordant pairs.

more     pairs of which only the first is right
fewer    pairs of which only the second is right          difference = (more - fewer) / n
"""

import math
from statistics import NormalDist

import numpy as np

NORMAL = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""
STEPS = 60  # halvings of an interval of length 2: beyond the precision of a float


def agresti_min(more: np.ndarray, fewer: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Agresti and Min's 95 % intervals (2005) of differences of paired proportions.

    Each cell gets half a pair more. The bootstrap fails here: without discordant pairs its interval would have width 0.
    """
    adjusted_n, net = n + 2, more - fewer
    half = NORMAL * np.sqrt(more + fewer + 1 - net * net / adjusted_n) / adjusted_n
    return np.maximum(-1.0, net / adjusted_n - half), np.minimum(1.0, net / adjusted_n + half)


def tango(more: int, fewer: int, n: int, confidence: float) -> tuple[float, float]:
    """Return Tango's score interval (1998, Statistics in Medicine 17) of a difference of paired proportions.

    It keeps its level with few or no discordant pairs, and far in the tails, where widened Wald intervals do not.
    """
    limit = NormalDist().inv_cdf(0.5 + confidence / 2)
    return -_upper(fewer, more, n, limit), _upper(more, fewer, n, limit)


def _upper(more: int, fewer: int, n: int, limit: float) -> float:
    """Return the largest difference whose score statistic is at least -limit, by bisection."""
    low, high = (more - fewer) / n, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        if _score(more, fewer, n, middle) >= -limit:
            low = middle
        else:
            high = middle
    return low


def _score(more: int, fewer: int, n: int, difference: float) -> float:
    """Return the score statistic of a difference: with the other cell at its constrained maximum of likelihood."""
    linear = (2 * n - more + fewer) * difference - more - fewer
    root = math.sqrt(max(0.0, linear * linear + 8 * n * fewer * difference * (1 - difference)))
    cell = (root - linear) / (4 * n)
    variance = n * (2 * cell + difference * (1 - difference))
    excess = more - fewer - n * difference
    return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess) if excess else 0.0
