"""Figures of a session computed from its raw samples: accuracy, and points with estimates, paired ratios and grades.

These are pure functions without a device. A result is computed with them after a session, and `verify` repeats them on
its trace.
"""

from collections.abc import Sequence
from dataclasses import replace

from compress.analysis import grades
from compress.analysis.accuracy import Evaluation, change, summarise, value
from compress.analysis.costs import Raw, costs
from compress.analysis.drift import AXES
from compress.analysis.full_speed import slow_rounds
from compress.analysis.joules import GAIN, UNCERTAINTY_FACTOR, Energy, idle_watts
from compress.analysis.natural import with_figures
from compress.analysis.net import netted
from compress.analysis.over_sessions import joined_points, merged_reasons, numbered, rounds
from compress.analysis.precision import shortfall
from compress.analysis.ratios import correlated, correlation, outlying, per_second, ratios, upper
from compress.analysis.seeds import Spread, over_seeds, spread_of
from compress.records import phase, quantiles, stats
from compress.records.accuracy import SeedAccuracy
from compress.records.natural import WORDS
from compress.records.result import Accuracy, Percentiles, Point, Round
from compress.records.session import Runner, Session, Shape
from compress.records.stats import Estimate
from compress.records.window import Window
from compress.spec.measure import share_of_budget


def limit(asked: int | None, counted: int | None) -> int | None:
    """Return the number of examples that a limit selected; None without a limit, or if it exceeds the split."""
    return None if asked is None or (counted or asked) < asked else asked


def accuracy(raw: Raw, name: str) -> Accuracy:
    """Return the metric of one runner with its interval, and its paired difference to the reference.

    If a recipe has several seeds, the intervals cover their choice.
    """
    runner = raw.session.runner(name)
    against = None if name == raw.against else _evaluation(raw.session.runner(raw.against))
    reference = None if against is None else raw.against
    own = summarise(
        _evaluation(runner), raw.metric, against, reference, raw.seed, runner.batch_sensitivity, raw.protocol
    )
    baseline = None if against is None else value(against, raw.metric)
    noise = None if against is None else _reference_spread(raw, baseline)
    return over_seeds(own, _seed(raw.session, name), _further(raw, name, baseline), noise)


def _further(raw: Raw, name: str, baseline: float | None) -> list[SeedAccuracy]:
    """Return the accuracy of the further seeds of a recipe, against the reference's metric."""
    made = []
    for runner in raw.session.runners:
        if runner.further_of == name and runner.seed is not None:
            own = value(_evaluation(runner), raw.metric)
            delta = None if own is None or baseline is None else change(own, baseline, raw.metric)
            made.append(SeedAccuracy(runner.seed, own, delta))
    return made


def _reference_spread(raw: Raw, baseline: float | None) -> Spread | None:
    """Return the spread of differences that comes from the reference's seeds, if it is a recipe that has several."""
    further = _further(raw, raw.against, baseline)
    known = [] if baseline is None else [SeedAccuracy(_seed(raw.session, raw.against), baseline, 0.0), *further]
    return spread_of([entry.delta for entry in known])


def _seed(session: Session, name: str) -> int:
    """Return the first seed of a recipe."""
    return 0 if session.request is None else session.request.seeds.get(name, 0)


def _evaluation(runner: Runner) -> Evaluation:
    return Evaluation(runner.outcomes, runner.finite, runner.batch_size, runner.order, runner.outputs)


def points(raw: Raw, name: str) -> tuple[Point, ...]:
    """Return every measured operating point of one runner over all sessions, without verdicts."""
    indices = range(max(len(session.session.runner(name).points) for session in raw.each))
    made = []
    for index in indices:
        point, own = _over_sessions(raw, name, index), raw.measured_point(name, index)
        if point is not None and own.point.natural is not None and own.texts is not None:
            point = with_figures(point, own.point.natural, own.texts, accuracy(raw, name))
        made += [] if point is None else [point]
    return tuple(made)


def _over_sessions(raw: Raw, name: str, index: int) -> Point | None:
    """Return an operating point joined over the sessions that measured it, or None without one."""
    parts, windows, first_round = [], list[Sequence[Window]](), 0
    for number, each in enumerate(raw.each):
        runner = each.session.runner(name)
        if len(runner.points) > index and runner.points[index].windows:
            parts.append(numbered(_point(each, name, index), number, first_round))
            windows.append(runner.points[index].windows)
        first_round += rounds(each.session, index)
    if not parts:
        return None
    point = joined_points(parts)
    if not raw.session.meter.measured and (energy := point.energy_j) is not None:
        factor = UNCERTAINTY_FACTOR
        point = replace(point, energy_j=replace(energy, low=energy.low / factor, high=energy.high * factor))
    if len(parts) == 1:
        return point
    percentiles, too_few = _percentiles(windows)
    shape = raw.measured_point(name, index).point
    reasons = _reasons(raw, shape, point.energy_reason, point.energy_j, point.energy_idle_j) | too_few
    net = {field: why for field, why in point.reasons.items() if field in ("energy_net_j", "ratios.net")}
    return replace(point, latency_percentiles_s=percentiles, reasons=reasons | net)


def _percentiles(groups: Sequence[Sequence[Window]]) -> tuple[Percentiles, dict[str, str]]:
    """Return the percentiles of latency over all batches, and why some are missing: too few batches.

    The independent groups of batches are rounds, and the sessions if there are several.
    """
    times = [[duration / 1e9 for window in group for duration in window.batch_ns] for group in groups]
    batches = sum(map(len, times))
    known = {name: quantiles.quantile_estimate(times, share) for name, share in quantiles.FRACTIONS.items()}
    needed = {name: quantiles.least(quantiles.FRACTIONS[name]) for name, found in known.items() if found is None}
    reasons = {name: f"{batches} batches; its interval needs {least}" for name, least in needed.items()}
    return Percentiles(**known, n=batches), reasons


def _point(raw: Raw, name: str, index: int) -> Point:
    """Return one operating point of a runner in one session, with its estimates, ratios, grade and reasons.

    The interval of modelled energy is still that of the rounds alone.
    """
    own, point = costs(raw, name, index), raw.session.runner(name).points[index]
    assert own is not None
    meter = raw.session.meter
    rounds = tuple(_round(window, energy) for window, energy in zip(point.windows, own.energies, strict=True))
    latency = stats.log_mean_estimate(own.latency_s, upper(correlation(raw, name, index, "latency", shared=False)))
    estimate = None
    if own.energy_j is not None:
        estimate = stats.log_mean_estimate(own.energy_j, upper(correlation(raw, name, index, "energy", shared=False)))
    idle_w = idle_watts(raw.session.idle.loaded, meter.step_s)
    idle = None if idle_w is None else idle_w * latency.value / own.batch_size
    reason = own.reason
    if estimate is not None and not meter.measured:
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
    percentiles, too_few = _percentiles([[window] for window in point.windows])
    made = Point(
        batch_size=own.batch_size,
        sequence_length=point.point.sequence_length,
        audio_s=point.point.audio_s,
        phase="decode" if point.point.generate else point.point.phase,
        generated_tokens=point.point.per_batch,
        new_tokens=point.point.new_tokens,
        stop=point.point.stop,
        lengths=point.lengths,
        cache_bytes=point.cache_bytes,
        limit=point.limit,
        headline=index == 0,
        latency_s=latency,
        latency_percentiles_s=percentiles,
        throughput_per_s=per_second(own.batch_size, latency),
        energy_j=estimate,
        energy_idle_j=idle,
        energy_net_j=None,
        energy_gain=None if estimate is None else GAIN if meter.source == "nvml" else meter.gain,
        energy_source=meter.source,
        energy_boundary=meter.boundary,
        energy_reason=reason,
        grade=grade if estimate is not None else None,
        grade_reasons=(*reasons, *_flags(raw, name, index)),
        ratios=ratios(raw, name, index, own, references, grade),
        verdict=None,
        rounds=rounds,
        reasons=_reasons(raw, point.point, reason, estimate, idle) | too_few,
        unreliable=unreliable,
    )
    paired, alone = (upper(correlation(raw, name, index, "energy", shared)) for shared in (True, False))
    series = {each: grades.series_of(raw, each, index) for each in (name, *references)}
    return netted(made, series[name], {each: series[each] for each in references}, idle_w, paired, alone)


def _flags(raw: Raw, name: str, index: int) -> tuple[str, ...]:
    """Return what makes the intervals of a measured point doubtful, as sentences."""
    axes = AXES[: 1 + raw.session.meter.measured]
    doubts = [flag for axis in axes for flag in correlated(raw, name, index, axis)]
    alike = [runner.points[index] for runner in raw.session.runners if index < len(runner.points)]
    return (*doubts, *outlying(raw, name, index), *slow_rounds(alike))


def _reasons(raw: Raw, shape: Shape, reason: str | None, energy: Estimate | None, idle: float | None) -> dict[str, str]:
    """Return why a point lacks figures: field -> sentence."""
    measured = raw.session.meter.measured
    no_idle = "idle power could not be measured" if measured else "idle power is not measured without a meter"
    absent = reason or "no meter"
    why = {
        "phase": None if shape.phase or shape.generate else "a forward pass over whole examples, nothing is generated",
        "generated_tokens": None if shape.per_batch else "nothing is generated",
        "sequence_length": None if shape.sequence_length else _no_length(shape),
        "energy_j": None if energy else absent,
        "grade": None if energy else absent,
        "energy_idle_j": None if idle is not None else no_idle,
        "energy_net_j": None if energy and idle is not None else no_idle if energy else absent,
        "ratios.energy": None if energy and measured else "only measured energies are compared" if energy else absent,
    }
    return {field: sentence for field, sentence in why.items() if sentence is not None}


def _no_length(shape: Shape) -> str:
    if shape.audio_s is not None:
        return "sound has seconds"
    return "images have none" if shape.natural is None else "texts have their own lengths"


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


def smaller(raw: Raw, name: str) -> Sequence[str]:
    """Return a sentence for each operating point with smaller batches than the workload's, with the reason."""
    points = raw.session.runner(name).points
    return [f"measured with {point.smaller}" for point in points if point.smaller is not None]


def failures(raw: Raw, name: str) -> Sequence[str]:
    """Return a sentence for each further session in which a runner failed, with the reason."""
    errors = [(number, session.runner(name).error) for number, session in enumerate(raw.further, start=2)]
    of = f"of {1 + len(raw.further)}, so figures are of the other sessions"
    return [f"failed in session {number} {of}: {error}" for number, error in errors if error is not None]


def _shape(point: Shape) -> str:
    if point.phase is not None:
        return phase.in_words(
            point.phase, point.batch_size, point.sequence_length, point.new_tokens, point.stop, point.audio_s
        )
    length = f" x length {point.sequence_length}" if point.sequence_length else ""
    length += f" x {phase.seconds(point.audio_s)}" if point.audio_s else ""
    length += f", {WORDS[point.natural]}" if point.natural else ""
    return f"batch {point.batch_size}{length}" + (f", {point.generate} generated" if point.generate else "")


def disturbances(raw: Raw, name: str) -> Sequence[str]:
    """Return the disturbances of a runner's headline point, which affect latency too, and doubts on its intervals."""
    found = {
        number: (*grades.disturbed(each, name, 0), *_flags(each, name, 0))
        for number, each in enumerate(raw.each)
        if costs(each, name, 0) is not None
    }
    return merged_reasons(found)


def imprecise(raw: Raw, name: str) -> Sequence[str]:
    """Return a sentence if rounds ended before a runner's latency ratios at the headline point were precise.

    Each session ends its rounds by its own precision.
    """
    return merged_reasons({number: _imprecise(each, name) for number, each in enumerate(raw.each)})


def _imprecise(raw: Raw, name: str) -> Sequence[str]:
    """Return the sentence of a single session."""
    all_points = raw.session.runner(name).points
    headline = next(iter(all_points), None)
    point = None if headline is None else _over_sessions(raw, name, 0)
    if headline is None or point is None:
        return ()
    latencies = {ratio.reference: ratio.latency for ratio in point.ratios if ratio.reference != name}
    own = sum(point.rounds_s is not None for point in all_points)  # a natural point may share the headline's windows
    share = share_of_budget(0, max(1, own))
    sentence = shortfall(latencies, headline.precision, headline.rounds_s, share)
    return () if sentence is None else (sentence,)
