"""Energy net of idle: what a model draws above the power of the idle device with its model loaded.

    net = joules - idle watts x seconds                                    per example and round
    share of a saving that is waiting avoided = idle watts x (reference's seconds - own) / (reference's joules - own)

A faster model saves gross energy because the device waits less. Net ratios show what remains. Their intervals are over
rounds, widened for the error of the idle power, which is one figure per session: 1 % of it, as a standard deviation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from compress.analysis.drift import Series
from compress.records import stats
from compress.records.joined import widened_between
from compress.records.result import Point
from compress.records.stats import Estimate

IDLE_ERROR = 0.01
"""Relative standard deviation of a session's idle power: two readings of 2 s on an H200 differed by 0.7 %."""
NOT_ABOVE_IDLE = "is not above idle in every round"


def netted(
    point: Point,
    own: Series,
    references: Mapping[str, Series],
    idle_w: float | None,
    paired: float = 0.0,
    alone: float = 0.0,
) -> Point:
    """Return the point with its net energy, net ratios, and shares of waiting avoided.

    `references` holds the costs of the references of its ratios. `paired` and `alone` are the correlations of rounds
    that widen the intervals of ratios and of joules. What is unknown stays None, with a reason.
    """
    if own.joules is None or idle_w is None:
        why = point.reasons.get("energy_net_j", "idle power could not be measured")
        return replace(point, energy_net_j=None, reasons=point.reasons | {"energy_net_j": why, "ratios.net": why})
    reasons = {field: why for field, why in point.reasons.items() if field not in ("energy_net_j", "ratios.net")}
    nets = {name: net_j(costs, idle_w) for name, costs in {**references, own.name: own}.items()}
    below = [name for name, values in nets.items() if not values or min(values) <= 0]
    if below:
        reasons["ratios.net"] = f"the energy of {', '.join(below)} {NOT_ABOVE_IDLE}"

    def net_ratio(reference: str) -> Estimate | None:
        if own.name in below or reference in below or reference not in nets:
            return None
        ratio = stats.paired_ratio(nets[own.name], nets[reference], paired)
        parts = [
            idle_w * _typical(costs.seconds) / _typical(nets[name])
            for name, costs in ((own.name, own), (reference, references[reference]))
        ]
        return widened_between(ratio, IDLE_ERROR * abs(parts[0] - parts[1]))

    ratios = tuple(
        replace(
            ratio,
            net=net_ratio(ratio.reference),
            waiting_share=waiting_share(own, references.get(ratio.reference), idle_w),
        )
        for ratio in point.ratios
    )
    return replace(point, energy_net_j=stats.mean_estimate(nets[own.name], alone), ratios=ratios, reasons=reasons)


def net_j(costs: Series, idle_w: float) -> Sequence[float]:
    """Return the joules per example above idle of every round; empty without measured joules."""
    return [j - idle_w * s for j, s in zip(costs.joules or (), costs.seconds, strict=False)]


def waiting_share(own: Series, reference: Series | None, idle_w: float) -> float | None:
    """Return the share of a gross saving that is waiting avoided; None without a saving. Over 1 if net energy grew."""
    if reference is None or own.joules is None or reference.joules is None:
        return None
    saved_j = _typical(reference.joules) - _typical(own.joules)
    waited_s = _typical(reference.seconds) - _typical(own.seconds)
    return idle_w * waited_s / saved_j if saved_j > 0 else None


def _typical(values: Sequence[float]) -> float:
    """Return the robust location of positive costs: a stalled round must not decide a share."""
    return stats.log_mean_estimate(values).value
