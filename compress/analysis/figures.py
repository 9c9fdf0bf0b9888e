"""Figures of a session computed from its raw samples: accuracy, and points with estimates, paired ratios and grades.

These are pure functions without a device. A result is computed with them after a session, and `verify` repeats them on
its trace.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from compress.analysis import grades
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.joules import (
    GAIN,
    UNCERTAINTY_FACTOR,
    Energy,
    idle_watts,
    interpolated_power,
    window_energy,
)
from compress.base.config import InputError
from compress.records import stats
from compress.records.result import Accuracy, Grade, Percentiles, Point, Ratio, Round
from compress.records.sample import OUTSIDE
from compress.records.session import JudgedBy, Runner, Session, Shape, Window
from compress.records.stats import Estimate

P99_SAMPLES = 300


@dataclass(frozen=True)
class Raw:
    """Raw samples of a session, with the references, metric and seed that they are judged by."""

    session: Session
    references: tuple[str, ...]
    """Names of the references that could be measured, fp32 eager first."""
    against: str
    """Name of the reference that verdicts compare with."""
    metric: str
    seed: int

    @property
    def judged_by(self) -> JudgedBy:
        """Return the fields that a trace stores, from which `from_trace` restores this object."""
        return JudgedBy(self.references, self.against, self.metric, self.seed)


def from_trace(session: Session) -> Raw:
    """Return the raw samples of a trace on disk. Raises InputError if it does not record what they are judged by."""
    judged = session.judged_by
    if judged is None:
        raise InputError("the trace does not state what it is judged by; run the recipe again")
    return Raw(session, judged.references, judged.against, judged.metric, judged.seed)


def limit(asked: int | None, counted: int | None) -> int | None:
    """Return the number of examples that a limit selected; None without a limit, or if it exceeds the split."""
    return None if asked is None or (counted or asked) < asked else asked


def accuracy(raw: Raw, name: str) -> Accuracy:
    """Return the metric of one runner with its interval, and its paired difference to the reference."""
    runner = raw.session.runner(name)
    reference = None if name == raw.against else _evaluation(raw.session.runner(raw.against))
    against = None if reference is None else raw.against
    return summarise(_evaluation(runner), raw.metric, reference, against, raw.seed, runner.batch_sensitivity)


def _evaluation(runner: Runner) -> Evaluation:
    return Evaluation(runner.outcomes, runner.finite, runner.batch_size, runner.order, runner.outputs)


def points(raw: Raw, name: str) -> tuple[Point, ...]:
    """Return every measured operating point of one runner, without verdicts."""
    measured = raw.session.runner(name).points
    return tuple(_point(raw, name, index) for index, point in enumerate(measured) if point.windows)


@dataclass(frozen=True)
class _Windows:
    """Costs of one runner at one point, a value per round."""

    batch_size: int
    latency_s: list[float]
    """Seconds per batch."""
    energies: list[Energy]
    energy_j: list[float] | None
    """Joules per example; None if any round lacks them."""
    reason: str | None


def _windows(raw: Raw, name: str, index: int) -> _Windows | None:
    """Return the costs of a runner at a point; None if it was not measured there."""
    points = raw.session.runner(name).points
    if len(points) <= index or not points[index].windows:
        return None  # some runners are not measured at every point
    windows, batch_size = points[index].windows, points[index].point.batch_size
    energies = [_energy(raw.session, window) for window in windows]
    reason = next((e.reason for e in energies if e.joules is None), None)
    per_example = None
    if reason is None:
        per_example = [
            (e.joules or 0.0) / (len(w.batch_ns) * batch_size) for e, w in zip(energies, windows, strict=True)
        ]
    return _Windows(batch_size, [window.batch_s for window in windows], energies, per_example, reason)


def cost_ratio(raw: Raw, name: str, other: str) -> Estimate | None:
    """Return the paired cost ratio of two runners at the headline point.

    It is of energy if a meter measured both, otherwise of latency; None if a runner was not measured.
    """
    own, baseline = _windows(raw, name, 0), _windows(raw, other, 0)
    if own is None or baseline is None:
        return None
    if raw.session.meter.measured and own.energy_j and baseline.energy_j:
        return stats.paired_ratio(own.energy_j, baseline.energy_j)
    return stats.paired_ratio(own.latency_s, baseline.latency_s)


def _energy(session: Session, window: Window) -> Energy:
    """Return the energy of a window.

    It is taken between movements of a counter that steps, otherwise between the counter's readings at the edges.
    """
    meter = session.meter
    if meter.source is None:
        return Energy(None, 0.0, None, meter.absent or "no meter")
    if meter.source == "external":
        return _external(session, window)
    if meter.step_s is not None:
        energy = window_energy(session.samples, window.started_ns, window.ended_ns, meter.step_s)
        if energy.joules is None and meter.sampling_error:
            return Energy(None, math.inf, None, meter.sampling_error)
        return energy if energy.joules is None or energy.joules > 0 else Energy(None, 0.0, None, _STILL)
    start, end = window.start_uj, window.end_uj
    if start is None or end is None:
        return Energy(None, 0.0, None, "the meter stopped answering during a window")
    return Energy((end - start) / 1e6, 0.0, None) if end > start else Energy(None, 0.0, None, _STILL)


def _external(session: Session, window: Window) -> Energy:
    """Return the energy of a window from the readings of a meter outside of the machine, matched by the clock."""
    joules = interpolated_power(session.samples, window.started_ns, window.ended_ns, OUTSIDE)
    if joules is None:
        return Energy(None, 0.0, None, "the external meter's readings do not cover a window closely")
    return Energy(joules, 0.0, None) if joules > 0 else Energy(None, 0.0, None, "the external meter read no power")


_STILL = "the energy counter stood still during a window"


def _point(raw: Raw, name: str, index: int) -> Point:
    """Return one operating point of a runner with its estimates, ratios, grade and reasons."""
    costs, point = _windows(raw, name, index), raw.session.runner(name).points[index]
    assert costs is not None
    meter = raw.session.meter
    rounds = tuple(_round(window, energy) for window, energy in zip(point.windows, costs.energies, strict=True))
    estimate = None
    if costs.energy_j is not None:
        estimate = _positive(stats.mean_estimate(costs.energy_j))
    idle_w = idle_watts(raw.session.idle.loaded, meter.step_s)
    idle = None if idle_w is None else idle_w * stats.mean_estimate(costs.latency_s).value / costs.batch_size
    reason = costs.reason
    if estimate is not None and not meter.measured:
        factor = UNCERTAINTY_FACTOR
        estimate = Estimate(estimate.value, estimate.low / factor, estimate.high * factor, estimate.n)
        basis = f" and {meter.basis}" if meter.basis else ""
        reason = f"modelled from CPU time{basis}: {meter.why_modelled}"
    elif idle is None and reason is None:
        reason = "idle power could not be measured"
    references = {
        reference_name: windows
        for reference_name in raw.references
        if (windows := _windows(raw, reference_name, index)) is not None
    }
    reference = references.get(raw.against)
    against_j = None if reference is None else reference.energy_j
    grade, reasons = grades.grade(raw.session, name, index, costs.energies, raw.against, against_j)
    times = [duration / 1e9 for window in point.windows for duration in window.batch_ns]
    return Point(
        batch_size=costs.batch_size,
        sequence_length=point.point.sequence_length,
        phase="decode" if point.point.generate else None,
        generated_tokens=point.point.generate,
        headline=index == 0,
        latency_s=_positive(stats.mean_estimate(costs.latency_s)),
        latency_percentiles_s=Percentiles(
            p50=stats.percentile(times, 0.5),
            p90=stats.percentile(times, 0.9),
            p99=stats.percentile(times, 0.99) if len(times) >= P99_SAMPLES else None,
            n=len(times),
        ),
        throughput_per_s=_positive(stats.mean_estimate([costs.batch_size / value for value in costs.latency_s])),
        energy_j=estimate,
        energy_idle_j=idle,
        energy_net_j=None if idle is None or estimate is None else estimate.value - idle,
        energy_gain=None if estimate is None else GAIN if meter.source == "nvml" else meter.gain,
        energy_source=meter.source,
        energy_boundary=meter.boundary,
        energy_reason=reason,
        grade=grade if estimate is not None else None,
        grade_reasons=reasons,
        ratios=_ratios(raw, index, costs, references, grade),
        verdict=None,
        rounds=rounds,
        reasons=_reasons(raw, point.point, len(times), reason, estimate, idle),
    )


def _positive(estimate: Estimate) -> Estimate:
    """Clip the lower end at 0: the t interval of a few scattered rounds can reach below it."""
    return replace(estimate, low=max(estimate.low, 0.0)) if math.isfinite(estimate.low) else estimate


def _reasons(
    raw: Raw, shape: Shape, samples: int, reason: str | None, energy: Estimate | None, idle: float | None
) -> dict[str, str]:
    """Return why a point lacks figures: field -> sentence."""
    measured = raw.session.meter.measured
    no_idle = "idle power could not be measured" if measured else "idle power is not measured without a meter"
    absent = reason or "no meter"
    why = {
        "phase": None if shape.generate else "a forward pass over whole examples, nothing is generated",
        "generated_tokens": None if shape.generate else "nothing is generated",
        "sequence_length": None if shape.sequence_length else "images have none",
        "p99": None if samples >= P99_SAMPLES else f"{samples} batches; 300 are needed",
        "energy_j": None if energy else absent,
        "grade": None if energy else absent,
        "energy_idle_j": None if idle is not None else no_idle,
        "energy_net_j": None if energy and idle is not None else no_idle if energy else absent,
        "ratios.energy": None if energy and measured else "only measured energies are compared" if energy else absent,
    }
    return {field: sentence for field, sentence in why.items() if sentence is not None}


def _ratios(
    raw: Raw, index: int, costs: _Windows, references: Mapping[str, _Windows], own_grade: Grade | None
) -> tuple[Ratio, ...]:
    """Return the paired ratios to every reference measured at the same point. Modelled energy has no ratio.

    The grade of a ratio is the worse one of its two energies. `own_grade` is that of the runner.
    """
    measured = raw.session.meter.measured
    against_j = references[raw.against].energy_j if raw.against in references else None
    ratios = []
    for name, reference in references.items():
        pair = (costs.latency_s, reference.latency_s)
        ratio = Ratio(name, stats.paired_ratio(*pair), None, stats.min_detectable(*pair))
        if measured and costs.energy_j and reference.energy_j:
            joules = (costs.energy_j, reference.energy_j)
            reference_grade, why = grades.grade(raw.session, name, index, reference.energies, raw.against, against_j)
            known: list[Grade] = [grade for grade in (own_grade, reference_grade) if grade is not None]
            ratio = replace(
                ratio,
                energy=stats.paired_ratio(*joules),
                min_detectable_energy=stats.min_detectable(*joules),
                grade=max(known, default=None),
                grade_reasons=tuple(f"{name}: {reason}" for reason in why),
            )
        ratios.append(ratio)
    return tuple(ratios)


def _round(window: Window, energy: Energy) -> Round:
    return Round(
        index=window.index,
        order=window.order,
        started_s=window.started_ns / 1e9,
        duration_s=window.duration_s,
        batches=len(window.batch_ns),
        gap_s=(window.duration_ns - sum(window.batch_ns)) / 1e9,
        energy_j=energy.joules,
        integrated_j=energy.integrated_j,
        cpu_s=window.cpu_ns / 1e9,
    )


def lacking(raw: Raw, name: str) -> Sequence[str]:
    """Return a sentence for each operating point that a runner was not measured at, with the reason."""
    missing = [point for point in raw.session.runner(name).points if not point.windows]
    return [f"not measured at {_shape(point.point)}: {point.lacking}" for point in missing]


def _shape(point: Shape) -> str:
    length = f" x length {point.sequence_length}" if point.sequence_length else ""
    return f"batch {point.batch_size}{length}" + (f", {point.generate} generated" if point.generate else "")


def disturbances(raw: Raw, name: str) -> Sequence[str]:
    """Return the disturbances of a runner's headline point, which affect latency too."""
    return grades.disturbances(raw.session, name, 0, raw.against) if raw.session.runner(name).points else ()
