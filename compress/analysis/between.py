"""The spread between sessions, added wherever figures of different sessions are joined.

Rounds show how a cost varies within a session, not how it varies from one session to the next. A result of several
sessions has that in its own interval. For a single session it cannot be estimated: the larger of what the other side
estimated and the assumed spread (`Result.session_spread`, 2 % by default) is added in quadrature.
"""

from dataclasses import dataclass

from compress.analysis.verdict import Axis
from compress.records.joined import widened_between
from compress.records.point import Point, Ratio
from compress.records.result import Result
from compress.records.stats import CONFIDENCE, Estimate, at_confidence


@dataclass(frozen=True)
class Side:
    """One side of a comparison between sessions."""

    cost: Estimate
    """Ratio to the reference of its own session."""
    estimated: float | None
    """Spread between sessions that the result estimated; None for a single session."""
    assumed: float
    """Spread that is assumed for a single session."""

    def added(self, other: "Side") -> float:
        """Return the spread that the interval of this side lacks."""
        return 0.0 if self.estimated is not None else max(self.assumed, other.estimated or 0.0)


def side(result: Result, ratio: Ratio, axis: Axis, assumed: float | None = None) -> Side | None:
    """Return a result's side on an axis, or None without a cost. `assumed` replaces the result's assumption."""
    cost = ratio.latency if axis == "latency" else ratio.energy
    if cost is None:
        return None
    return Side(cost, _spread(ratio, axis), result.session_spread if assumed is None else assumed)


def apart(one: Side, other: Side, confidence: float = CONFIDENCE) -> tuple[Estimate, Estimate]:
    """Return the costs of both sides with intervals that hold for other sessions too, at this confidence."""
    first, second = (
        widened_between(at_confidence(own.cost, confidence), own.added(against), confidence)
        for own, against in ((one, other), (other, one))
    )
    return first, second


def lacking(point: Point | None, axis: Axis, reference: str | None, assumed: float) -> float:
    """Return the spread between sessions that a row's interval lacks in a table of several sessions.

    It is 0 for a row of several sessions, and for the reference itself.
    """
    ratio = _ratio(point, reference)
    return assumed if ratio is not None and _spread(ratio, axis) is None else 0.0


def _ratio(point: Point | None, reference: str | None) -> Ratio | None:
    return None if point is None or reference is None else point.ratio(reference)


def _spread(ratio: Ratio, axis: Axis) -> float | None:
    """Return the spread between sessions that a ratio estimates; None for a single session."""
    return ratio.session_spread if axis == "latency" else ratio.session_spread_energy
