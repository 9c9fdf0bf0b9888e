"""Agreement of the two energy sources of a board: its counter and its integrated instant power.

Their relative disagreement limits the grade of an energy: no limit up to 2 %, C up to 5 %, D above.
"""

import math
from collections.abc import Sequence

from compress.records.result import Grade

AGREE, TOLERABLE = 0.02, 0.05
WINDOW_S = 5.0
"""Shortest window of a measurement of grade B, in seconds."""


def agreement(counted_j: Sequence[float], integrated_j: Sequence[float]) -> tuple[Grade, str] | None:
    """Return the best grade that the disagreement of the sources allows, and the reason; None if they agree.

    Both sequences hold joules of the same windows.
    """
    disagreement = abs(math.fsum(counted_j) / math.fsum(integrated_j) - 1)
    if disagreement <= AGREE:
        return None
    return (
        "C" if disagreement <= TOLERABLE else "D",
        f"the counter and integrated instant power are {100 * disagreement:.1f} % apart",
    )
