"""Paired ratios of one runner's costs to those of the references that were measured in the same rounds."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from compress.analysis import grades
from compress.analysis.costs import Costs, Raw, costs
from compress.analysis.verdict import Axis
from compress.records import robust, serial, stats
from compress.records.joined import joined_ratio
from compress.records.result import Grade, Ratio
from compress.records.serial import Correlation
from compress.records.stats import Estimate

MANY_OUTLIERS = 0.2
"""Share of the rounds above which outliers are stated."""


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
        return stats.paired_ratio(own.energy_j, baseline.energy_j, upper(correlation(raw, name, 0, "energy")))
    return stats.paired_ratio(own.latency_s, baseline.latency_s, upper(correlation(raw, name, 0, "latency")))


def ratios(
    raw: Raw, name: str, index: int, own: Costs, references: Mapping[str, Costs], own_grade: Grade | None
) -> tuple[Ratio, ...]:
    """Return the paired ratios of runner `name` to every reference at the same point. Modelled energy has no ratio.

    The grade of a ratio is the worse one of its two energies. `own_grade` is that of the runner.
    """
    measured = raw.session.meter.measured
    serial_s = correlation(raw, name, index, "latency")
    serial_j = correlation(raw, name, index, "energy") if measured else None
    made = []
    for other, reference in references.items():
        pair = (own.latency_s, reference.latency_s, upper(serial_s))
        ratio = Ratio(other, stats.paired_ratio(*pair), None, stats.min_detectable(*pair), correlation=serial_s)
        if measured and own.energy_j and reference.energy_j:
            joules = (own.energy_j, reference.energy_j, upper(serial_j))
            reference_grade, why, _ = grades.grade(raw, other, index)
            known: list[Grade] = [grade for grade in (own_grade, reference_grade) if grade is not None]
            ratio = replace(
                ratio,
                energy=stats.paired_ratio(*joules),
                min_detectable_energy=stats.min_detectable(*joules),
                grade=max(known, default=None),
                grade_reasons=tuple(f"{other}: {reason}" for reason in why),
                correlation_energy=serial_j,
            )
        made.append(ratio)
    return tuple(made)


def correlation(raw: Raw, name: str, index: int, axis: Axis, shared: bool = True) -> Correlation | None:
    """Return the correlation between rounds of one axis, of all runners with the same rounds as runner `name`.

    `shared`: of costs relative to their round, for ratios; otherwise of absolute costs. None with fewer than 6 rounds.
    """
    rounds = [window.index for window in raw.session.runner(name).points[index].windows]
    logs = []
    for runner in raw.session.runners:
        found = costs(raw, runner.name, index)
        values = None if found is None else found.latency_s if axis == "latency" else found.energy_j
        if values and [window.index for window in runner.points[index].windows] == rounds:
            logs.append([math.log(value) for value in values])
    return serial.pooled(np.array(logs), shared) if logs else None


def upper(correlation: Correlation | None) -> float:
    """Return the correlation that widens an interval: 0 if it cannot be estimated."""
    return 0.0 if correlation is None else correlation.upper


def correlated(raw: Raw, name: str, index: int, axis: Axis) -> tuple[str, ...]:
    """Return a sentence if the rounds are correlated beyond the range in which intervals keep their coverage."""
    found = correlation(raw, name, index, axis)
    if found is None or not found.flagged:
        return ()
    return (f"rounds are correlated ({found.value:.1g} from one to the next in {axis}): intervals may be too narrow",)


def outlying(raw: Raw, name: str, index: int) -> tuple[str, ...]:
    """Return a sentence if many rounds lie so far from the others that they have no weight in the latency or a ratio.

    Noise that all runners share can hide a second mode of the latency; it cancels in ratios.
    """
    own = costs(raw, name, index)
    assert own is not None
    logs, n = np.log(own.latency_s), len(own.latency_s)
    others = [found for other in raw.references if other != name and (found := costs(raw, other, index)) is not None]
    far = max(robust.outliers(logs - level) for level in (0.0, *(np.log(other.latency_s) for other in others)))
    if far <= MANY_OUTLIERS * n:
        return ()
    return (f"{far} of {n} rounds lie far from the others: figures leave out stalls, or a second mode of the model",)


def per_second(batch_size: int, latency: Estimate) -> Estimate:
    """Return examples per second; the lower end is 0 if that of the latency has no upper bound."""
    low = batch_size / latency.high
    high = batch_size / latency.low if latency.low > 0 else math.inf
    return replace(latency, value=batch_size / latency.value, low=low, high=high)
