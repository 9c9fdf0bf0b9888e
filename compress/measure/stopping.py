"""When the rounds of a point end: after a fixed number, or once all ratios are precise or the budget is spent."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from compress.records import serial, stats
from compress.records.rules import MOST_ROUNDS
from compress.records.sequential import enough
from compress.records.stats import Estimate
from compress.records.window import Window
from compress.spec.measure import FEWEST_ROUNDS, Settings


def finished(
    settings: Settings, rounds: int, elapsed_s: float, ratios: Iterable[Estimate], mixed: bool = False
) -> bool:
    """Return whether the rounds end here.

    `mixed`: the ratios are of rounds at full speed and slow ones. However precise, they are not those of either.
    """
    if settings.precision is None:
        return rounds >= settings.rounds
    if rounds >= MOST_ROUNDS:  # what a result file holds at most
        return True
    if settings.budget_s is not None and elapsed_s >= settings.budget_s and rounds >= FEWEST_ROUNDS:
        return True
    return rounds >= settings.rounds and not mixed and enough(ratios, settings.precision)


def latency_ratios(
    windows: Mapping[str, Sequence[Window]], references: Sequence[str]
) -> dict[tuple[str, str], Estimate]:
    """Return (runner, reference) -> paired ratio of their latencies, of the windows so far, one per round."""
    costs = {name: [window.batch_s for window in group] for name, group in windows.items()}
    correlation = serial.pooled(np.log(np.array(list(costs.values())))) if len(costs) > 1 else None
    upper = 0.0 if correlation is None else correlation.upper
    return {
        (name, reference): stats.paired_ratio(costs[name], costs[reference], upper)
        for reference in references
        for name in costs
        if name != reference
    }
