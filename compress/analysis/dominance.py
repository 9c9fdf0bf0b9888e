"""Dominance of rows under uncertainty, and the front that follows from it.

    a dominates b      a costs less than b, and its metric is not worse by more than the margin;
                       or a's metric is better, and it costs at most 2 % more

Each part must be shown: by the 95 % interval of the paired difference of the two rows, on the same rounds and the same
examples. Rows that dominate each other, as they can within the margins, remove neither of them. The front is the one
set of rows in which none dominates another, and in which some row dominates each row outside (an approximate Pareto
set: Laumanns et al. 2002, Evolutionary Computation 10(3), definition 5). Margins therefore do not add up along a chain
of rows: what only rows outside the front dominate is on it.
"""

import math
from dataclasses import dataclass

import numpy as np

COST_MARGIN = 0.02
"""Largest relative extra cost of a row that is better by its metric."""


@dataclass(frozen=True)
class Differences:
    """95 % intervals of the differences of every row a from every row b. Each array is [rows a, rows b]."""

    low: np.ndarray
    high: np.ndarray


def dominance(
    cost: Differences,
    quality: Differences,
    margin: float,
    cost_shift: np.ndarray | float = 0.0,
    quality_shift: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Return whether each row a dominates each row b and b does not dominate a, as booleans [..., rows a, rows b].

    `cost` holds differences of log costs, `quality` those of the negated loss, `margin` is in the unit of `quality`.
    The shifts [..., rows a, rows b] move the intervals, whose widths stay.
    """
    cheaper = (cost_shift < -cost.high) & (quality_shift >= -margin - quality.low)
    better = (quality_shift > -quality.low) & (cost_shift <= math.log1p(COST_MARGIN) - cost.high)
    dominates = cheaper | better
    return dominates & ~np.swapaxes(dominates, -1, -2)


def front(dominates: np.ndarray) -> np.ndarray:
    """Return which rows are on the front, as booleans [..., rows], from the dominance [..., rows a, rows b].

    Rows that no remaining row dominates are on it, and what they dominate is off it, until none remains. If the
    remaining rows dominate each other in circles, the rows of the circles that nothing else dominates are on it.
    """
    remaining = np.ones(dominates.shape[:-1], dtype=bool)
    on_front = np.zeros_like(remaining)
    while remaining.any():
        first = remaining & ~(dominates.any(axis=-2) if remaining.all() else _dominated(dominates, remaining))
        for place in map(tuple, np.argwhere(remaining.any(axis=-1) & ~first.any(axis=-1))):
            first[place] = _circles(dominates[place], remaining[place])
        on_front |= first
        remaining &= ~first & ~_dominated(dominates, first)
    return on_front


def _dominated(dominates: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Return which rows some row of `by` dominates. [..., rows]"""
    dominated: np.ndarray = (dominates & by[..., :, None]).any(axis=-2)
    return dominated


def _circles(dominates: np.ndarray, remaining: np.ndarray) -> np.ndarray:
    """Return the remaining rows that reach, along dominance, every remaining row that reaches them. [rows]"""
    reaches = dominates & remaining[:, None] & remaining[None, :]
    for _ in range(len(remaining).bit_length()):
        reaches = reaches | (reaches @ reaches)
    circles: np.ndarray = remaining & ~(reaches & ~reaches.T).any(axis=0)
    return circles
