"""Sequential stop of a session of many short rounds: measure until every ratio is precise enough."""

import math
from collections.abc import Iterable

from compress.records.stats import Estimate

LEAST_ROUNDS = 15


def enough(ratios: Iterable[Estimate], precision: float) -> bool:
    """Return whether every ratio has 15 rounds and a half-width of its log interval of at most `precision`.

    `ratios` have their rounds' correlation in the interval. Intervals stopped by this rule keep their coverage:
    `make study` counts it.
    """
    return all(
        ratio.n >= LEAST_ROUNDS and ratio.low > 0 and math.log(ratio.high / ratio.low) / 2 <= precision
        for ratio in ratios
    )
