"""From a session's raw samples to figures: accuracy, and points with estimates, paired ratios and grades.

Pure functions without a device: what makes a result after a session is what `verify` repeats on its trace.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from compress.analysis import grades
from compress.analysis.accuracy import Evaluation, summarise
from compress.analysis.joules import (
    GAIN,
    OUTSIDE,
    UNCERTAINTY_FACTOR,
    Energy,
    idle_watts,
    interpolated_power,
    window_energy,
)
from compress.records import stats
from compress.records.result import Accuracy, Grade, Percentiles, Point, Ratio, Round
from compress.records.stats import Estimate

P99_SAMPLES = 300


@dataclass(frozen=True)
class Raw:
    """A session's raw samples, and what they are judged by."""

    answer: Mapping[str, Any]
    """See `compress.measure.session.run_session`."""
    references: tuple[str, ...]
    """Names of the references that could be measured; fp32 eager first."""
    against: str
    """The one that verdicts are spoken against."""
    metric: str
    seed: int

    def runner(self, name: str) -> Mapping[str, Any]:
        """The raw samples of one runner."""
        found: Mapping[str, Any] = next(r for r in self.answer["runners"] if r["name"] == name)
        return found

    def about(self) -> dict[str, Any]:
        """What to keep beside the samples, so that `from_trace` gives the same."""
        return {
            "references": list(self.references),
            "against": self.against,
            "metric": self.metric,
            "seed": self.seed,
        }


def from_trace(answer: Mapping[str, Any]) -> Raw:
    """What a trace on disk holds."""
    judged = answer["judged_by"]
    return Raw(answer, tuple(judged["references"]), judged["against"], judged["metric"], judged["seed"])


def limit(asked: int | None, counted: int | None) -> int | None:
    """How many examples a limit took; None without one, and where there are no more examples than were asked for."""
    return None if asked is None or (counted or asked) < asked else asked


def accuracy(raw: Raw, name: str) -> Accuracy:
    """The metric of one runner with its interval, and its paired difference to the reference."""
    mine = raw.runner(name)
    theirs = None if name == raw.against else _evaluation(raw.runner(raw.against))
    against = None if theirs is None else raw.against
    return summarise(_evaluation(mine), raw.metric, theirs, against, raw.seed, mine["batch_sensitivity"])


def _evaluation(runner: Mapping[str, Any]) -> Evaluation:
    return Evaluation(
        runner["outcomes"], runner["finite"], runner["batch_size"], runner["order"], runner.get("outputs")
    )


def points(raw: Raw, name: str) -> tuple[Point, ...]:
    """Every operating point of one runner, without verdicts."""
    found = raw.runner(name)["points"]
    return tuple(_point(raw, name, index) for index, point in enumerate(found) if point["rounds"])


@dataclass(frozen=True)
class _Windows:
    """What one runner's windows at one point come to, a value per round."""

    batch_size: int
    latency_s: list[float]
    """Seconds per batch."""
    energies: list[Energy]
    energy_j: list[float] | None
    """Joules per example; None when any round has none."""
    reason: str | None


def _windows(raw: Raw, name: str, index: int) -> _Windows | None:
    found = raw.runner(name)["points"]
    if len(found) <= index or not found[index]["rounds"]:
        return None  # some are not measured at every point
    point = found[index]
    batch_size = int(point["point"]["batch_size"])
    energies = [_energy(raw, window) for window in point["rounds"]]
    reason = next((e.reason for e in energies if e.joules is None), None)
    per_example = None
    if reason is None:
        per_example = [
            (e.joules or 0.0) / (len(w["batch_ns"]) * batch_size)
            for e, w in zip(energies, point["rounds"], strict=True)
        ]
    latency = [_duration_s(window) / len(window["batch_ns"]) for window in point["rounds"]]
    return _Windows(batch_size, latency, energies, per_example, reason)


def cost_ratio(raw: Raw, name: str, other: str) -> Estimate | None:
    """What one runner costs over another at the headline point: energy where a meter measured both, else latency."""
    ours, theirs = _windows(raw, name, 0), _windows(raw, other, 0)
    if ours is None or theirs is None:
        return None
    if raw.answer["meter"].get("measured") and ours.energy_j and theirs.energy_j:
        return stats.paired_ratio(ours.energy_j, theirs.energy_j)
    return stats.paired_ratio(ours.latency_s, theirs.latency_s)


def _duration_s(window: Mapping[str, Any]) -> float:
    return float(window["ended_ns"] - window["started_ns"]) / 1e9


def _energy(raw: Raw, window: Mapping[str, Any]) -> Energy:
    """Energy of a window: between movements of a counter that steps, else between its readings at the edges."""
    meter = raw.answer["meter"]
    step_s = meter.get("step_s")
    if "source" not in meter:
        return Energy(None, 0.0, None, meter.get("absent") or "no meter")
    if meter["source"] == "external":
        return _external(raw, window)
    if step_s is not None:
        found = window_energy(raw.answer["samples"], window["started_ns"], window["ended_ns"], step_s)
        if found.joules is None and meter.get("sampling_error"):
            return Energy(None, math.inf, None, meter["sampling_error"])
        return found if found.joules is None or found.joules > 0 else Energy(None, 0.0, None, _STILL)
    start, end = window["start_uj"], window["end_uj"]
    if start is None or end is None:
        return Energy(None, 0.0, None, "the meter stopped answering during a window")
    return Energy((end - start) / 1e6, 0.0, None) if end > start else Energy(None, 0.0, None, _STILL)


def _external(raw: Raw, window: Mapping[str, Any]) -> Energy:
    """Energy of a window from a meter outside of this machine, by its readings and the clock alone."""
    start, end = window["started_ns"], window["ended_ns"]
    joules = interpolated_power(raw.answer["samples"], start, end, OUTSIDE)
    if joules is None:
        return Energy(None, 0.0, None, "the external meter's readings do not cover a window closely")
    return Energy(joules, 0.0, None) if joules > 0 else Energy(None, 0.0, None, "the external meter read no power")


_STILL = "the energy counter stood still during a window"


def _point(raw: Raw, name: str, index: int) -> Point:
    mine, runner = _windows(raw, name, index), raw.runner(name)["points"][index]
    assert mine is not None
    meter = raw.answer["meter"]
    source, measured = meter.get("source"), bool(meter.get("measured"))
    rounds = tuple(_round(window, energy) for window, energy in zip(runner["rounds"], mine.energies, strict=True))
    estimate = None
    if mine.energy_j is not None:
        estimate = _positive(stats.mean_estimate(mine.energy_j))
    idle_w = idle_watts(raw.answer.get("idle", {}).get("loaded"), meter.get("step_s"))
    idle = None if idle_w is None else idle_w * stats.mean_estimate(mine.latency_s).value / mine.batch_size
    reason = mine.reason
    if estimate is not None and not measured:
        factor = UNCERTAINTY_FACTOR
        estimate = Estimate(estimate.value, estimate.low / factor, estimate.high * factor, estimate.n)
        basis = meter.get("basis")
        reason = f"modelled from CPU time{f' and {basis}' if basis else ''}: {meter.get('why_modelled')}"
    elif idle is None and reason is None:
        reason = "idle power could not be measured"
    references = {each: found for each in raw.references if (found := _windows(raw, each, index)) is not None}
    theirs = references.get(raw.against)
    against_j = None if theirs is None else theirs.energy_j
    mark, reasons = grades.grade(raw.answer, name, index, mine.energies, raw.against, against_j)
    length, generated = runner["point"]["sequence_length"], runner["point"].get("generate")
    times = [duration / 1e9 for window in runner["rounds"] for duration in window["batch_ns"]]
    return Point(
        batch_size=mine.batch_size,
        sequence_length=length,
        phase="decode" if generated else None,
        generated_tokens=generated,
        headline=index == 0,
        latency_s=_positive(stats.mean_estimate(mine.latency_s)),
        latency_percentiles_s=Percentiles(
            p50=stats.percentile(times, 0.5),
            p90=stats.percentile(times, 0.9),
            p99=stats.percentile(times, 0.99) if len(times) >= P99_SAMPLES else None,
            n=len(times),
        ),
        throughput_per_s=_positive(stats.mean_estimate([mine.batch_size / value for value in mine.latency_s])),
        energy_j=estimate,
        energy_idle_j=idle,
        energy_net_j=None if idle is None or estimate is None else estimate.value - idle,
        energy_gain=None if estimate is None else GAIN if source == "nvml" else meter.get("gain"),
        energy_source=source,
        energy_boundary=meter.get("boundary"),
        energy_reason=reason,
        grade=mark if estimate is not None else None,
        grade_reasons=reasons,
        ratios=_ratios(raw, index, mine, references, mark),
        verdict=None,
        rounds=rounds,
        reasons=_reasons(raw, runner["point"], len(times), reason, estimate, idle),
    )


def _positive(estimate: Estimate) -> Estimate:
    """Without what cannot be: the t interval of a few scattered rounds can reach below 0."""
    return replace(estimate, low=max(estimate.low, 0.0)) if math.isfinite(estimate.low) else estimate


def _reasons(
    raw: Raw, shape: Mapping[str, Any], samples: int, reason: str | None, energy: Estimate | None, idle: float | None
) -> dict[str, str]:
    """Why a point has no such figures: field -> sentence."""
    measured = bool(raw.answer["meter"].get("measured"))
    no_idle = "idle power could not be measured" if measured else "idle power is not measured without a meter"
    absent = reason or "no meter"
    why = {
        "phase": None if shape.get("generate") else "a forward pass over whole examples, nothing is generated",
        "generated_tokens": None if shape.get("generate") else "nothing is generated",
        "sequence_length": None if shape["sequence_length"] else "images have none",
        "p99": None if samples >= P99_SAMPLES else f"{samples} batches; 300 are needed",
        "energy_j": None if energy else absent,
        "grade": None if energy else absent,
        "energy_idle_j": None if idle is not None else no_idle,
        "energy_net_j": None if energy and idle is not None else no_idle if energy else absent,
        "ratios.energy": None if energy and measured else "only measured energies are compared" if energy else absent,
    }
    return {field: sentence for field, sentence in why.items() if sentence is not None}


def _ratios(
    raw: Raw, index: int, mine: _Windows, references: Mapping[str, _Windows], mark: Grade | None
) -> tuple[Ratio, ...]:
    """Paired ratios to every reference measured at the same point; a model of energy has none of energy.

    A ratio is no better than the worse of its two energies: `mark` is the grade of ours.
    """
    measured = bool(raw.answer["meter"].get("measured"))
    against_j = references[raw.against].energy_j if raw.against in references else None
    ratios = []
    for name, theirs in references.items():
        pair = (mine.latency_s, theirs.latency_s)
        ratio = Ratio(name, stats.paired_ratio(*pair), None, stats.min_detectable(*pair))
        if measured and mine.energy_j and theirs.energy_j:
            joules = (mine.energy_j, theirs.energy_j)
            their_mark, why = grades.grade(raw.answer, name, index, theirs.energies, raw.against, against_j)
            both: list[Grade] = [each for each in (mark, their_mark) if each is not None]
            ratio = replace(
                ratio,
                energy=stats.paired_ratio(*joules),
                min_detectable_energy=stats.min_detectable(*joules),
                grade=max(both, default=None),
                grade_reasons=tuple(f"{name}: {reason}" for reason in why),
            )
        ratios.append(ratio)
    return tuple(ratios)


def _round(window: Mapping[str, Any], energy: Energy) -> Round:
    return Round(
        index=window["index"],
        order=window["order"],
        started_s=window["started_ns"] / 1e9,
        duration_s=_duration_s(window),
        batches=len(window["batch_ns"]),
        gap_s=(window["ended_ns"] - window["started_ns"] - sum(window["batch_ns"])) / 1e9,
        energy_j=energy.joules,
        integrated_j=energy.integrated_j,
        cpu_s=window["cpu_ns"] / 1e9,
    )


def lacking(raw: Raw, name: str) -> Sequence[str]:
    """Which operating points a runner has no figures of, and why."""
    found = [point for point in raw.runner(name)["points"] if not point["rounds"]]
    return [f"not measured at {_shape(point['point'])}: {point['lacking']}" for point in found]


def _shape(point: Mapping[str, Any]) -> str:
    length = f" x length {point['sequence_length']}" if point["sequence_length"] else ""
    return f"batch {point['batch_size']}{length}" + (f", {point['generate']} generated" if point["generate"] else "")


def disturbances(raw: Raw, name: str) -> Sequence[str]:
    """What disturbed a runner's headline point, latency included."""
    return grades.disturbances(raw.answer, name, 0, raw.against) if raw.runner(name)["points"] else ()
