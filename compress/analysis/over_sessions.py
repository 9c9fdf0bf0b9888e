"""One operating point from those of several sessions.

Costs and ratios are joined over sessions (`records.joined`), because the session is the independent unit; rounds are
kept, with the number of their session. Of grades the worst counts.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from compress.records.joined import joined_mean, joined_ratio, least_detectable, session_spread
from compress.records.result import Grade, Point, Ratio
from compress.records.serial import Correlation
from compress.records.session import Session
from compress.records.stats import Estimate


def rounds(session: Session, index: int) -> int:
    """Return how many rounds a session had at an operating point; those before the last may be left out.

    They are numbered from 1, in older traces from 0.
    """
    points = [runner.points[index] for runner in session.runners if len(runner.points) > index]
    indices = [window.index for point in points for window in point.windows]
    return 1 + max(indices) - min(1, *indices) if indices else 0


def numbered(point: Point, session: int, first_round: int) -> Point:
    """Return the point of one session with the session's number on its rounds, which follow `first_round` others."""
    return replace(point, rounds=tuple(replace(r, session=session, index=first_round + r.index) for r in point.rounds))


def joined_points(points: Sequence[Point]) -> Point:
    """Return one point from those of the sessions that measured it; a single one is unchanged.

    Percentiles and reasons are those of the first session.
    """
    first = points[0]
    if len(points) == 1:
        return first
    numbers = [point.rounds[0].session for point in points]
    joules = [point.energy_j for point in points]
    same_meter = len({(point.energy_source, point.energy_boundary) for point in points}) == 1
    energy = joined_ratio([e for e in joules if e is not None]) if same_meter and None not in joules else None
    idle = _mean([point.energy_idle_j for point in points])
    return replace(
        first,
        latency_s=joined_ratio([point.latency_s for point in points]),
        throughput_per_s=joined_ratio([point.throughput_per_s for point in points]),
        energy_j=energy,
        energy_idle_j=idle,
        energy_net_j=None if energy is None else _joined_known([point.energy_net_j for point in points], joined_mean),
        energy_reason=_reason(numbers, points) if same_meter else "the meter differs between the sessions",
        grade=None if energy is None else _worst([point.grade for point in points]),
        grade_reasons=merged_reasons(dict(zip(numbers, (point.grade_reasons for point in points), strict=True))),
        unreliable=merged_reasons(dict(zip(numbers, (point.unreliable for point in points), strict=True))),
        ratios=_ratios(numbers, points),
        rounds=tuple(round_ for point in points for round_ in point.rounds),
    )


def merged_reasons(reasons: Mapping[int, Sequence[str]]) -> tuple[str, ...]:
    """Return the reasons of several sessions, by their number from 0, each once.

    A reason that does not hold in every session names the session.
    """
    merged: dict[str, None] = {}
    for number, sentences in reasons.items():
        for sentence in sentences:
            common = all(sentence in others for others in reasons.values())
            merged[sentence if common else f"session {number + 1}: {sentence}"] = None
    return tuple(merged)


def _ratios(numbers: Sequence[int], points: Sequence[Point]) -> tuple[Ratio, ...]:
    """Return the ratios to every reference, each over the sessions that measured it too."""
    found: dict[str, dict[int, Ratio]] = {}
    for number, point in zip(numbers, points, strict=True):
        for ratio in point.ratios:
            found.setdefault(ratio.reference, {})[number] = ratio
    return tuple(_ratio(each) for each in found.values())


def _ratio(each: Mapping[int, Ratio]) -> Ratio:
    """Return one ratio from those of the sessions, by their number; a single one is unchanged."""
    ratios = list(each.values())
    if len(ratios) == 1:
        return ratios[0]
    times = [ratio.latency for ratio in ratios]
    known = [ratio.energy for ratio in ratios]
    joules = [energy for energy in known if energy is not None] if None not in known else []
    latency, energy = joined_ratio(times), joined_ratio(joules) if joules else None
    return replace(
        ratios[0],
        latency=latency,
        energy=energy,
        min_detectable=least_detectable(latency),
        min_detectable_energy=None if energy is None else least_detectable(energy),
        grade=None if energy is None else _worst([ratio.grade for ratio in ratios]),
        grade_reasons=merged_reasons({number: ratio.grade_reasons for number, ratio in each.items()}),
        net=_joined_known([ratio.net for ratio in ratios], joined_ratio) if energy else None,
        waiting_share=_mean([ratio.waiting_share for ratio in ratios]) if energy else None,
        correlation=_largest([ratio.correlation for ratio in ratios]),
        correlation_energy=_largest([ratio.correlation_energy for ratio in ratios]),
        session_spread=session_spread(times),
        session_spread_energy=session_spread(joules),
    )


def _joined_known(parts: Sequence[Estimate | None], join: Callable[[Sequence[Estimate]], Estimate]) -> Estimate | None:
    """Return the sessions' estimates joined; None if one is unknown."""
    known = [part for part in parts if part is not None]
    return join(known) if len(known) == len(parts) else None


def _largest(correlations: Sequence[Correlation | None]) -> Correlation | None:
    """Return the largest correlation of the sessions; None if all are unknown."""
    return max((c for c in correlations if c is not None), key=lambda c: c.value, default=None)


def _worst(grades: Sequence[Grade | None]) -> Grade | None:
    """Return the worst grade, which is the largest letter; None if one is unknown."""
    known = [grade for grade in grades if grade is not None]
    return max(known) if len(known) == len(grades) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


def _reason(numbers: Sequence[int], points: Sequence[Point]) -> str | None:
    """Return why energy is unknown or modelled; the first session's reason if several have one."""
    reasons = ((p.energy_reason,) if p.energy_reason else () for p in points)
    merged = merged_reasons(dict(zip(numbers, reasons, strict=True)))
    return merged[0] if merged else None
