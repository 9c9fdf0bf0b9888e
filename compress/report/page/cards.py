"""A card of one recipe: all that its result and its session's samples say, as plain values for the page."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import recipes
from compress.analysis.pareto import Table
from compress.analysis.verdict import MEASURED, cost_axis, same_point
from compress.records.files import result_path
from compress.records.result import BreakEven, Layer, Point, Reference, Result
from compress.records.stats import Estimate
from compress.report.describe import steps
from compress.report.page.samples import OLD, Traces, flips, histogram, recorded
from compress.report.table import verdict_cell
from compress.report.text import breakeven as breakeven_text
from compress.report.text import count, digits, joined, megabytes, metric, plain
from compress.report.text import difference as difference_text

Plain = dict[str, Any]


def card(result: Result, table: Table, adjusted: Estimate | None, traces: Traces) -> Plain:
    """Everything about one recipe; what is not known carries its reason under `why`."""
    reference = next((r for r in table.references if r.name == table.reference), None)
    own = result.verdict_reference or reference  # the one of its own session
    session = traces.session(result.session)
    against = own.name if own else ""
    return {
        "says": plain(result.verdict.sentence) if result.verdict else None,
        "cause": plain(result.verdict.cause) if result.verdict else "",
        "among": joined(verdict_cell(result, adjusted, table)),
        "against": plain(against),
        "facts": [[plain(label), plain(value)] for label, value in _facts(result, own)],
        "flips": recorded(session, lambda found: flips(found, result, against)),
        "times": recorded(session, lambda found: histogram(found, [against, result.name])),
        "rounds": _rounds(result.headline, own),
        "session": result.session if session else None,
        "layers": {"why": OLD} if result.layers is None else [_layer(each) for each in result.layers],
        "even": _even(result, own),
        "points": _points(result, against),
        "from": [[plain(label), plain(value)] for label, value in _provenance(result)],
        "grades": _grades(result),
        "notes": [plain(note) for note in result.notes],
        "steps": [plain(line) for line in steps(result)],
        "recipe": recipe_text(result.recipe),
        "commands": [plain(line) for line in _commands(result)],
    }


def _facts(result: Result, own: Reference | None) -> list[tuple[str, str]]:
    accuracy, size, kernel = result.accuracy, result.size, result.kernel
    found: list[tuple[str, str]] = []
    if accuracy is not None:
        found.append((accuracy.metric, f"{joined(metric(accuracy))}, {accuracy.estimate.n:,} examples"))
        found.append(("difference", joined(difference_text(accuracy))))
        for label, value in (("McNemar's p", accuracy.mcnemar_p), ("bits per byte", accuracy.bits_per_byte)):
            found += [] if value is None else [(label, digits(value))]
        if accuracy.flip_rate is not None:
            found.append(("answers that changed", f"{100 * accuracy.flip_rate:.1f} %"))
        if accuracy.batch_sensitivity is not None:
            found.append(("answers that depend on the batch", f"{100 * accuracy.batch_sensitivity:.1f} %"))
    if size is not None:
        theirs = own.size.stored_bytes if own else None
        found.append(("stored", joined(megabytes(size.stored_bytes, theirs))))
        found.append(("parameters", f"{size.parameters:,}, of which {size.nonzero:,} are not zero"))
        known = [f"{digits(v / 1e6)} MB" for v in (size.memory_bytes, size.peak_memory_bytes) if v is not None]
        found.append(("memory loaded, at its peak", ", ".join(known) or f"not known: {size.reason}"))
    if kernel is not None:
        seen = ", ".join(f"{op.name} {100 * op.share:.0f} %" for op in kernel.evidence[:4])
        found.append(("kernels", f"{kernel.label}{f' ({kernel.cause})' if kernel.cause else ''}: {seen}"))
    if result.transform is not None:
        spent, transform = "", result.transform
        if transform.energy_j is not None:
            about = "" if transform.energy_source in MEASURED else "~"
            spent = f", {about}{digits(transform.energy_j, 3 if not about else 2)} J ({transform.energy_source})"
        found.append(("compressing took", f"{digits(transform.seconds)} s{spent}"))
    if result.breakeven is not None:
        found.append(("pays back after", result.breakeven.reason or joined(breakeven_text(result.breakeven))))
    return found


def _rounds(point: Point | None, own: Reference | None) -> Plain:
    """Cost of every round beside the reference's of the same: energy where a meter measured both, else latency."""
    theirs = own.headline if own else None
    if point is None or theirs is None or not point.rounds:
        return {"why": "no rounds were measured at the headline point"}
    ratio = point.ratio(own.name if own else "")
    axis = "latency" if ratio is None else cost_axis(ratio, point.energy_source)[0]
    other = {r.index: r for r in theirs.rounds}
    pairs = []
    for mine in point.rounds:
        before = other.get(mine.index)
        if before is None:
            continue
        if axis == "energy" and mine.energy_j is not None and before.energy_j is not None:
            values = [1e3 * r.energy_j / (r.batches * p.batch_size)  # type: ignore[operator]
                      for r, p in ((before, theirs), (mine, point))]  # fmt: skip
        elif axis == "energy":
            continue
        else:
            values = [1e3 * r.duration_s / r.batches for r in (before, mine)]
        pairs.append([mine.index, *(float(f"{v:.5g}") for v in values)])
    what = "energy per inference, mJ" if axis == "energy" else "latency per batch, ms"
    return {"what": what, "pairs": pairs, "instead": axis != "energy"}


def _layer(layer: Layer) -> list[Any]:
    """[name, format, bits, dtype, rank, sparsity, shape, bytes]."""
    shape = None if layer.shape is None else " × ".join(map(str, layer.shape))
    return [
        plain(layer.name), layer.format, layer.bits, layer.dtype, layer.rank, layer.sparsity, shape, layer.stored_bytes
    ]  # fmt: skip


def _even(result: Result, own: Reference | None) -> Plain:
    """What compressing cost and what an inference costs with and without it, all measured or none of it."""
    point, transform, even = result.headline, result.transform, result.breakeven
    theirs = next((p for p in own.points if point and same_point(p, point)), None) if own else None
    if point is None or theirs is None or transform is None:
        return {"why": "what compressing cost, or the reference, was not measured"}
    ratio = point.ratio(own.name if own else "")
    axis = "latency" if ratio is None else cost_axis(ratio, point.energy_source)[0]
    reason = even.reason if even else None
    after = even.inferences if even else None
    crossing = None if after is None else [*map(_short, (after.value, after.low, after.high))]
    if axis == "energy":
        spent = transform.energy_at_most_j if transform.energy_j is None else transform.energy_j
        if transform.energy_source not in MEASURED or spent is None or not point.energy_j:
            return {"why": reason or "the energy of compressing was not measured"}
        if theirs.energy_j is None:
            return {"why": "the reference's energy is not known"}
        each, unit = (point.energy_j.value, theirs.energy_j.value), "J"
    else:
        each = (point.latency_s.value / point.batch_size, theirs.latency_s.value / theirs.batch_size)
        unit, spent = "s", transform.seconds
    return {
        "unit": unit,
        "spent": spent,
        "ours": each[0],
        "theirs": each[1],
        "at": crossing,
        "reason": reason,
        "said": _after(even),
    }


def _after(even: BreakEven | None) -> str:
    if even is not None and even.at_most is not None:
        return f"at most {count(even.at_most)} inferences"
    found = even.inferences if even else None
    return f"{count(found.value)} inferences ({count(found.low)} to {count(found.high)})" if found else ""


def _points(result: Result, against: str) -> list[list[Any]]:
    """[batch size, length, generated tokens, ratio, low, high, axis] of every point; empty where there is only one."""
    made = []
    for point in result.points if len(result.points) > 1 else ():
        ratio = point.ratio(against)
        if ratio is not None:
            axis, cost = cost_axis(ratio, point.energy_source)
            shape = (point.batch_size, point.sequence_length, point.generated_tokens)
            made.append([*shape, *map(_short, (cost.value, cost.low, cost.high)), axis])
    return made


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
        ("measured", f"{result.created}, session {result.session}"),
        ("fingerprint", result.fingerprint),
        ("made with", f"compress {result.code_version}; {versions}"),
        ("seed", str(result.seed)),
        ("artifact", f"{result.artifact or 'not kept'}; sha256 of its manifest {result.artifact_sha256 or 'unknown'}"),
    ]


def _commands(result: Result) -> list[str]:
    """What makes this row again, and what checks it."""
    name = str(result.workload.get("name", ""))
    known = f"{name}.yaml" in {path.name for path in (recipes.FOLDER / "workloads").iterdir()}
    workload = name if known else f"{name}.yaml"
    limit = "" if result.limit is None else f" --limit {result.limit}"
    file = result_path(Path(), name, result.name, result.machine.id, result.limit)
    return [
        f"python -m compress run {quote(f'{result.name}.yaml')} --workload {quote(workload)}{limit}",
        f"python -m compress verify {quote(str(file))}",
    ]


def recipe_text(recipe: Mapping[str, Any]) -> str:
    """The recipe as a YAML file that `run` reads: JSON's values are YAML's."""
    lines = []
    for key, value in recipe.items():
        if key == "name" or value is None:
            continue
        if key == "steps":
            lines += ["steps:" if value else "steps: []", *(f"  - {json.dumps(step)}" for step in value)]
        else:
            lines.append(f"{key}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"
