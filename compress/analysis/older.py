"""Results of schema 1, judged again by today's rules from the rounds in their files.

Their files hold the costs of every round, from which estimates, ratios, drift, precision, agreement of the two sources,
and energy net of idle follow, and whether each example was answered correctly, from which the difference of the
accuracy follows. Disturbances are recognised by their sentences. All results of a session are needed to find the drift
common to its runners.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from compress.analysis import loss
from compress.analysis.agreement import agreement
from compress.analysis.disturbances import drifts, recognised
from compress.analysis.drift import AXES, Series, axis_costs, together, trends
from compress.analysis.grades import MODELLED, Limit, imprecisions, unreliable_latency, worst_grade
from compress.analysis.judging import judged
from compress.analysis.net import netted
from compress.analysis.ratios import per_second, upper
from compress.analysis.verdict import MEASURED, Axis, same_point, shape
from compress.records import serial, stats
from compress.records.result import SCHEMA, Accuracy, Grade, Point, Ratio, Reference, Result
from compress.records.serial import Correlation

AGAIN = (
    "measured by schema 1: estimates over rounds, intervals of accuracy differences, grade and verdict are computed "
    "again by the rules of schema 2"
)
RECOMPUTED = ("drifted by", "the counter and integrated instant power are")
"""Parts of the reasons of schema 1 whose rules have changed."""
Rows = Mapping[str, Sequence[Point]]
"""Name of a runner -> its points."""


class Costs:
    """Costs per round of all runners of a session, from the results that hold them."""

    def __init__(self) -> None:
        self._at: dict[tuple[object, ...], dict[str, Series]] = {}
        self._common: dict[tuple[object, ...], Series | None] = {}

    def add(self, rows: Rows) -> None:
        """Add the points of these runners."""
        for name, points in rows.items():
            for point in points:
                if point.rounds:
                    self._at.setdefault(shape(point), {})[name] = _series(name, point)

    def of(self, name: str | None, point: Point) -> Series | None:
        """Return the costs of a runner at a point of this shape, or None if it was not measured there."""
        return self._at.get(shape(point), {}).get(name or "")

    def correlation(self, point: Point, axis: Axis, shared: bool) -> Correlation | None:
        """Return the correlation of rounds of all runners at a point of this shape, which widens intervals."""
        known = [axis_costs(each, axis) for _, each in sorted(self._at.get(shape(point), {}).items())]
        alike = [np.log(np.array(each)) for each in known if each is not None and len(each) == len(point.rounds)]
        return serial.pooled(np.array(alike), shared) if alike else None

    def common(self, point: Point) -> Series | None:
        """Return the factor common to all runners at a point of this shape."""
        key = shape(point)
        if key not in self._common:
            self._common[key] = together([each for _, each in sorted(self._at.get(key, {}).items())])
        return self._common[key]


def rejudged(results: Sequence[Result]) -> list[Result]:
    """Return the results with those of schema 1 judged again, and a note in each of them."""
    sessions: dict[str, Costs] = {}
    for result in filter(_is_older, results):
        sessions.setdefault(result.session, Costs()).add(_points(result))
    return [_rejudged(r, sessions[r.session]) if _is_older(r) else r for r in results]


def _points(result: Result) -> dict[str, Sequence[Point]]:
    """Return the points of a result and of its references, by name."""
    return {**{reference.name: reference.points for reference in result.references}, result.name: result.points}


def _is_older(result: Result) -> bool:
    return result.schema < SCHEMA and result.error is None


def _rejudged(result: Result, costs: Costs) -> Result:
    """Return one result of schema 1, judged again by the costs of its session."""
    reference = result.verdict_reference
    against = None if reference is None else reference.name
    graded = {
        name: tuple(_regraded(name, point, against, costs) for point in points)
        for name, points in _points(result).items()
    }
    base = None if reference is None else reference.accuracy
    references = tuple(
        replace(r, points=_ratioed(r, graded, costs), accuracy=_compared(r.accuracy, base)) for r in result.references
    )
    accuracy = None if result.accuracy is None else _compared(result.accuracy, base)
    notes = result.notes if AGAIN in result.notes else (*result.notes, AGAIN)
    points = _ratioed(result, graded, costs)
    return judged(replace(result, points=points, accuracy=accuracy, references=references, notes=notes))


def _compared(ours: Accuracy, reference: Accuracy | None) -> Accuracy:
    """Return a metric with its difference to the reference estimated again, if the answers of both are recorded."""
    answers = None if reference is None or ours.delta is None else loss.changed(ours, reference)
    if answers is None:
        return ours
    return replace(ours, delta=stats.paired_difference(*answers, ours.estimate.n))


def _regraded(name: str, point: Point, against: str | None, costs: Costs) -> Point:
    """Return a point with the grade, reasons and reliability that its rounds and its known disturbances give."""
    own = costs.of(name, point)
    changes = [] if own is None else list(trends(own, costs.of(against, point), costs.common(point)))
    kept = [reason for reason in point.grade_reasons if not any(part in reason for part in RECOMPUTED)]
    known = [recognised(reason) for reason in kept]
    found = [*(disturbance for disturbance in known if disturbance is not None), *drifts(changes)]
    metered = point.energy_source in MEASURED
    others = [reason for reason, disturbance in zip(kept, known, strict=True) if disturbance is None]
    limits: list[Limit] = [("C", reason) for reason in others if reason != MODELLED]
    if metered and own is not None:
        limits += [*imprecisions(own, changes), *_disagreement(point)]
    grade = point.grade
    if grade is not None and metered:
        grade = worst_grade("A" if point.energy_source == "external" else "B", found, limits)
    modelled = filter(MODELLED.__eq__, others)
    reasons = dict.fromkeys((*modelled, *(d.sentence for d in found), *(reason for _, reason in limits)))
    return replace(point, grade=grade, grade_reasons=tuple(reasons), unreliable=unreliable_latency(found, metered))


def _disagreement(point: Point) -> list[Limit]:
    """Return the limit that the two sources of a board set, if both are known in every round."""
    pairs = [(r.energy_j, r.integrated_j) for r in point.rounds if r.energy_j and r.integrated_j]
    limit = agreement(*zip(*pairs, strict=True)) if pairs and len(pairs) == len(point.rounds) else None
    return [] if limit is None else [limit]


def _ratioed(row: Result | Reference, graded: Rows, costs: Costs) -> tuple[Point, ...]:
    """Return a row's regraded points with the grades of their ratios, and the energies net of idle."""
    points = []
    for point in graded[row.name]:
        ratios = tuple(_graded_ratio(ratio, point, graded) for ratio in point.ratios)
        own = costs.of(row.name, point)
        others = {r.reference: found for r in ratios if (found := costs.of(r.reference, point)) is not None}
        rerated = replace(point, ratios=ratios)
        if own is not None:
            widenings = [upper(costs.correlation(point, "energy", shared)) for shared in (True, False)]
            again = _estimated(rerated, own, others, costs)
            rerated = netted(again, own, others, _idle_w(point), *widenings)
        points.append(rerated)
    return tuple(points)


def _estimated(point: Point, own: Series, others: Mapping[str, Series], costs: Costs) -> Point:
    """Return a point with latency, measured energy and ratios estimated from its rounds by today's rules."""
    alone = {axis: upper(costs.correlation(point, axis, shared=False)) for axis in AXES}
    latency = stats.log_mean_estimate([s * point.batch_size for s in own.seconds], alone["latency"])
    energy = point.energy_j if own.joules is None else stats.log_mean_estimate(own.joules, alone["energy"])
    ratios = tuple(_paired(ratio, point, own, others.get(ratio.reference), costs) for ratio in point.ratios)
    idle_w = _idle_w(point)
    return replace(
        point,
        latency_s=latency,
        throughput_per_s=per_second(point.batch_size, latency),
        energy_j=energy,
        energy_idle_j=None if idle_w is None else idle_w * latency.value / point.batch_size,
        ratios=ratios,
    )


def _paired(ratio: Ratio, point: Point, own: Series, other: Series | None, costs: Costs) -> Ratio:
    """Return a ratio from the rounds of both runners; unchanged if they do not have the same number of them."""
    if other is None or len(own.seconds) != len(other.seconds):
        return ratio
    found = {axis: costs.correlation(point, axis, shared=True) for axis in AXES}
    seconds = (own.seconds, other.seconds, upper(found["latency"]))
    ratio = replace(
        ratio,
        latency=stats.paired_ratio(*seconds),
        min_detectable=stats.min_detectable(*seconds),
        correlation=found["latency"],
    )
    if ratio.energy is None or own.joules is None or other.joules is None:
        return ratio
    joules = (own.joules, other.joules, upper(found["energy"]))
    return replace(
        ratio,
        energy=stats.paired_ratio(*joules),
        min_detectable_energy=stats.min_detectable(*joules),
        correlation_energy=found["energy"],
    )


def _graded_ratio(ratio: Ratio, point: Point, graded: Rows) -> Ratio:
    """Return a ratio with the worse of its two grades, and the reasons of its reference."""
    other = next((p for p in graded.get(ratio.reference, ()) if same_point(p, point)), None)
    if ratio.grade is None or other is None:
        return ratio
    known: list[Grade] = [grade for grade in (point.grade, other.grade) if grade is not None]
    reasons = tuple(f"{ratio.reference}: {reason}" for reason in other.grade_reasons)
    return replace(ratio, grade=max(known, default=None), grade_reasons=reasons)


def _series(name: str, point: Point) -> Series:
    """Return the costs of a runner per round, from the rounds that its file holds."""
    counts = [r.batches * point.batch_size for r in point.rounds]
    seconds = [r.duration_s / count for r, count in zip(point.rounds, counts, strict=True)]
    known = [r.energy_j for r in point.rounds if r.energy_j is not None and r.energy_j > 0]
    metered = point.energy_source in MEASURED and len(known) == len(point.rounds)
    joules = [j / count for j, count in zip(known, counts, strict=True)] if metered else None
    return Series(name, seconds, joules)


def _idle_w(point: Point) -> float | None:
    """Return the idle power in watts, from the idle joules of an example and its seconds."""
    if point.energy_idle_j is None:
        return None
    return point.energy_idle_j * point.batch_size / point.latency_s.value
