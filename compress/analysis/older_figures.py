"""Figures that results of schema 1 hold, by the rules of that schema: plain means and t intervals over rounds.

    mean          of the rounds, with Student's t interval
    ratio         exp of the mean logarithm of the rounds' quotients, with the t interval of that mean
    modelled      energy from CPU time, with its interval widened by a factor

`verify` compares them with the rounds of the trace. Grades, reasons, detectable differences, intervals
of accuracy differences, verdicts and break-even followed rules that have changed: they are computed again when such a
result is read, and not compared.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from compress.analysis.joules import UNCERTAINTY_FACTOR
from compress.analysis.verdict import MEASURED, same_point
from compress.records.quantiles import FRACTIONS
from compress.records.result import Accuracy, Point, Reference, Result
from compress.records.stats import Estimate, t_quantile

UNCOMPARED = (
    "measured by schema 1: grades, reasons, detectable differences, intervals of accuracy differences, verdicts and "
    "break-even are not compared, because their rules have changed"
)
SHAPE = (
    "batch_size", "sequence_length", "phase", "generated_tokens", "headline", "energy_source", "energy_boundary",
    "energy_reason", "energy_gain",
)  # fmt: skip
Plain = dict[str, Any]


def compared(stored: Result, computed: Result) -> tuple[Plain, Plain]:
    """Return the comparable figures of a result of schema 1 as its file holds them, and from the rounds of its trace.

    Percentiles of too few batches for an interval are left out: `computed` has none.
    """
    points = [(stored.points, computed.points)]
    points += [(one.points, other.points) for one, other in zip(stored.references, computed.references, strict=True)]
    old, new = _of_result(stored), _of_result(computed)
    for plain_old, plain_new, (ours, theirs) in zip(_rows(old), _rows(new), points, strict=True):
        plain_old["points"] = [_stored(point) for point in ours]
        plain_new["points"] = [_recomputed(point, computed.references) for point in theirs]
        for point_old, point_new in zip(plain_old["points"], plain_new["points"], strict=False):
            for name in FRACTIONS:
                if point_new[name] is None:
                    del point_old[name], point_new[name]
    return old, new


def _of_result(result: Result) -> Plain:
    """Return the figures of a result and of its references without their points."""
    return {
        "seed": result.seed,
        "limit": result.limit,
        "transform": None if result.transform is None else asdict(result.transform),
        "accuracy": None if result.accuracy is None else _metric(result.accuracy),
        "references": [
            {"name": r.name, "verdict_reference": r.verdict_reference, "accuracy": _metric(r.accuracy)}
            for r in result.references
        ],
    }


def _metric(accuracy: Accuracy) -> Plain:
    """Return the figures of a metric, without the interval of a difference that follows from recorded answers."""
    plain = asdict(accuracy)
    if accuracy.right is not None and accuracy.delta is not None:
        plain["delta"] = accuracy.delta.value
    return plain


def _rows(result: Plain) -> list[Plain]:
    return [result, *result["references"]]


def _stored(point: Point) -> Plain:
    net = point.energy_net_j
    return {
        **{field: getattr(point, field) for field in SHAPE},
        "rounds": [asdict(each) for each in point.rounds],
        **_percentiles(point),
        "latency_s": _listed(point.latency_s),
        "throughput_per_s": _listed(point.throughput_per_s),
        "energy_j": _listed(point.energy_j),
        "energy_idle_j": point.energy_idle_j,
        "energy_net_j": None if net is None else net.value,
        "ratios": {r.reference: {"latency": _listed(r.latency), "energy": _listed(r.energy)} for r in point.ratios},
    }


def _listed(estimate: Estimate | None) -> list[float] | None:
    return None if estimate is None else [estimate.value, estimate.low, estimate.high, estimate.n]


def _percentiles(point: Point) -> Plain:
    found = {name: getattr(point.latency_percentiles_s, name) for name in FRACTIONS}
    return {name: None if estimate is None else estimate.value for name, estimate in found.items()}


def _recomputed(point: Point, references: Sequence[Reference]) -> Plain:
    """Return the figures of schema 1 of a point, from its rounds."""
    latency, energy = _per_batch(point), _per_example_j(point)
    mean_s, mean_j = _positive(_mean(latency)), None if energy is None else _positive(_mean(energy))
    idle = None
    if point.energy_idle_j is not None:
        idle = point.energy_idle_j * mean_s[0] / point.latency_s.value
    net = None if idle is None or mean_j is None else mean_j[0] - idle
    if mean_j is not None and point.energy_source not in MEASURED:
        mean_j = [mean_j[0], mean_j[1] / UNCERTAINTY_FACTOR, mean_j[2] * UNCERTAINTY_FACTOR, mean_j[3]]
    return {
        **{field: getattr(point, field) for field in SHAPE},
        "rounds": [asdict(each) for each in point.rounds],
        **_percentiles(point),
        "latency_s": mean_s,
        "throughput_per_s": _positive(_mean([point.batch_size / seconds for seconds in latency])),
        "energy_j": mean_j,
        "energy_idle_j": idle,
        "energy_net_j": net,
        "ratios": dict(_ratios(point, references)),
    }


def _ratios(point: Point, references: Sequence[Reference]) -> Iterator[tuple[str, Plain]]:
    for reference in references:
        other = next((p for p in reference.points if same_point(p, point)), None)
        if other is None:
            continue
        measured = point.energy_source in MEASURED and None not in (_per_example_j(point), _per_example_j(other))
        joules = [_per_example_j(p) or [] for p in (point, other)] if measured else None
        yield (
            reference.name,
            {
                "latency": _ratio(_per_batch(point), _per_batch(other)),
                "energy": None if joules is None else _ratio(*joules),
            },
        )


def _per_batch(point: Point) -> list[float]:
    return [r.duration_s / r.batches for r in point.rounds]


def _per_example_j(point: Point) -> list[float] | None:
    if any(r.energy_j is None for r in point.rounds):
        return None
    return [(r.energy_j or 0.0) / (r.batches * point.batch_size) for r in point.rounds]


def _mean(values: Sequence[float]) -> list[float]:
    """Return mean, both ends of its t interval, and the number of values."""
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return [mean, -math.inf, math.inf, 1]
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = t_quantile(n) * spread / math.sqrt(n)
    return [mean, mean - half, mean + half, n]


def _positive(mean: list[float]) -> list[float]:
    value, low, high, n = mean
    return [value, max(low, 0.0) if math.isfinite(low) else low, high, n]


def _ratio(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    *edges, n = _mean([math.log(a / b) for a, b in zip(ours, others, strict=True)])
    return [*(math.exp(edge) for edge in edges), n]
