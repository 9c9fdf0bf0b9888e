"""Figures of a session computed from its raw samples: accuracy, and points with estimates, paired ratios and grades.

These are pure functions without a device. A result is computed with them after a session, and `verify` repeats them on
its trace.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from compress.analysis import grades
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.costs import Raw, costs
from compress.analysis.joules import GAIN, UNCERTAINTY_FACTOR, Energy, idle_watts
from compress.analysis.net import netted
from compress.analysis.ratios import ratios
from compress.records import quantiles, stats
from compress.records.result import Accuracy, Percentiles, Point, Round
from compress.records.session import Runner, Shape, Window
from compress.records.stats import Estimate


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


def _point(raw: Raw, name: str, index: int) -> Point:
    """Return one operating point of a runner with its estimates, ratios, grade and reasons."""
    own, point = costs(raw, name, index), raw.session.runner(name).points[index]
    assert own is not None
    meter = raw.session.meter
    rounds = tuple(_round(window, energy) for window, energy in zip(point.windows, own.energies, strict=True))
    estimate = None
    if own.energy_j is not None:
        estimate = _positive(stats.mean_estimate(own.energy_j))
    idle_w = idle_watts(raw.session.idle.loaded, meter.step_s)
    idle = None if idle_w is None else idle_w * stats.mean_estimate(own.latency_s).value / own.batch_size
    reason = own.reason
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
        if (windows := costs(raw, reference_name, index)) is not None
    }
    grade, reasons, unreliable = grades.grade(raw, name, index)
    times = [[duration / 1e9 for duration in window.batch_ns] for window in point.windows]
    batches = sum(map(len, times))
    percentiles = {p: quantiles.quantile_estimate(times, share) for p, share in quantiles.FRACTIONS.items()}
    made = Point(
        batch_size=own.batch_size,
        sequence_length=point.point.sequence_length,
        phase="decode" if point.point.generate else None,
        generated_tokens=point.point.generate,
        headline=index == 0,
        latency_s=_positive(stats.mean_estimate(own.latency_s)),
        latency_percentiles_s=Percentiles(**percentiles, n=batches),
        throughput_per_s=_positive(stats.mean_estimate([own.batch_size / value for value in own.latency_s])),
        energy_j=estimate,
        energy_idle_j=idle,
        energy_net_j=None,
        energy_gain=None if estimate is None else GAIN if meter.source == "nvml" else meter.gain,
        energy_source=meter.source,
        energy_boundary=meter.boundary,
        energy_reason=reason,
        grade=grade if estimate is not None else None,
        grade_reasons=reasons,
        ratios=ratios(raw, index, own, references, grade),
        verdict=None,
        rounds=rounds,
        reasons=_reasons(raw, point.point, reason, estimate, idle) | _too_few(percentiles, batches),
        unreliable=unreliable,
    )
    series = {each: grades.series_of(raw, each, index) for each in (name, *references)}
    return netted(made, series[name], {each: series[each] for each in references}, idle_w)


def _positive(estimate: Estimate) -> Estimate:
    """Clip the lower end at 0: the t interval of a few scattered rounds can reach below it."""
    return replace(estimate, low=max(estimate.low, 0.0)) if math.isfinite(estimate.low) else estimate


def _reasons(raw: Raw, shape: Shape, reason: str | None, energy: Estimate | None, idle: float | None) -> dict[str, str]:
    """Return why a point lacks figures: field -> sentence."""
    measured = raw.session.meter.measured
    no_idle = "idle power could not be measured" if measured else "idle power is not measured without a meter"
    absent = reason or "no meter"
    why = {
        "phase": None if shape.generate else "a forward pass over whole examples, nothing is generated",
        "generated_tokens": None if shape.generate else "nothing is generated",
        "sequence_length": None if shape.sequence_length else "images have none",
        "energy_j": None if energy else absent,
        "grade": None if energy else absent,
        "energy_idle_j": None if idle is not None else no_idle,
        "energy_net_j": None if energy and idle is not None else no_idle if energy else absent,
        "ratios.energy": None if energy and measured else "only measured energies are compared" if energy else absent,
    }
    return {field: sentence for field, sentence in why.items() if sentence is not None}


def _too_few(percentiles: Mapping[str, Estimate | None], batches: int) -> dict[str, str]:
    """Return why percentiles are missing: too few batches for an interval."""
    needed = {name: quantiles.least(quantiles.FRACTIONS[name]) for name, found in percentiles.items() if found is None}
    return {name: f"{batches} batches; its interval needs {least}" for name, least in needed.items()}


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
    return grades.disturbed(raw, name, 0) if costs(raw, name, 0) is not None else ()
