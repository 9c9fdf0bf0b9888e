"""Sequential stop of a session of many short rounds: measure until every ratio is precise enough."""

import math
from collections.abc import Iterable

from compress.records.stats import Estimate
from compress.spec.measure import LEAST_ROUNDS

LOOK_EVERY = 5  # rounds: the more often a session looks, the more often it stops at an interval narrow by chance


def enough(ratios: Iterable[Estimate], precision: float) -> bool:
    """Return whether every ratio has 15 rounds and a half-width of its log interval of at most `precision`.

    It is False between looks, which are every 5 rounds. `ratios` have their rounds' correlation in the interval.
    Intervals stopped by this rule keep their coverage: `make study` counts it.
    """
    return all(
        ratio.n >= LEAST_ROUNDS
        and ratio.n % LOOK_EVERY == 0
        and ratio.low > 0
        and math.log(ratio.high / ratio.low) / 2 <= precision
        for ratio in ratios
    )
