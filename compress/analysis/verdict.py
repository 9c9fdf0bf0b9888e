"""The verdict on a compressed model: a word, one sentence that always includes the accuracy, and break-even.

The word comes from the 95 % interval of the paired ratio ours / reference. The ratio is of energy if it was measured,
otherwise of latency, and the sentence states so. An interval that contains 1 is no measurable difference, never a
saving. These are pure functions over results and need no torch.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

from compress.analysis import gains
from compress.analysis.loss import margin_of
from compress.analysis.repaid import across_sessions, point_cost_per_example, repaid, saved_per_example
from compress.analysis.sentence import (
    accuracy_words,
    alone_words,
    assumption,
    cost_words,
    net_words,
    unreliable_words,
)
from compress.analysis.soundness import floor_words, unsound_reference
from compress.records import phase
from compress.records.natural import WORDS
from compress.records.phase import Phase
from compress.records.result import (
    PADDED,
    STATIC,
    Accuracy,
    BreakEven,
    Kernel,
    Point,
    Ratio,
    Result,
    Transform,
    Verdict,
)
from compress.records.stats import SESSION_SPREAD, Estimate

MEASURED = frozenset({"nvml", "rapl", "external"})
"""Energy sources that are meters; `modelled` is not a meter."""
NEVER = "never: costs more"
"""Beginning of the reason of a break-even that a measured cost excludes."""
CAUSES = {
    "dequantized": "weights are dequantized to floating point for every product",
    "masked": "zeros are stored and multiplied",
}

Axis = Literal["energy", "latency"]


def runtime_reference(result: Result) -> str | None:
    """Return the name of the dense model under the recipe's own runtime, padding and cache; None for eager."""
    if result.runtime in ("", "eager"):
        return None
    under = result.runtime + (PADDED if result.recipe.get("padding") == "fixed" else "")
    under += STATIC if result.recipe.get("kv_cache") == "static" else ""
    names = [r.name for r in result.references if r.name.endswith(f" {under}") and not r.verdict_reference]
    cast = [step.get("dtype") for step in result.recipe.get("steps", ()) if step.get("method") == "cast"]
    own = f"{cast[-1] if cast else 'fp32'} {under}"  # a session may have graphs of both precisions
    return own if own in names else names[0] if names else None


def alone(result: Result, point: Point | None) -> Ratio | None:
    """Return a point's ratio to the dense model under the same runtime: the effect of the compression alone."""
    runtime = runtime_reference(result)
    return point.ratio(runtime) if point is not None and runtime is not None else None


def same_point(one: Point, other: Point) -> bool:
    """Return whether two points have the same batch size, lengths, phase and numbers of generated tokens."""
    return shape(one) == shape(other)


def shape(point: Point) -> tuple[object, ...]:
    """Return what identifies an operating point."""
    lengths = point.sequence_length, point.audio_s, point.generated_tokens, point.new_tokens, point.stop
    return point.batch_size, point.phase, *lengths, own_lengths(point)


def own_lengths(point: Point) -> str:
    """Return `own lengths` for a natural point, and whether its texts were sorted; empty for other points."""
    return WORDS[point.natural.order] if point.natural is not None else ""


def point_name(point: Point) -> str:
    """Return the name of a point: `batch 8 x length 64`, `batch 8, own lengths`, `decode, batch 1, context 128`."""
    if point.natural is not None:
        return f"batch {point.batch_size}, {own_lengths(point)}"
    if point.phase is not None and (point.new_tokens is not None or point.phase == "prefill"):
        return phase.in_words(
            point.phase, point.batch_size, point.sequence_length, point.new_tokens, point.stop, point.audio_s
        )
    length = "" if point.sequence_length is None else f" x length {point.sequence_length}"
    length += "" if point.audio_s is None else f" x {phase.seconds(point.audio_s)}"
    generated = f", then {point.generated_tokens} tokens generated" if point.generated_tokens else ""
    return f"batch {point.batch_size}{length}{generated}"


def cost_axis(ratio: Ratio, energy_source: str | None) -> tuple[Axis, Estimate]:
    """Return the axis of a verdict and its ratio: energy if it was measured better than grade D, otherwise latency."""
    if energy_source in MEASURED and ratio.grade != "D" and ratio.energy is not None:
        return "energy", ratio.energy
    return "latency", ratio.latency


def point_cost(point: Point | None, axis: Axis, reference: str | None) -> Estimate | None:
    """Return the cost ratio to this reference on this axis, or None if the point has none."""
    ratio = point.ratio(reference) if point is not None and reference is not None else None
    if point is None or ratio is None:
        return None
    if axis == "latency":
        return ratio.latency
    measured, estimate = cost_axis(ratio, point.energy_source)
    return estimate if measured == "energy" else None


def cost_name(axis: Axis, phase: Phase | None) -> str:
    """Return the name of a point's cost: `latency`, of a language model `latency per token`."""
    of = {"prefill": " of the prompt", "decode": " per token", "generate": " of a request"}
    return axis + of.get(phase or "", "")


def net_cost(point: Point | None, reference: str | None) -> Estimate | None:
    """Return the ratio of energies net of idle where `point_cost` gives that of gross energies, or None."""
    ratio = point.ratio(reference) if point is not None and reference is not None else None
    return None if ratio is None or point_cost(point, "energy", reference) is None else ratio.net


def verdict(
    accuracy: Accuracy,
    reference: Accuracy,
    ratio: Ratio,
    *,
    energy_source: str | None = None,
    kernel: Kernel | None = None,
    runtime: Ratio | None = None,
    unreliable: Sequence[str] = (),
    margin: str | None = None,
    differs: bool | None = None,
    phase: Phase | None = None,
) -> Verdict:
    """Return the verdict on one operating point.

    `ratio` is ours / the verdict's reference. `runtime` is ours / the dense model under the same runtime, if there is
    one: what the compression saves alone. `unreliable` are the reasons why the ratio is not reliable. `margin` is the
    largest difference of the metric that counts as equal, such as `0.5pt`. `differs` is that of `cost_words`. `phase`
    is that of the point, and names its cost. Raises InputError if the margin's unit does not fit the metric.
    """
    axis, estimate = cost_axis(ratio, energy_source)
    if not accuracy.finite:
        return Verdict("BROKEN", "BROKEN: outputs are not finite", _cause(kernel, None, axis, ratio))
    unsound = unsound_reference(reference, ratio.reference)
    if unsound:
        return Verdict("NO VERDICT", f"NO VERDICT: {unsound}", _cause(kernel, runtime, axis, ratio))
    broken = _broken(accuracy, reference, ratio.reference)
    if broken:
        return Verdict("BROKEN", f"BROKEN: {broken}", _cause(kernel, None, axis, ratio))
    note = net_words(ratio) if axis == "energy" else _why_not_energy(energy_source, ratio)
    word, cost = cost_words(cost_name(axis, phase), estimate, note, differs)
    if unreliable and word != "NO VERDICT":
        word, cost, runtime = "NOT RELIABLE", unreliable_words(unreliable), None  # its ratio is not reliable either
    sentence = f"{cost}{accuracy_words(accuracy, margin_of(accuracy, margin))}, against {ratio.reference}"
    return Verdict(word, sentence, _cause(kernel, runtime, axis, ratio))


def _broken(accuracy: Accuracy, reference: Accuracy, name: str) -> str | None:
    """Return the reason why the model no longer does its task, or None."""
    ours, base, metric = accuracy.estimate.value, reference.estimate.value, accuracy.metric
    if not math.isfinite(ours):
        return f"{metric} is unknown: {accuracy.reasons.get('estimate', 'it is not a finite number')}"
    if metric == "perplexity":
        return f"perplexity {ours:.4g} is over twice the {base:.4g} of {name}" if ours > 2 * base else None
    chance = accuracy.chance if accuracy.chance is not None else reference.chance
    if chance is None:
        return None
    sign = 1 if accuracy.higher_is_better else -1
    margin, lost = sign * (base - chance), sign * (base - ours)
    if margin <= 0 or lost <= 0.5 * margin:  # a reference no better than chance has no margin
        return None
    return f"{metric} {ours:.3f} against {base:.3f} of {name}, where {floor_words(accuracy, chance)}"


def _why_not_energy(energy_source: str | None, ratio: Ratio) -> str:
    """Return the reason why a verdict is on latency and not on energy."""
    if energy_source == "modelled":
        return "; energy is only modelled here"
    if energy_source in MEASURED and ratio.grade == "D":
        return "; energy is of grade D here"
    return "; energy is not known here" if energy_source in MEASURED else "; energy is not measured here"


def _cause(kernel: Kernel | None, runtime: Ratio | None, axis: Axis, ratio: Ratio) -> str:
    """Return the causes of the cost: what the kernels do, and what the compression does under the same runtime."""
    causes = []
    if kernel is not None and kernel.label in CAUSES:
        causes.append(kernel.cause or CAUSES[kernel.label])
    if runtime is not None and runtime.reference != ratio.reference:
        alone = runtime.energy if axis == "energy" else runtime.latency
        if alone is not None:
            causes.append(alone_words(axis, runtime.reference, alone, runtime.net if axis == "energy" else None))
    return "; ".join(causes)


def breakeven(
    transform: Transform,
    point: Point,
    reference: Point,
    name: str,
    assumed: float = SESSION_SPREAD,
    *,
    meter: str | None = None,
) -> BreakEven:
    """Return the inferences after which compressing breaks even against the reference called `name`.

    Compressing and inferring were metered in different sessions. The interval includes the spread between them: that of
    the point's own sessions, and `assumed` for what a single session cannot estimate.

    It is in joules if a meter measured both, or bounds the energy of compressing; otherwise in seconds. The saving of
    an inference and its interval come from differences within rounds. Without a significant saving, the number is None,
    with the reason. An inference is one example: at a decode point a generated token (`Point.example`). `meter` is the
    identity of the meter of the inferences, None if unknown: the gain errors of two meters widen the interval, and the
    note states it.
    """
    where = point_name(point)
    ratio = point.ratio(name)
    if ratio is None:
        return BreakEven(None, None, where, f"no paired ratio to {name}")
    axis, estimate = cost_axis(ratio, point.energy_source)
    if estimate.low > 1:
        return BreakEven(None, None, where, f"{NEVER} {axis} than {name}")
    correlation = ratio.correlation_energy if axis == "energy" else ratio.correlation
    saved = saved_per_example(point, reference, axis, 0.0 if correlation is None else correlation.upper)
    if estimate.high >= 1 or saved is None or saved.low <= 0:
        return BreakEven(None, None, where, f"no measurable saving of {axis}")
    estimated = ratio.session_spread if axis == "latency" else ratio.session_spread_energy
    spread = max(assumed, estimated or 0.0)
    known = partial(BreakEven, point=where, reason=None, session_spread=spread or None)
    if estimated is None:
        saved = across_sessions(saved, point_cost_per_example(point, axis), assumed)
    if saved.low <= 0:
        why = f"no measurable saving of {axis}, {assumption(assumed)}"
        return BreakEven(None, None, where, why, session_spread=assumed)
    if axis == "latency":
        return known(repaid(transform.seconds, saved, spread), "seconds")
    most = transform.energy_at_most_j
    if (transform.energy_j is None and most is None) or transform.energy_source not in MEASURED:
        reason = transform.energy_reason or "the energy of compressing was not measured"
        return BreakEven(None, None, where, reason)
    compressing, inferring = ((part.energy_source, part.energy_boundary) for part in (transform, point))
    if compressing != inferring:
        meters = f" and {point.example}s by ".join(
            f"{source} ({boundary})" for source, boundary in (compressing, inferring)
        )
        return BreakEven(None, None, where, f"compressing was metered by {meters}: their joules are not the same")
    note = gains.two_meters(transform, meter, point.example)
    if transform.energy_j is None:
        assert most is not None
        bound = repaid(most, saved, spread).high * (gains.FACTOR if note else 1)
        return known(None, "joules", at_most=bound, note=note)
    inferences = repaid(transform.energy_j, saved, spread, transform.energy_error)
    return known(gains.widened(inferences) if note else inferences, "joules", note=note)
