"""Rows of a table as points in the plane of cost and accuracy."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from compress.analysis.loss import lost, turned
from compress.analysis.verdict import Axis, point_cost
from compress.records.result import Accuracy, Point, Reference, Result
from compress.records.stats import Estimate

DECIMALS = 6
"""Decimals of a loss, as a fraction: smaller differences are rounding, as of an exported graph (2e-8 of perplexity)."""


@dataclass(frozen=True)
class Candidate:
    """One point in the plane of cost and accuracy."""

    name: str
    cost: Estimate
    """Ratio to the verdict's reference: below 1 is a saving."""
    quality: Estimate
    """The negated loss against the reference: larger is better."""
    reference: bool = False


def candidates(
    results: Iterable[Result], references: Iterable[Reference], axis: Axis, reference: str | None
) -> list[Candidate]:
    """Return the candidates for the front: neither broken nor failed, with a known cost and loss."""
    field = []
    for result in results:
        broken = result.verdict is not None and result.verdict.word == "BROKEN"
        if result.error is None and not broken and result.accuracy is not None:
            field.append(_candidate(result.name, result.headline, result.accuracy, axis, reference))
    for row in references:
        if row.name == reference:
            same, none = Estimate(1.0, 1.0, 1.0, 0), Estimate(0.0, 0.0, 0.0, 0)
            field.append(Candidate(row.name, same, none, reference=True))
        else:
            field.append(_candidate(row.name, row.headline, row.accuracy, axis, reference, is_reference=True))
    return [candidate for candidate in field if candidate is not None]


def _candidate(
    name: str, point: Point | None, accuracy: Accuracy, axis: Axis, reference: str | None, *, is_reference: bool = False
) -> Candidate | None:
    cost, loss = point_cost(point, axis, reference), lost(accuracy)
    if cost is None or loss is None or not (math.isfinite(cost.value) and cost.low <= cost.value <= cost.high):
        return None
    value, low, high = (round(edge, DECIMALS) if math.isfinite(edge) else edge for edge in _edges(turned(loss)))
    return Candidate(name, cost, Estimate(value, low, high, loss.n), is_reference)


def _edges(estimate: Estimate) -> tuple[float, float, float]:
    return estimate.value, estimate.low, estimate.high
