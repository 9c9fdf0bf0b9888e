"""What a model saves per example, and the inferences that repay the cost of compressing it.

Savings are differences within rounds, because a slower minute costs both models alike. Compressing and inferring are
metered in different sessions, so the spread between sessions enters the inferences.
"""

import math

from compress.records.joined import joined_mean
from compress.records.proportions import NORMAL
from compress.records.result import Point, Round
from compress.records.stats import Estimate, exp_or_inf, mean_estimate


def saved_per_example(point: Point, reference: Point, axis: str, correlation: float = 0.0) -> Estimate | None:
    """Return the seconds or joules saved per example against the reference in the same round; None without pairs.

    `axis` is energy or latency. `correlation` is that of rounds, which widens the interval. Several sessions are
    joined: the independent unit across them is the session.
    """
    by_round = {r.index: _per_example(r, reference, axis) for r in reference.rounds}
    differences: dict[int, list[float]] = {}
    for round_ in point.rounds:
        ours, other = _per_example(round_, point, axis), by_round.get(round_.index)
        if ours is not None and other is not None:
            differences.setdefault(round_.session, []).append(other - ours)
    return joined_mean([mean_estimate(each, correlation) for each in differences.values()]) if differences else None


def point_cost_per_example(point: Point, axis: str) -> float:
    """Return the seconds or joules per example of a point."""
    energy = point.energy_j if axis == "energy" else None
    return point.latency_s.value / point.batch_size if energy is None else energy.value


def across_sessions(saved: Estimate, cost: float, spread: float) -> Estimate:
    """Widen the saving of a single session, whose own cost may be higher or lower by `spread` in another session."""
    extra = NORMAL * spread * cost
    down, up = math.hypot(saved.value - saved.low, extra), math.hypot(saved.high - saved.value, extra)
    return Estimate(saved.value, saved.value - down, saved.value + up, saved.n)


def _per_example(window: Round, point: Point, axis: str) -> float | None:
    """Return the seconds or joules per example of one round."""
    cost = window.energy_j if axis == "energy" else window.duration_s
    return None if cost is None else cost / (window.batches * point.batch_size)


def repaid(spent: float, saved: Estimate, spread: float, error: float = 0.0) -> Estimate:
    """Return spent over saved, with the relative `error` of the spent amount and the `spread` of its session."""
    extra, value = NORMAL * spread, spent / saved.value
    down = math.hypot(math.log(saved.high / saved.value), extra)
    up = math.hypot(math.log(saved.value / saved.low), extra)
    return Estimate(value, (1 - error) * value * math.exp(-down), (1 + error) * value * exp_or_inf(up), saved.n)
