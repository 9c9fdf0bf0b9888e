"""A gate for continuous integration: fail if results are worse than a baseline's by more than noise explains.

Absolute figures of two sessions are never compared. Each session is reduced to ratios to its own reference:

    growth = (cost now / reference now) / (cost then / reference then) - 1

A limit is exceeded if the whole interval of the growth lies beyond it. Growth without an interval is unknown. Intervals
are adjusted for the number of comparisons (Bonferroni): with 95 % confidence, noise alone exceeds no limit. A recipe
that cannot be compared fails. These are pure functions over results and need no torch.
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
    """The limits of a gate; None is not checked."""

    energy: float | None = None
    """Growth of energy: 0.03 is 3 %."""
    latency: float | None = None
    loss: losses.Limit | None = None
    """Loss of the metric, in `points` or `percent`, as parsed by `loss.parse_limit`."""

    @property
    def count(self) -> int:
        """The number of limits that are set."""
        return sum(limit is not None for limit in (self.energy, self.latency, self.loss))


@dataclass(frozen=True)
class Check:
    """Result of checking one limit for one recipe."""

    workload: str
    recipe: str
    what: str
    state: State
    detail: str

    @property
    def failed(self) -> bool:
        """Whether this check fails the gate."""
        return self.state in FAILING


def growth(text: str, option: str) -> float:
    """Return the fraction in `+3%` or `3%`: 0.03. Raises InputError for anything else."""
    value = losses.hundredths(text, "%")
    if value is None:
        raise InputError(f"{option} {text}: expected a percentage of 0 or more, such as +3%")
    return value


def check(now: Sequence[Result], baseline: Sequence[Result], limits: Limits) -> list[Check]:
    """Check every limit for every recipe of the baseline, and list the new recipes."""
    current, previous = _newest(now), _newest(baseline)
    family = max(1, limits.count * len(previous))
    checks = []
    for key, before in previous.items():
        if before.error is not None:
            continue  # a failed baseline sets no expectation
        after = current.get(key)
        checks += [_missing(before, now)] if after is None else _compared(after, before, limits, family)
    for key, after in current.items():
        if key not in previous:
            name = str(after.workload.get("name", ""))
            checks.append(Check(name, after.name, "result", "new", "not in the baseline"))
    return checks


def unread(problem: str) -> Check:
    """Return the failing check of a result file that cannot be read."""
    return Check("", problem.partition(":")[0], "result", "UNKNOWN", problem)


def _newest(results: Sequence[Result]) -> dict[tuple[object, ...], Result]:
    """Return the newest result of every recipe on every workload and kind of device."""
    return {
        (identity(r.workload), r.name, r.limit, r.machine.device, r.machine.device_name): r
        for r in sorted(results, key=lambda r: r.moment)
    }


def _missing(before: Result, now: Sequence[Result]) -> Check:
    """Return the failing check of a baseline recipe without a current result."""
    workload = str(before.workload.get("name", ""))
    others = sorted(
        {r.machine.device_name for r in now if r.name == before.name and r.workload.get("name") == workload}
    )
    why = f"no result on {before.machine.device_name}"
    if others and before.machine.device_name not in others:
        why += f", only on {', '.join(others)}"
    elif others:
        why += " for the same model, data, metric and --limit"
    return Check(workload, before.name, "result", "MISSING", why)


def _compared(after: Result, before: Result, limits: Limits, family: int) -> list[Check]:
    """Check every limit for one recipe; `family` is the number of comparisons to adjust for."""
    workload, name = str(after.workload.get("name", "")), after.name
    if after.error is not None:
        return [Check(workload, name, "result", "WORSE", f"failed: {after.reason}")]
    words = [r.verdict.word if r.verdict is not None else None for r in (after, before)]
    if words[0] == "BROKEN" and words[1] != "BROKEN":
        return [Check(workload, name, "result", "WORSE", "BROKEN now, but not in the baseline")]
    if words[0] == "NO VERDICT" and words[1] != "NO VERDICT":
        return [Check(workload, name, "result", "UNKNOWN", after.verdict.sentence if after.verdict else "")]
    checks = []
    for axis, limit in (("energy", limits.energy), ("latency", limits.latency)):
        if limit is not None:
            state, sentence = _cost(after, before, axis, limit, family)  # type: ignore[arg-type]
            checks.append(Check(workload, name, axis, state, sentence))
    if limits.loss is not None:
        state, sentence = _loss(after.accuracy, before.accuracy, limits.loss, family)
        checks.append(Check(workload, name, after.accuracy.metric if after.accuracy else "accuracy", state, sentence))
    return checks


def _cost(after: Result, before: Result, axis: Axis, limit: float, family: int) -> tuple[State, str]:
    """Check the growth of the ratio to the verdict's reference at the headline point."""
    references = [r.verdict_reference.name if r.verdict_reference else None for r in (after, before)]
    if references[0] is None or references[0] != references[1]:
        return (
            "UNKNOWN",
            f"compared with {references[0] or 'nothing'} now and {references[1] or 'nothing'} in the baseline",
        )
    ratios = []
    for when, result in (("now", after), ("in the baseline", before)):
        point = result.headline
        ratio = point.ratio(references[0]) if point else None
        cost = None if ratio is None else ratio.latency if axis == "latency" else ratio.energy
        if point is None or ratio is None or cost is None or (axis == "energy" and point.energy_source not in MEASURED):
            why = (point.energy_reason if point else None) or "no meter measured it"
            return "UNKNOWN", f"{axis} is unknown {when}: {why}; check latency instead (--max-latency)"
        if axis == "energy" and ratio.grade == "D":
            return (
                "UNKNOWN",
                f"energy is of grade D {when}: {'; '.join(point.grade_reasons) or 'no reason was recorded'}",
            )
        if not 0 < cost.value < math.inf:
            return "UNKNOWN", f"the ratio of {axis} is {cost.value} {when}; run the recipe again"
        ratios.append(stats.at_confidence(cost, 1 - (1 - SURE) / family))
    grown = _minus_one(stats.quotient(*ratios))
    text = f"{axis} {grown.value:+.1%} ({grown.low:+.1%} to {grown.high:+.1%}), at most {limit:+.1%}"
    return _state(grown, limit), text if grown.bounded else f"{text}: no interval; run the recipe with more rounds"


def _loss(after: Accuracy | None, before: Accuracy | None, limit: losses.Limit, family: int) -> tuple[State, str]:
    """Check the loss of the metric, on the same examples if both results record which they answered correctly."""
    if after is None or before is None or not _alike(after, before):
        return "UNKNOWN", "the metric differs from the baseline's"
    most, unit = limit
    misfit = losses.misfit(after, unit, "--max-loss")
    if misfit is not None:
        return "UNKNOWN", misfit
    lost = losses.lost_since(after, before)
    if isinstance(lost, str):
        return "UNKNOWN", lost
    factor = NormalDist().inv_cdf(1 - (1 - SURE) / family / 2) / NormalDist().inv_cdf(0.5 + SURE / 2)
    low, high = lost.value - factor * (lost.value - lost.low), lost.value + factor * (lost.high - lost.value)
    scale, _, form = losses.form(after)
    interval = f"{scale * low:+.2f} to {scale * high:+.2f}" if lost.bounded else "no interval"
    sentence = f"{scale * lost.value:+.2f} {form} lost ({interval}), at most {scale * most:g} {form}"
    return _state(Estimate(lost.value, low, high, lost.n), most), f"{sentence}: {losses.meaning(limit, after)}"


def _alike(one: Accuracy, other: Accuracy) -> bool:
    """Return whether two values are of the same metric, direction, unit and variant."""
    same_form = None in (one.variant, other.variant) or one.variant == other.variant
    return same_form and losses.terms(one) == losses.terms(other)


def _minus_one(ratio: Estimate) -> Estimate:
    return Estimate(ratio.value - 1, ratio.low - 1, ratio.high - 1, ratio.n)


def _state(change: Estimate, limit: float) -> State:
    """Return the state of a growth or loss against its limit."""
    if not (math.isfinite(change.value) and change.bounded):
        return "UNKNOWN"
    if change.low > limit:
        return "WORSE"
    return "perhaps worse" if change.value > limit else "fine"
