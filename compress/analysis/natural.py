"""Costs per example and per correct answer, at the point whose inputs are those that accuracy is measured on."""

from collections.abc import Iterable
from dataclasses import replace

from compress.analysis.verdict import MEASURED
from compress.records.accuracy import Accuracy
from compress.records.natural import Natural, Order, Texts
from compress.records.point import Point, natural_point
from compress.records.stats import Estimate, quotient


def deployed(points: Iterable[Point]) -> Point | None:
    """Return the natural point, or the headline of inputs that all have one shape, such as images.

    None if only packed texts were measured: their cost is not that of the examples that were answered.
    """
    known = list(points)
    return natural_point(known) or next((p for p in known if p.headline and p.sequence_length is None), None)


def per_correct(cost: Estimate | None, accuracy: Accuracy | None) -> Estimate | None:
    """Return a cost per correct answer: cost per example / accuracy, with an interval from both uncertainties.

    None without a cost, for metrics that do not count correct answers, or if accuracy may be 0.
    """
    if cost is None or accuracy is None or accuracy.metric != "accuracy" or not accuracy.estimate.low > 0:
        return None
    return quotient(cost, accuracy.estimate)


def energy_per_correct(point: Point | None, accuracy: Accuracy | None) -> Estimate | None:
    """Return joules per correct answer at a point; None if no meter measured them."""
    return per_correct(measured_energy(point), accuracy)


def measured_energy(point: Point | None) -> Estimate | None:
    """Return the joules of a point if a meter measured them, and None if they are modelled."""
    return point.energy_j if point is not None and point.energy_source in MEASURED else None


def latency_per_example(point: Point) -> Estimate:
    """Return seconds per example: those of a batch over its number of examples."""
    e, size = point.latency_s, point.batch_size
    return replace(e, value=e.value / size, low=e.low / size, high=e.high / size)


def with_figures(point: Point, order: Order, texts: Texts, accuracy: Accuracy) -> Point:
    """Return a natural point with its costs per example and per correct answer."""
    seconds = latency_per_example(point)
    per_answer = per_correct(seconds, accuracy), energy_per_correct(point, accuracy)
    return replace(point, natural=Natural(order, texts, seconds, *per_answer))
