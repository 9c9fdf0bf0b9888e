"""The card of one recipe: data of its result and of its session's samples, as plain values for the page."""

import math
from typing import Any

from compress.analysis.among import with_adjusted
from compress.analysis.odds import adjusted
from compress.analysis.pareto import Table
from compress.analysis.same import same_words
from compress.analysis.verdict import MEASURED, alone, cost_axis, own_lengths, same_point
from compress.records.result import BreakEven, Layer, Point, Reference, Result
from compress.records.stats import Estimate
from compress.report.factors import ENERGY, SPEED, Words, factor
from compress.report.numbers import GAPS, has_gaps, shift
from compress.report.page.again import commands, recipe_text
from compress.report.page.samples import OLD, Traces, flips, histogram, recorded
from compress.report.text import (
    count,
    differing,
    digits,
    generation,
    joined,
    megabytes,
    metric,
    of_artifact,
    plain,
    seeds,
    session_spread,
    trainings,
)
from compress.report.text import difference as difference_text

Plain = dict[str, Any]
ALONE = "compression alone"


def card(result: Result, table: Table, traces: Traces) -> Plain:
    """Return the data of one recipe's card. A part that is unknown has its reason under `why`.

    The sentence of the verdict is in the table's row, and notes on all recipes are below the table.
    """
    result = with_adjusted(result, adjusted(table).get(result.name))
    reference = next((r for r in table.references if r.name == table.reference), None)
    own = result.verdict_reference or reference  # the reference of its own session
    session = traces.session(result.session, result.further_traces)
    against = own.name if own else ""
    changed = recorded(session, lambda trace: flips(trace, result, against))
    return {
        "cause": _cause(result),
        "against": plain(against),
        "facts": [[plain(label), plain(value)] for label, value in facts(result, own, "why" not in changed)],
        "flips": changed,
        "times": recorded(session, lambda trace: histogram(trace, [against, result.name])),
        "rounds": _rounds(result.headline, own),
        "session": result.session if session else None,
        "layers": {"why": OLD} if result.layers is None else [_layer(layer) for layer in result.layers],
        "even": _even(result, own),
        "points": _points(result, against),
        "from": [[plain(label), plain(value)] for label, value in _provenance(result)],
        "grades": _grades(result),
        "notes": [plain(note) for note in _own_notes(result, table)],
        "recipe": recipe_text(result.recipe),
        "commands": [plain(line) for line in commands(result)],
    }


def _cause(result: Result) -> str:
    """Return the cause of the verdict, unless it repeats a fact: the cost of the compression alone."""
    cause = result.verdict.cause if result.verdict else ""
    return "" if cause.startswith(ALONE) and alone(result, result.headline) else plain(cause)


def _own_notes(result: Result, table: Table) -> list[str]:
    """Return the notes of a result, without those on all recipes of the table."""
    shared = set.intersection(*(set(r.notes) for r in table.results)) if len(table.results) > 1 else set()
    same = same_words(result)
    return [*([same] if same else []), *(note for note in result.notes if note not in shared)]


def facts(result: Result, own: Reference | None, flips_shown: bool = False) -> list[tuple[str, str]]:
    """Return pairs of label and text: accuracy, ratios, size, kernels and the cost of compressing.

    `flips_shown`: whether the card counts the answers that changed elsewhere.
    """
    accuracy, size, kernel = result.accuracy, result.size, result.kernel
    facts: list[tuple[str, str]] = []
    if accuracy is not None:
        facts.append((accuracy.metric, f"{joined(metric(accuracy))}, {accuracy.estimate.n:,} examples"))
        facts.append(("difference", joined(difference_text(accuracy))))
        if accuracy.seeds:
            facts.append((f"{accuracy.metric} by seed", trainings(result)))
        for label, value in (
            (f"McNemar's p{of_artifact(accuracy)}", accuracy.mcnemar_p),
            ("bits per byte", accuracy.bits_per_byte),
        ):
            facts += [] if value is None else [(label, digits(value))]
        if accuracy.flip_rate is not None and not flips_shown:
            facts.append(("answers that changed", f"{100 * accuracy.flip_rate:.1f} %"))
        if accuracy.batch_sensitivity is not None:
            facts.append(("answers that depend on the batch", differing(accuracy.batch_sensitivity)))
    if result.generation is not None:
        facts.append(("greedy text", "; ".join(generation(result.generation))))
    facts += [(label, joined(factor(estimate, words))) for label, estimate, words in _ratios(result, own)]
    if size is not None:
        reference_bytes = own.size.stored_bytes if own else None
        facts.append(("stored", joined(megabytes(size.stored_bytes, reference_bytes))))
        facts.append(("parameters", f"{size.parameters:,}, of which {size.nonzero:,} are not zero"))
        memory = [f"{digits(v / 1e6)} MB" for v in (size.memory_bytes, size.peak_memory_bytes) if v is not None]
        facts += [("memory loaded, at its peak", ", ".join(memory))] if memory else []
    if kernel is not None:
        evidence = ", ".join(f"{op.name} {100 * op.share:.0f} %" for op in kernel.evidence[:4])
        facts.append(("kernels", f"{kernel.label}{f' ({kernel.cause})' if kernel.cause else ''}: {evidence}"))
    if result.transform is not None:
        spent, transform = "", result.transform
        if transform.energy_j is not None:
            about = "" if transform.energy_source in MEASURED else "~"
            spent = f", {about}{digits(transform.energy_j, 3 if not about else 2)} J ({transform.energy_source})"
        facts.append(("compressing took", f"{digits(transform.seconds)} s{spent}"))
    spread = None if own is None or result.headline is None else session_spread(result.headline, own.name)
    facts += [("between sessions", spread)] if spread else []
    return facts


def _ratios(result: Result, own: Reference | None) -> list[tuple[str, Estimate, Words]]:
    """Return the energy ratio net of idle, and the ratios to the dense model under the same runtime."""
    point = result.headline
    ratio, same = (point.ratio(own.name) if point and own else None), alone(result, point)
    against = "" if same is None else f"{ALONE}, against {same.reference}: "
    named = [
        ("energy net of idle", ratio.net if ratio else None, ENERGY),
        (f"{against}latency", same.latency if same else None, SPEED),
        (f"{against}energy", same.energy if same else None, ENERGY),
        (f"{against}energy net of idle", same.net if same else None, ENERGY),
    ]
    return [(label, estimate, words) for label, estimate, words in named if estimate is not None]


def _rounds(point: Point | None, own: Reference | None) -> Plain:
    """Return the costs of every round, the reference's and ours: energy if a meter measured both, otherwise latency."""
    baseline = own.headline if own else None
    if point is None or baseline is None or not point.rounds:
        return {"why": "no rounds were measured at the headline point"}
    ratio = point.ratio(own.name if own else "")
    axis = "latency" if ratio is None else cost_axis(ratio, point.energy_source)[0]
    by_round, first = {r.index: r for r in baseline.rounds}, shift(point, baseline)
    pairs = []
    for ours in point.rounds:
        reference = by_round.get(ours.index)
        if reference is None:
            continue
        if axis == "energy" and ours.energy_j is not None and reference.energy_j is not None:
            values = [1e3 * r.energy_j / (r.batches * p.batch_size)  # type: ignore[operator]
                      for r, p in ((reference, baseline), (ours, point))]  # fmt: skip
        elif axis == "energy":
            continue
        else:
            values = [1e3 * r.duration_s / r.batches for r in (reference, ours)]
        pairs.append([ours.index + first, *(float(f"{v:.5g}") for v in values)])
    what = f"energy per {point.example}, mJ" if axis == "energy" else "latency per batch, ms"
    gaps = GAPS if has_gaps(point, baseline) else ""
    return {"what": what, "pairs": pairs, "instead": axis != "energy", "gaps": gaps}


def _layer(layer: Layer) -> list[Any]:
    """[name, format, bits, dtype, rank, sparsity, shape, bytes]."""
    shape = None if layer.shape is None else " × ".join(map(str, layer.shape))
    return [
        plain(layer.name), layer.format, layer.bits, layer.dtype, layer.rank, layer.sparsity, shape, layer.stored_bytes
    ]  # fmt: skip


def _even(result: Result, own: Reference | None) -> Plain:
    """Return the cost of compressing, and of an inference with and without it, if all were measured."""
    point, transform, even = result.headline, result.transform, result.breakeven
    baseline = next((p for p in own.points if point and same_point(p, point)), None) if own else None
    if point is None or baseline is None or transform is None:
        return {"why": "the cost of compressing or of the reference was not measured"}
    ratio = point.ratio(own.name if own else "")
    axis = "latency" if ratio is None else cost_axis(ratio, point.energy_source)[0]
    reason = even.reason if even else None
    inferences = even.inferences if even else None
    crossing = None if inferences is None else [*map(_short, (inferences.value, inferences.low, inferences.high))]
    if axis == "energy":
        spent = transform.energy_at_most_j if transform.energy_j is None else transform.energy_j
        if transform.energy_source not in MEASURED or spent is None or not point.energy_j:
            return {"why": reason or "the energy of compressing was not measured"}
        if baseline.energy_j is None:
            return {"why": "the reference's energy is unknown"}
        costs, unit = (point.energy_j.value, baseline.energy_j.value), "J"
    else:
        costs = (point.latency_s.value / point.batch_size, baseline.latency_s.value / baseline.batch_size)
        unit, spent = "s", transform.seconds
    return {
        "unit": unit,
        "spent": spent,
        "own": costs[0],
        "baseline": costs[1],
        "at": crossing,
        "reason": reason,
        "text": _after(even, point.example),
        "per": f"{point.example}s",
    }


def _after(even: BreakEven | None, example: str) -> str:
    """Return the inferences until break-even as text; `example` is the name of one."""
    if even is not None and even.at_most is not None:
        return f"at most {count(even.at_most)} {example}s"
    inferences = even.inferences if even else None
    return (
        f"{count(inferences.value)} {example}s ({count(inferences.low)} to {count(inferences.high)})"
        if inferences
        else ""
    )


def _points(result: Result, against: str) -> list[list[Any]]:
    """Return [batch size, length, generated, ratio, low, high, axis, own lengths] per point; empty for one point."""
    rows = []
    for point in result.points if len(result.points) > 1 else ():
        ratio = point.ratio(against)
        if ratio is not None:
            axis, cost = cost_axis(ratio, point.energy_source)
            shape = (point.batch_size, point.sequence_length, point.generated_tokens)
            rows.append([*shape, *map(_short, (cost.value, cost.low, cost.high)), axis, own_lengths(point)])
    return rows


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _grades(result: Result) -> Plain:
    point = result.headline
    if point is None:
        return {"grade": None, "reasons": []}
    ratio = point.ratio(result.verdict_reference.name) if result.verdict_reference else None
    reasons = [*point.grade_reasons, *(f"reference: {r}" for r in (ratio.grade_reasons if ratio else ()))]
    if point.energy_reason:
        reasons.append(point.energy_reason)
    if point.energy_boundary:
        reasons.append(f"it covers {point.energy_boundary}")
    return {"grade": point.grade, "source": point.energy_source, "reasons": [plain(r) for r in reasons]}


def _provenance(result: Result) -> list[tuple[str, str]]:
    machine = result.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return [
        ("device", f"{machine.device_name} ({machine.device}, machine {machine.id})"),
        ("measured", f"{result.created}{result.session and f', session {result.session}'}"),
        ("fingerprint", result.fingerprint),
        ("made with", f"compress {result.code_version}; {versions}"),
        seeds(result).partition(" ")[::2],
        ("artifact", f"{result.artifact or 'not kept'}; sha256 of its manifest {result.artifact_sha256 or 'unknown'}"),
    ]
