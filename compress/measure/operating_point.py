"""One operating point of a session: warm-up, a first round that no figure uses, rounds until they are finished."""

import time
from collections.abc import Sequence
from dataclasses import replace

from compress.analysis.precision import widest_shortfall
from compress.base.console import bar, say
from compress.base.devices import foreign_cpu_s, stolen_cpu_s
from compress.data.point import OperatingPoint
from compress.measure.attempts import in_words, with_point
from compress.measure.job import Spec
from compress.measure.models import load_of
from compress.measure.rounds import Bench, Rounds
from compress.measure.stopping import finished, latency_ratios
from compress.records.stats import Estimate
from compress.spec.measure import FEWEST_ROUNDS, Settings, share_of_budget


def measure_point(bench: Bench, point: OperatingPoint, live: Sequence[Spec], settings: Settings) -> float:
    """Warm up, then measure rounds; return their seconds.

    Runners that complete all rounds gain a point; the others an error. If a runner runs out of memory and the settings
    allow it, the point is measured with half the batch for all runners, so that ratios compare equal batches.
    """
    smaller, starved = point, _measured(bench, point, live, settings, None)
    while isinstance(starved, str):
        smaller = smaller.model_copy(update={"batch_size": smaller.batch_size // 2})
        say(f"  {starved}: batch {smaller.batch_size} instead, for all models")
        for spec in live:
            bench.runners[spec.name] = replace(bench.runners[spec.name], error=None)
        reason = f"batch {smaller.batch_size} instead of {point.batch_size}: {starved} (measure.halve_batch)"
        starved = _measured(bench, smaller, live, settings, reason)
    return starved


def _measured(
    bench: Bench, point: OperatingPoint, live: Sequence[Spec], settings: Settings, smaller: str | None
) -> float | str:
    """Measure a point; return its seconds, or why half the batch is to be measured instead.

    `smaller` is the reason why this batch is smaller than the workload's.
    """
    first = next((spec for spec in live if not spec.own_vocabulary), live[0])
    batches, record = load_of(bench.job, bench.shelf.take(first), point)
    names = [spec.name for spec in live]
    rounds = Rounds(bench, point, batches, list(live), {name: [] for name in names}, {name: [] for name in names})
    rounds.warm_up()
    label = in_words(point)
    if starved := _to_halve(rounds, label):
        return starved
    if not rounds.live:
        return 0.0
    say(f"  measuring {label}: {_planned(settings, len(rounds.live), bench)}")
    foreign, stolen, start = foreign_cpu_s(), stolen_cpu_s(), time.monotonic()
    with bar(f"measuring {label}, first round", None):
        rounds.round(0)
    first_s = time.monotonic() - start
    rounds_s = 0.0 if _to_halve(rounds, label) else _until_finished(rounds, label, settings)
    if starved := _to_halve(rounds, label):
        return starved
    elapsed_s = first_s + rounds_s
    foreign_cores, stolen_cores = _cores(foreign, foreign_cpu_s(), elapsed_s), _cores(stolen, stolen_cpu_s(), elapsed_s)
    used, _ = rounds.at_full_speed()
    for spec in rounds.live:
        kept = {window.index for window in used[spec.name]}
        slow = [window for window in rounds.used[spec.name] if window.index not in kept]
        measured = replace(
            record,
            windows=tuple(used[spec.name]),
            unused=(*rounds.unused[spec.name], *slow),
            steady=spec.name not in rounds.unsteady,
            ramp=rounds.unsteady.get(spec.name),
            settled=rounds.settled,
            foreign_cores=foreign_cores,
            stolen_cores=stolen_cores,
            throttled_periods=rounds.throttling.periods,
            throttled_s=rounds.throttling.seconds,
            precision=settings.precision,
            rounds_s=rounds_s,
            cache_bytes=rounds.cache_bytes.get(spec.name),
            lengths=rounds.lengths.get(spec.name, ()),
            smaller=smaller,
            limit=rounds.limits.get(spec.name),
        )
        bench.runners[spec.name] = with_point(bench.runners[spec.name], measured)
    return rounds_s


def _to_halve(rounds: Rounds, label: str) -> str | None:
    """Return who ran out of memory where, if the batch is to be halved for it; None otherwise."""
    if not rounds.starved or rounds.point.batch_size == 1 or not rounds.bench.job.settings.halve_batch:
        return None
    return f"{', '.join(dict.fromkeys(rounds.starved))} ran out of memory at {label}"


def _until_finished(rounds: Rounds, label: str, settings: Settings) -> float:
    """Measure rounds until they are finished; return the seconds that they took. Report the least precise ratio."""
    start = time.monotonic()
    index, elapsed_s = 0, 0.0
    ratios: dict[tuple[str, str], Estimate] = {}
    total = settings.rounds if settings.precision is None else settings.budget_s
    beyond = "" if settings.precision is None else f"at least {FEWEST_ROUNDS} rounds are measured"
    with bar(f"measuring {label}", total, beyond) as running:
        while rounds.live:
            index += 1
            rounds.round(index)
            before_s, elapsed_s = elapsed_s, time.monotonic() - start
            running.advance(1 if settings.precision is None else elapsed_s - before_s)
            used, mixed = rounds.at_full_speed()
            ratios = latency_ratios(used, _references(rounds))
            if _to_halve(rounds, label) or finished(settings, index, elapsed_s, ratios.values(), mixed):
                break
    points = rounds.bench.points
    share = share_of_budget(0 if rounds.point == points[0] else 1, len(points))
    if line := widest_shortfall(ratios, _references(rounds), settings.precision, elapsed_s, share):
        say(f"  {line}")
    if rounds.repeats:
        say(f"  {rounds.repeats} of {rounds.windows} windows were repeats of disturbed ones")
    return elapsed_s


def _references(rounds: Rounds) -> list[str]:
    return [spec.name for spec in rounds.live if spec.reference]


def _planned(settings: Settings, models: int, bench: Bench) -> str:
    """Return the number of rounds of a point and their duration as text."""
    window_s = max(settings.window_s, settings.least_movements * bench.sampler.step_s)
    round_s = models * (window_s + settings.preroll_s + 2 * bench.sampler.edge_s)
    loading = "" if bench.shelf.together else " and the loading"
    if settings.precision is None:
        total_s = (settings.rounds + 1) * round_s
        return f"{settings.rounds} rounds of {models} models, about {total_s:.0f} s{loading}"
    least_s = (settings.rounds + 1) * round_s
    return (
        f"rounds of {models} models until ratios are known to +-{100 * settings.precision:.2g} %, "
        f"{least_s:.0f} to {max(least_s, settings.budget_s or least_s):.0f} s{loading}"
    )


def _cores(before_s: float | None, after_s: float | None, seconds: float) -> float | None:
    return None if before_s is None or after_s is None else (after_s - before_s) / seconds
