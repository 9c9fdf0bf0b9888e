"""Paired ratios of one runner's costs to those of the references that were measured in the same rounds."""

from collections.abc import Mapping
from dataclasses import replace

from compress.analysis import grades
from compress.analysis.costs import Costs, Raw, costs
from compress.records import stats
from compress.records.joined import joined_ratio
from compress.records.result import Grade, Ratio
from compress.records.stats import Estimate


def cost_ratio(raw: Raw, name: str, other: str) -> Estimate | None:
    """Return the paired cost ratio of two runners at the headline point.

    It is of energy if a meter measured both, otherwise of latency, over all sessions that measured both runners; None
    without one.
    """
    each = [ratio for session in raw.each if (ratio := _cost_ratio(session, name, other)) is not None]
    return joined_ratio(each) if each else None


def _cost_ratio(raw: Raw, name: str, other: str) -> Estimate | None:
    """Return the cost ratio of a single session."""
    own, baseline = costs(raw, name, 0), costs(raw, other, 0)
    if own is None or baseline is None:
        return None
    if raw.session.meter.measured and own.energy_j and baseline.energy_j:
        return stats.paired_ratio(own.energy_j, baseline.energy_j)
    return stats.paired_ratio(own.latency_s, baseline.latency_s)


def ratios(
    raw: Raw, index: int, own: Costs, references: Mapping[str, Costs], own_grade: Grade | None
) -> tuple[Ratio, ...]:
    """Return the paired ratios to every reference measured at the same point. Modelled energy has no ratio.

    The grade of a ratio is the worse one of its two energies. `own_grade` is that of the runner.
    """
    measured = raw.session.meter.measured
    against_j = references[raw.against].energy_j if raw.against in references else None
    made = []
    for name, reference in references.items():
        pair = (own.latency_s, reference.latency_s)
        ratio = Ratio(name, stats.paired_ratio(*pair), None, stats.min_detectable(*pair))
        if measured and own.energy_j and reference.energy_j:
            joules = (own.energy_j, reference.energy_j)
            reference_grade, why = grades.grade(raw.session, name, index, reference.energies, raw.against, against_j)
            known: list[Grade] = [grade for grade in (own_grade, reference_grade) if grade is not None]
            ratio = replace(
                ratio,
                energy=stats.paired_ratio(*joules),
                min_detectable_energy=stats.min_detectable(*joules),
                grade=max(known, default=None),
                grade_reasons=tuple(f"{name}: {reason}" for reason in why),
            )
        made.append(ratio)
    return tuple(made)
