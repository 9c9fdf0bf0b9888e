"""Agreement of the two energy sources of a board: its counter and its integrated instant power.

The root mean square of their relative disagreements over windows limits the grade of an energy: no limit up to 2 %, C
up to 5 %, D above. Errors that alternate between windows count like errors of one sign.
"""

import math
from collections.abc import Sequence

from compress.records.result import Grade

AGREE, TOLERABLE = 0.02, 0.05
WINDOW_S = 5.0
"""Shortest window of a measurement of grade B, in seconds."""


def agreement(counted_j: Sequence[float], integrated_j: Sequence[float]) -> tuple[Grade, str] | None:
    """Return the best grade that the disagreement of the sources allows, and the reason; None if they agree.

    Both sequences hold joules of the same windows, at least one.
    """
    squares = [(counted / integrated - 1) ** 2 for counted, integrated in zip(counted_j, integrated_j, strict=True)]
    disagreement = math.sqrt(math.fsum(squares) / len(squares))
    if disagreement <= AGREE:
        return None
    return (
        "C" if disagreement <= TOLERABLE else "D",
        f"the counter and integrated instant power are {100 * disagreement:.1f} % apart",
    )
