"""Whether results have become worse than those of a baseline, beyond what noise explains: a gate for other people's CI.

Sessions are compared by their ratios to the same reference, each to its own, never by absolute figures:

    growth = (cost now / reference now) / (cost then / reference then) - 1

A limit is broken when the whole interval of the growth lies beyond it; a growth without an interval is unknown. The
intervals are those of all comparisons together (Bonferroni: 95 % that none is broken by noise
alone). What cannot be compared has not passed.
Pure functions over results: no torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from compress.analysis import loss as losses
from compress.analysis.pareto import identity
from compress.analysis.verdict import MEASURED, Axis
from compress.base.config import InputError
from compress.records import stats
from compress.records.result import Accuracy, Result
from compress.records.stats import Estimate

State = Literal["fine", "perhaps worse", "WORSE", "MISSING", "UNKNOWN", "new"]
FAILING: frozenset[State] = frozenset({"WORSE", "MISSING", "UNKNOWN"})
SURE = 0.95


@dataclass(frozen=True)
class Limits:
    """What may be lost at most; None is not looked at."""

    energy: float | None = None
    """Growth of energy: 0.03 is 3 %."""
    latency: float | None = None
    loss: losses.Limit | None = None
    """Of the metric, in `points` or `percent`, as `loss.asked` reads it."""

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(limit is not None for limit in (self.energy, self.latency, self.loss))


@dataclass(frozen=True)
class Check:
    """One limit, looked at for one recipe."""

    workload: str
    recipe: str
    what: str
    state: State
    said: str

    @property
    def failed(self) -> bool:
        """Whether the gate stays shut."""
        return self.state in FAILING


def growth(text: str, option: str) -> float:
    """0.03 of `+3%` or `3%`. Raises InputError for anything else."""
    value = losses.hundredths(text, "%")
    if value is None:
        raise InputError(f"{option} {text}: expected percent from 0 on, such as +3%")
    return value


def check(now: Sequence[Result], baseline: Sequence[Result], limits: Limits) -> list[Check]:
    """Every limit for every recipe of the baseline, and the recipes that are new."""
    ours, theirs = _newest(now), _newest(baseline)
    family = max(1, limits.count * len(theirs))
    found = []
    for key, before in theirs.items():
        if before.error is not None:
            continue  # nothing was promised
        after = ours.get(key)
        found += [_missing(before, now)] if after is None else _compared(after, before, limits, family)
    for key, after in ours.items():
        if key not in theirs:
            name = str(after.workload.get("name", ""))
            found.append(Check(name, after.name, "result", "new", "the baseline does not have it"))
    return found


def unread(problem: str) -> Check:
    """The check that stands for a damaged result: what it held cannot be compared."""
    return Check("", problem.partition(":")[0], "result", "UNKNOWN", problem)


def _newest(results: Sequence[Result]) -> dict[tuple[object, ...], Result]:
    """The newest result of every recipe on every workload and kind of device."""
    return {
        (identity(r.workload), r.name, r.limit, r.machine.device, r.machine.device_name): r
        for r in sorted(results, key=lambda r: r.moment)
    }


def _missing(before: Result, now: Sequence[Result]) -> Check:
    workload = str(before.workload.get("name", ""))
    others = sorted(
        {r.machine.device_name for r in now if r.name == before.name and r.workload.get("name") == workload}
    )
    why = f"no result of it on {before.machine.device_name}"
    if others and before.machine.device_name not in others:
        why += f", only on {', '.join(others)}"
    elif others:
        why += " for the same model, data, metric and --limit"
    return Check(workload, before.name, "result", "MISSING", why)


def _compared(after: Result, before: Result, limits: Limits, family: int) -> list[Check]:
    workload, name = str(after.workload.get("name", "")), after.name
    if after.error is not None:
        return [Check(workload, name, "result", "WORSE", f"failed: {after.reason}")]
    words = [r.verdict.word if r.verdict is not None else None for r in (after, before)]
    if words[0] == "BROKEN" and words[1] != "BROKEN":
        return [Check(workload, name, "result", "WORSE", "BROKEN, and was not")]
    if words[0] == "NO VERDICT" and words[1] != "NO VERDICT":
        return [Check(workload, name, "result", "UNKNOWN", after.verdict.sentence if after.verdict else "")]
    found = []
    for axis, limit in (("energy", limits.energy), ("latency", limits.latency)):
        if limit is not None:
            state, said = _cost(after, before, axis, limit, family)  # type: ignore[arg-type]
            found.append(Check(workload, name, axis, state, said))
    if limits.loss is not None:
        state, said = _loss(after.accuracy, before.accuracy, limits.loss, family)
        found.append(Check(workload, name, after.accuracy.metric if after.accuracy else "accuracy", state, said))
    return found


def _cost(after: Result, before: Result, axis: Axis, limit: float, family: int) -> tuple[State, str]:
    """Growth of the ratio to the verdict's reference at the headline point."""
    references = [r.verdict_reference.name if r.verdict_reference else None for r in (after, before)]
    if references[0] is None or references[0] != references[1]:
        return "UNKNOWN", f"judged against {references[0] or 'nothing'} now and {references[1] or 'nothing'} then"
    ratios = []
    for when, result in (("now", after), ("then", before)):
        point = result.headline
        ratio = point.ratio(references[0]) if point else None
        cost = None if ratio is None else ratio.latency if axis == "latency" else ratio.energy
        if point is None or ratio is None or cost is None or (axis == "energy" and point.energy_source not in MEASURED):
            why = (point.energy_reason if point else None) or "no meter measured it"
            return "UNKNOWN", f"{axis} is not known {when}: {why}; look at latency instead (--max-latency)"
        if axis == "energy" and ratio.grade == "D":
            return "UNKNOWN", f"energy is of grade D {when}: {'; '.join(point.grade_reasons) or 'not told why'}"
        if not 0 < cost.value < math.inf:
            return "UNKNOWN", f"the ratio of {axis} is {cost.value} {when}; run the recipe again"
        ratios.append(stats.at_confidence(cost, 1 - (1 - SURE) / family))
    worse = _less_one(stats.quotient(*ratios))
    said = f"{axis} {worse.value:+.1%} ({worse.low:+.1%} to {worse.high:+.1%}), at most {limit:+.1%}"
    return _state(worse, limit), said if worse.bounded else f"{said}: no interval, run the recipe for more rounds"


def _loss(after: Accuracy | None, before: Accuracy | None, limit: losses.Limit, family: int) -> tuple[State, str]:
    """How much of the metric is lost: on the same examples where both say which they got right."""
    if after is None or before is None or not _alike(after, before):
        return "UNKNOWN", "the metric is not the baseline's"
    most, unit = limit
    misfit = losses.misfit(after, unit, "--max-loss")
    if misfit is not None:
        return "UNKNOWN", misfit
    lost = losses.lost_since(after, before)
    if isinstance(lost, str):
        return "UNKNOWN", lost
    wider = NormalDist().inv_cdf(1 - (1 - SURE) / family / 2) / NormalDist().inv_cdf(0.5 + SURE / 2)
    low, high = lost.value - wider * (lost.value - lost.low), lost.value + wider * (lost.high - lost.value)
    scale, _, form = losses.form(after)
    interval = f"{scale * low:+.2f} to {scale * high:+.2f}" if lost.bounded else "no interval"
    said = f"{scale * lost.value:+.2f} {form} lost ({interval}), at most {scale * most:g} {form}"
    return _state(Estimate(lost.value, low, high, lost.n), most), f"{said}: {losses.meaning(limit, after)}"


def _alike(one: Accuracy, other: Accuracy) -> bool:
    """Whether two values are of the same metric, in the same direction, unit and form."""
    same_form = None in (one.variant, other.variant) or one.variant == other.variant
    return same_form and losses.terms(one) == losses.terms(other)


def _less_one(ratio: Estimate) -> Estimate:
    return Estimate(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n)


def _state(worse: Estimate, limit: float) -> State:
    if not (math.isfinite(worse.value) and worse.bounded):
        return "UNKNOWN"
    if worse.low > limit:
        return "WORSE"
    return "perhaps worse" if worse.value > limit else "fine"
