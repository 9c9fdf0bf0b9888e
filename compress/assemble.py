"""From a session's raw figures to results: estimates, paired ratios, sizes, verdicts. Pure functions, no torch."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import stats
from compress.energy.modelled import UNCERTAINTY_FACTOR
from compress.measure.accuracy import Evaluation, summarise
from compress.measure.machine import code_version
from compress.measure.size import stored_bytes
from compress.recipe import Recipe
from compress.results import (
    SCHEMA,
    Accuracy,
    Grade,
    Kernel,
    Machine,
    Operator,
    Percentiles,
    Point,
    Ratio,
    Reference,
    Result,
    Round,
    Size,
    StepCost,
    Transform,
)
from compress.session import Job, Spec
from compress.stats import Estimate
from compress.verdict import judged
from compress.workloads.source import Source

if TYPE_CHECKING:
    from compress.artifact import Manifest

P99_SAMPLES = 300
FOREIGN_CORES = 0.1  # on two cores, a tenth of one already moves a latency by several percent


@dataclass(frozen=True)
class Built:
    """A recipe whose artifact is on disk."""

    recipe: Recipe
    found: Source
    fingerprint: str
    folder: Path
    manifest: "Manifest"


def _row(recipe: Recipe, found: Source, fingerprint: str, machine: Machine, limit: int | None, **parts: Any) -> Result:
    """A result with everything that is known before measuring."""
    return Result(
        schema=SCHEMA,
        name=recipe.name,
        fingerprint=fingerprint,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        code_version=code_version(),
        seed=recipe.seed,
        recipe=recipe.model_dump(mode="json"),
        workload=_portable({**found.workload.model_dump(mode="json"), "resolved": found.resolved}),
        machine=machine,
        limit=limit,
        **parts,
    )


def _portable(value: Any) -> Any:
    """Absolute paths made relative to the current folder where they lie near it: they mean something elsewhere too."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, str) and Path(value).is_absolute():
        relative = os.path.relpath(value)
        return relative if relative.count("..") <= 2 else value
    return value


def failed(
    recipe: Recipe, found: Source, fingerprint: str, machine: Machine, limit: int | None, error: Exception
) -> Result:
    """The result of a recipe that could not be built."""
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    return _row(recipe, found, fingerprint, machine, limit, session="", error=f"{kind}{error}")


def assemble(
    items: Sequence[Built],
    references: Sequence[Spec],
    job: Job,
    answer: Mapping[str, Any],
    machine: Machine,
    session: str,
) -> list[Result]:
    """One result per item, verdicts included."""
    raw = {entry["name"]: entry for entry in answer["runners"]}
    missing = {s.name: raw[s.name]["error"] for s in references if raw[s.name]["error"]}
    references = [spec for spec in references if spec.name not in missing]
    if not any(spec.runtime == "eager" for spec in references):
        raise RuntimeError("; ".join(f"the reference {n} could not be measured: {e}" for n, e in missing.items()))
    lost = tuple(f"the reference {name} could not be measured: {error}" for name, error in missing.items())
    against = next((s.name for s in references if s.runtime == "eager" and s.dtype != "fp32"), references[0].name)
    rows = [_reference(spec, raw, references, against, job, answer, machine) for spec in references]
    made = [_result(item, raw, references, rows, against, job, answer, machine, session) for item in items]
    return [judged(replace(result, notes=(*result.notes, *lost))) for result in made]


def _reference(
    spec: Spec,
    raw: Mapping[str, Any],
    references: Sequence[Spec],
    against: str,
    job: Job,
    answer: Mapping[str, Any],
    machine: Machine,
) -> Reference:
    mine = raw[spec.name]
    stored = stored_bytes(Path(spec.path)) if spec.path else mine["weight_bytes"]
    dense = raw[references[0].name]
    size = _size(mine, dense["parameters"], dense["nonzero"], stored)
    accuracy = _accuracy(mine, None if spec.name == against else raw[against], against, job)
    points = _points(mine, raw, references, job, answer)
    return Reference(spec.name, spec.name == against, accuracy, points, size, _kernel(mine))


def _result(
    item: Built,
    raw: Mapping[str, Any],
    references: Sequence[Spec],
    rows: Sequence[Reference],
    against: str,
    job: Job,
    answer: Mapping[str, Any],
    machine: Machine,
    session: str,
) -> Result:
    mine = raw[item.recipe.name]
    extra = item.manifest.extra
    parts: dict[str, Any] = {
        "session": session,
        "runtime": extra["runtime"],
        "transform": _transform(extra["transform"]),
        "references": tuple(rows),
        "artifact": str(item.folder),
        "notes": tuple(extra["notes"]),
    }
    if mine["error"]:
        parts["error"] = mine["error"]
    else:
        parts |= {
            "accuracy": _accuracy(mine, raw[against], against, job),
            "points": _points(mine, raw, references, job, answer),
            "size": _size(mine, extra["parameters"], extra["nonzero"], stored_bytes(item.folder)),
            "kernel": _kernel(mine),
            "notes": (*extra["notes"], *(_disturbances(mine["points"][0]) if mine["points"] else ())),
        }
    return _row(item.recipe, item.found, item.fingerprint, machine, job.limit, **parts)


def _evaluation(raw: Mapping[str, Any]) -> Evaluation:
    return Evaluation(raw["outcomes"], raw["finite"], raw["batch_size"], raw["order"])


def _accuracy(mine: Mapping[str, Any], theirs: Mapping[str, Any] | None, against: str, job: Job) -> Accuracy:
    return summarise(
        _evaluation(mine),
        job.workload.metric_name,
        None if theirs is None else _evaluation(theirs),
        None if theirs is None else against,
        job.seed,
        mine["batch_sensitivity"],
    )


def _points(
    mine: Mapping[str, Any], raw: Mapping[str, Any], references: Sequence[Spec], job: Job, answer: Mapping[str, Any]
) -> tuple[Point, ...]:
    points = []
    for index, point in enumerate(mine["points"]):
        pairs = {s.name: raw[s.name]["points"][index] for s in references if len(raw[s.name]["points"]) > index}
        points.append(_point(point, pairs, index == 0, job, answer))
    return tuple(points)


def _point(
    mine: Mapping[str, Any], pairs: Mapping[str, Any], headline: bool, job: Job, answer: Mapping[str, Any]
) -> Point:
    batch_size = int(mine["point"]["batch_size"])
    latency = _latency_s(mine)
    energy = _energy_j(mine, batch_size)
    meter = answer["meter"]
    source, reason = meter.get("source"), meter.get("absent")
    measured = bool(meter.get("measured"))
    estimate = None if energy is None else stats.mean_estimate(energy)
    idle_w = answer["idle_w"]
    idle = None if idle_w is None else idle_w * stats.mean_estimate(latency).value / batch_size
    if estimate is not None and not measured:
        low, high = max(estimate.low, 0.0) / UNCERTAINTY_FACTOR, estimate.high * UNCERTAINTY_FACTOR
        estimate = Estimate(estimate.value, low, high, estimate.n)
        reason = f"modelled from CPU time: {meter.get('why_modelled')}"
    elif idle is None and reason is None:
        reason = "idle power could not be measured"
    ratios = []
    for name, theirs in pairs.items():
        their_energy = _energy_j(theirs, batch_size) if measured else None
        cost, their_cost = (energy, their_energy) if energy and their_energy else (latency, _latency_s(theirs))
        ratios.append(
            Ratio(
                reference=name,
                latency=stats.paired_ratio(latency, _latency_s(theirs)),
                energy=stats.paired_ratio(energy, their_energy) if energy and their_energy else None,
                min_detectable=stats.min_detectable(cost, their_cost),
            )
        )
    grade, grade_reasons = _grade(mine, source, measured, job)
    times = mine["batch_s"]
    return Point(
        batch_size=batch_size,
        sequence_length=mine["point"]["sequence_length"],
        phase=None,
        headline=headline,
        latency_s=stats.mean_estimate(latency),
        latency_percentiles_s=Percentiles(
            p50=stats.percentile(times, 0.5),
            p90=stats.percentile(times, 0.9),
            p99=stats.percentile(times, 0.99) if len(times) >= P99_SAMPLES else None,
            n=len(times),
        ),
        throughput_per_s=stats.mean_estimate([batch_size / value for value in latency]),
        energy_j=estimate,
        energy_idle_j=idle,
        energy_net_j=None if idle is None or estimate is None else estimate.value - idle,
        energy_source=source,
        energy_reason=reason,
        grade=grade,
        grade_reasons=grade_reasons,
        ratios=tuple(ratios),
        verdict=None,
        rounds=tuple(Round(**entry) for entry in mine["rounds"]),
    )


def _latency_s(point: Mapping[str, Any]) -> list[float]:
    """Seconds per batch, one per round, in the rounds' order."""
    return [entry["duration_s"] / entry["batches"] for entry in point["rounds"]]


def _energy_j(point: Mapping[str, Any], batch_size: int) -> list[float] | None:
    """Joules per example, one per round; None when any round has none, or a counter that stood still."""
    values = [entry["energy_j"] for entry in point["rounds"]]
    if any(value is None or value <= 0 or not math.isfinite(value) for value in values):
        return None
    return [value / (e["batches"] * batch_size) for value, e in zip(values, point["rounds"], strict=True)]


def _grade(
    mine: Mapping[str, Any], source: str | None, measured: bool, job: Job
) -> tuple[Grade | None, tuple[str, ...]]:
    """A grade of the energy figure and its reasons in words; None where there is no figure.

    Reasons are given also where there is no figure: they speak of the latency too.
    """
    reasons = _disturbances(mine)
    if source is None:
        return None, tuple(reasons)
    if not measured:
        return "E", ("energy is modelled, not measured", *reasons)
    disturbed = bool(reasons)
    reasons.append("one meter only, without a second source to check it")
    if job.settings.profile == "quick":
        reasons.append("quick windows")
    return ("D" if disturbed else "C"), tuple(reasons)


def _disturbances(point: Mapping[str, Any]) -> list[str]:
    """What disturbed the measurement of a point, latency included."""
    reasons = [] if point["steady"] else ["latency was not steady when warm-up ended"]
    cores = point["foreign_cores"]
    if cores is not None and cores > FOREIGN_CORES:
        reasons.append(f"other processes kept {cores:.1f} cores busy during the measurement")
    return reasons


def _size(mine: Mapping[str, Any], parameters: int, nonzero: int, stored: int) -> Size:
    memory = mine["memory"]
    reason = memory.get("reason") or (None if memory else "memory could not be measured on this system")
    return Size(parameters, nonzero, stored, memory.get("memory_bytes"), memory.get("peak_memory_bytes"), reason)


def _kernel(mine: Mapping[str, Any]) -> Kernel:
    kernel = mine["kernel"]
    return Kernel(kernel["label"], tuple(Operator(**entry) for entry in kernel["evidence"]), kernel["cause"])


def _transform(raw: Mapping[str, Any]) -> Transform:
    return Transform(**{**raw, "steps": tuple(StepCost(**step) for step in raw["steps"])})
