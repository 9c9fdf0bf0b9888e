"""Two sources of the same joules, the counter and integrated instant power: how far apart they may be for a grade."""

import math
from collections.abc import Sequence

from compress.records.result import Grade

AGREE, TOLERABLE = 0.02, 0.05
WINDOW_S = 5.0
"""Seconds that a measurement of grade B lasts at least."""


def agreement(counted_j: Sequence[float], integrated_j: Sequence[float]) -> tuple[Grade, str] | None:
    """The grade that the sources' disagreement allows at best, and why; None where they agree."""
    apart = abs(math.fsum(counted_j) / math.fsum(integrated_j) - 1)
    if apart <= AGREE:
        return None
    return (
        "C" if apart <= TOLERABLE else "D",
        f"the counter and integrated instant power are {100 * apart:.1f} % apart",
    )
