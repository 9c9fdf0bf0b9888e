"""The verdicts of a whole result: of every point, of its headline, and its break-even.

`compress.analysis.verdict` judges one point; here it gets the point's reference, runtime and reasons, and its word
decides whether a break-even is computed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from compress.analysis import gains
from compress.analysis.loss import misfit
from compress.analysis.sentence import companion_words
from compress.analysis.verdict import alone, breakeven, cost_axis, point_name, same_point, verdict
from compress.base.errors import InputError
from compress.base.limits import parse_margin
from compress.records.point import natural_point
from compress.records.result import Accuracy, BreakEven, Point, Reference, Result, Verdict, Word
from compress.records.stats import Estimate

UNJUDGED: Mapping[Word | None, str] = {
    "BROKEN": "never: the model is broken",
    "NO VERDICT": "the reference does not do the task itself",
    "NOT RELIABLE": "the measurement was disturbed",
}
"""Words after which no break-even is computed, and why."""
NO_DECODE = "NO VERDICT: its cost per token was not measured, and that of the prompt alone says nothing of it"
COSTS: frozenset[Word] = frozenset({"SAVES", "COSTS MORE", "NO MEASURABLE DIFFERENCE"})
"""Words of sentences that state a cost."""


def judged(result: Result) -> Result:
    """Return the result with the verdict of every point, the headline's verdict and break-even filled in.

    It is unchanged if there is nothing to judge: a failed recipe, or no paired ratio to the verdict's reference.
    """
    reference = result.verdict_reference
    if result.error is not None or result.accuracy is None or reference is None:
        return result
    points = tuple(replace(p, verdict=_point_verdict(result, result.accuracy, reference, p)) for p in result.points)
    changed = replace(result, points=_with_own_texts(points, reference.name))
    headline = changed.headline
    if headline is None:
        return _without_decode(changed)
    return replace(changed, verdict=headline.verdict, breakeven=_result_breakeven(changed, reference, headline))


def _without_decode(result: Result) -> Result:
    """Return a result that was not measured at its headline point; a language model's prefill alone has no verdict."""
    if not any(point.phase == "prefill" for point in result.points):
        return result
    points = tuple(replace(point, verdict=None) for point in result.points)
    return replace(result, points=points, verdict=Verdict("NO VERDICT", NO_DECODE))


def with_margin(results: Iterable[Result], margin: str, option: str = "--margin") -> list[Result]:
    """Return the results judged with another margin. Raises InputError if its unit does not fit a metric."""
    unit, listed = parse_margin(margin, option)[1], list(results)
    misfits = {misfit(r.accuracy, unit, option) for r in listed if r.accuracy is not None} - {None}
    if misfits:
        raise InputError(sorted(f"{option} {margin}: {reason}" for reason in misfits))
    return [judged(replace(result, margin=margin)) for result in listed]


def judged_among(result: Result, cost: Estimate, differs: bool) -> Verdict | None:
    """Return the headline's verdict among all recipes of a table.

    `cost` is its cost ratio with the adjusted interval, `differs` whether that differs from 1. Only a verdict that
    states a cost changes.
    """
    reference, headline, accuracy = result.verdict_reference, result.headline, result.accuracy
    ratio = headline.ratio(reference.name) if headline is not None and reference is not None else None
    if accuracy is None or reference is None or headline is None or ratio is None or not states_cost(result.verdict):
        return result.verdict
    axis = cost_axis(ratio, headline.energy_source)[0]
    adjusted = replace(ratio, energy=cost) if axis == "energy" else replace(ratio, latency=cost)
    point = replace(headline, ratios=tuple(adjusted if r is ratio else r for r in headline.ratios))
    point = replace(point, verdict=_point_verdict(result, accuracy, reference, point, differs))
    points = tuple(point if p is headline else p for p in result.points)
    return next(p.verdict for p in _with_own_texts(points, reference.name) if p.headline)


def states_cost(verdict: Verdict | None) -> bool:
    """Return whether the verdict's sentence states a cost, whose interval depends on the number of recipes."""
    return verdict is not None and verdict.word in COSTS


def _point_verdict(
    result: Result, accuracy: Accuracy, reference: Reference, point: Point, differs: bool | None = None
) -> Verdict | None:
    ratio = point.ratio(reference.name)
    if ratio is None:
        return None
    return verdict(
        accuracy,
        reference.accuracy,
        ratio,
        energy_source=point.energy_source,
        kernel=result.kernel,
        runtime=alone(result, point),
        unreliable=unreliable(point, reference.name, reference.points),
        margin=result.margin,
        differs=differs,
        phase=point.phase,
    )


def unreliable(point: Point, name: str, reference_points: Iterable[Point]) -> tuple[str, ...]:
    """Return why the ratios of a point to the reference called `name` are not reliable: both were measured."""
    reference = next((p for p in reference_points if same_point(p, point)), None)
    theirs = () if reference is None else reference.unreliable
    shared = [reason for reason in theirs if reason not in point.unreliable]  # a drift of all models is in both
    return (*point.unreliable, *(f"{name}: {reason}" for reason in shared))


def _with_own_texts(points: tuple[Point, ...], reference: str) -> tuple[Point, ...]:
    """Return the points; the headline's sentence ends with the ratio at its companion, if both state a cost.

    The companion is the natural point of texts, or the prefill point of a language model.
    """
    headline = next((point for point in points if point.headline), None)
    natural = natural_point(points) or next((point for point in points if point.phase == "prefill"), None)
    if headline is None or natural is None or headline.verdict is None or natural.verdict is None:
        return points
    other = natural.ratio(reference)
    if headline.ratio(reference) is None or other is None or not {headline.verdict.word, natural.verdict.word} <= COSTS:
        return points
    axis, estimate = cost_axis(other, natural.energy_source)
    where = "on the test split's own texts" if natural.natural is not None else "on the prompt"
    sentence = headline.verdict.sentence + companion_words(where, axis, estimate)
    completed = replace(headline, verdict=replace(headline.verdict, sentence=sentence))
    return tuple(completed if point is headline else point for point in points)


def _result_breakeven(result: Result, reference: Reference, headline: Point) -> BreakEven | None:
    """Return the break-even at the headline point, or the stored one without what it is computed from."""
    baseline = next((p for p in reference.points if same_point(p, headline)), None)
    if result.transform is None or baseline is None:
        return result.breakeven
    word = None if headline.verdict is None else headline.verdict.word
    if word in UNJUDGED:
        return BreakEven(None, None, point_name(headline), UNJUDGED[word])
    meter = gains.inference_meter(result, headline.energy_source)
    return breakeven(result.transform, headline, baseline, reference.name, result.session_spread, meter=meter)
