"""A gate for continuous integration: pass results only if they are shown not to be worse than a baseline's.

Absolute figures of two sessions are never compared. Each session is reduced to ratios to its own reference:

    growth = (cost now / reference now) / (cost then / reference then) - 1

    passed      the whole interval of the growth lies below the limit
    FAILED      the whole interval lies above it
    undecided   the interval holds the limit: these results cannot show which one it is

Growth without an interval is unknown. Sessions differ by more than their rounds show: a result of a single session is
compared with another session under an assumed spread between sessions (`analysis.between`). Intervals are adjusted for
the number of comparisons (Bonferroni): with 95 % confidence, noise alone decides nothing wrongly. A recipe that cannot
be compared fails. These are pure functions over results and need no torch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from compress.analysis import between, seeds
from compress.analysis import loss as losses
from compress.analysis.naming import labelled
from compress.analysis.pareto import identity
from compress.analysis.sentence import assumption
from compress.analysis.verdict import MEASURED, Axis
from compress.base.config import InputError
from compress.base.limits import Limit, hundredths
from compress.records import stats
from compress.records.result import Accuracy, Result
from compress.records.rules import MOST_ROUNDS
from compress.records.stats import Estimate
from compress.spec.measure import MOST_SESSIONS

State = Literal["passed", "undecided", "FAILED", "MISSING", "UNKNOWN", "new"]
FAILING: frozenset[State] = frozenset({"FAILED", "MISSING", "UNKNOWN"})
SETTINGS = {"rounds": "measure.rounds", "sessions": "measure.sessions"}
"""What a remedy counts -> its setting."""
SURE = 0.95
MOST = 100
"""Largest multiple of the present number of rounds or examples that is recommended."""


@dataclass(frozen=True)
class Limits:
    """The limits of a gate; None is not checked."""

    energy: float | None = None
    """Growth of energy: 0.03 is 3 %."""
    latency: float | None = None
    cost: float | None = None
    """Growth of energy where a meter measured both sides, else of latency."""
    loss: Limit | None = None
    """Loss of the metric, in `points` or `percent`, as parsed by `parse_limit`."""
    session_spread: float | None = None
    """Assumed spread between sessions, where a single session cannot estimate it; None: that of each result."""

    @property
    def count(self) -> int:
        """The number of limits that are set."""
        return sum(limit is not None for limit in (self.energy, self.latency, self.cost, self.loss))


@dataclass(frozen=True)
class Check:
    """Result of checking one limit for one recipe."""

    workload: str
    recipe: str
    what: str
    state: State
    detail: str

    def shuts(self, allow_undecided: bool = False) -> bool:
        """Return whether this check shuts the gate."""
        return self.state in FAILING or (self.state == "undecided" and not allow_undecided)


def growth(text: str, option: str) -> float:
    """Return the fraction in `+3%` or `3%`: 0.03. Raises InputError for anything else."""
    value = hundredths(text, "%")
    if value is None:
        raise InputError(f"{option} {text}: expected a percentage of 0 or more, such as +3%")
    return value


def spread(text: str, option: str) -> float:
    """Return the fraction in `2%`: 0.02. Raises InputError for anything else, or above 100 %."""
    value = growth(text, option)
    if value > 1:
        raise InputError(f"{option} {text}: expected at most 100%")
    return value


def check(now: Sequence[Result], baseline: Sequence[Result], limits: Limits) -> list[Check]:
    """Check every limit for every recipe of the baseline, and list the new recipes."""
    current, previous = _newest(now), _newest(baseline)
    both = [*previous.values(), *current.values()]
    family = max(1, limits.count * len(previous))
    checks = []
    for key, before in previous.items():
        if before.error is not None:
            continue  # a failed baseline sets no expectation
        after = current.get(key)
        found = [_missing(before, now)] if after is None else _compared(after, before, limits, family)
        checks += [replace(each, workload=labelled(before, both)) for each in found]
    for key, after in current.items():
        if key not in previous:
            checks.append(Check(labelled(after, both), after.name, "result", "new", "not in the baseline"))
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
        return [Check(workload, name, "result", "FAILED", f"failed: {after.reason}")]
    words = [r.verdict.word if r.verdict is not None else None for r in (after, before)]
    if words[0] == "BROKEN" and words[1] != "BROKEN":
        return [Check(workload, name, "result", "FAILED", "BROKEN now, but not in the baseline")]
    if words[0] == "NO VERDICT" and words[1] != "NO VERDICT":
        return [Check(workload, name, "result", "UNKNOWN", after.verdict.sentence if after.verdict else "")]
    checks = []
    costs: list[tuple[Axis, float | None]] = [("energy", limits.energy), ("latency", limits.latency)]
    costs.append(("energy" if _metered(after) and _metered(before) else "latency", limits.cost))
    for axis, limit in costs:
        if limit is not None:
            state, sentence = _cost(after, before, axis, limit, limits.session_spread, family)
            checks.append(Check(workload, name, axis, state, sentence))
    if limits.loss is not None:
        state, sentence = _loss(after.accuracy, before.accuracy, limits.loss, family)
        checks.append(Check(workload, name, after.accuracy.metric if after.accuracy else "accuracy", state, sentence))
    return checks


def _metered(result: Result) -> bool:
    """Return whether a meter measured a result's energy and that of its reference at the headline point."""
    point, reference = result.headline, result.verdict_reference
    ratio = None if point is None or reference is None else point.ratio(reference.name)
    return point is not None and point.energy_source in MEASURED and ratio is not None and ratio.energy is not None


def _cost(
    after: Result, before: Result, axis: Axis, limit: float, assumed: float | None, family: int
) -> tuple[State, str]:
    """Check the growth of the ratio to the verdict's reference at the headline point."""
    references = [r.verdict_reference.name if r.verdict_reference else None for r in (after, before)]
    if references[0] is None or references[0] != references[1]:
        return (
            "UNKNOWN",
            f"compared with {references[0] or 'nothing'} now and {references[1] or 'nothing'} in the baseline",
        )
    sides = []
    for when, result in (("now", after), ("in the baseline", before)):
        if result.verdict is not None and result.verdict.word == "NOT RELIABLE":
            again = f"measure {'it' if result is after else 'the baseline'} again"
            return (
                "UNKNOWN",
                f"{when}: {result.verdict.sentence}; {again}: python -m compress run {result.name} --fresh",
            )
        point = result.headline
        ratio = point.ratio(references[0]) if point else None
        own = None if ratio is None else between.side(result, ratio, axis, assumed)
        if point is None or ratio is None or own is None or (axis == "energy" and point.energy_source not in MEASURED):
            why = (point.energy_reason if point else None) or "no meter measured it"
            return "UNKNOWN", f"{axis} is unknown {when}: {why}; check latency instead (--max-latency)"
        if axis == "energy" and ratio.grade == "D":
            return (
                "UNKNOWN",
                f"energy is of grade D {when}: {'; '.join(point.grade_reasons) or 'no reason was recorded'}",
            )
        if not 0 < own.cost.value < math.inf:
            return "UNKNOWN", f"the ratio of {axis} is {own.cost.value} {when}; run the recipe again"
        sides.append(own)
    sure = 1 - (1 - SURE) / family
    itself = after.session == before.session  # a result compared with itself differs by no session
    if itself and sides[0].cost == sides[1].cost:
        return "passed", f"{axis} +0.0%, at most {limit:+.1%}: both are the same measurement"
    within = _minus_one(stats.quotient(*(stats.at_confidence(own.cost, sure) for own in sides)))
    grown = within if itself else _minus_one(stats.quotient(*between.apart(sides[0], sides[1], sure)))
    spread = 0.0 if itself else max(sides[0].added(sides[1]), sides[1].added(sides[0]))
    text = f"{axis} {grown.value:+.1%} ({grown.low:+.1%} to {grown.high:+.1%}), at most {limit:+.1%}"
    text += f", {assumption(spread)}" if spread else ""
    if not grown.bounded:
        return "UNKNOWN", f"{text}: no interval; run the recipe with more rounds"
    state, single = _state(grown, limit), [own.estimated is None for own in sides]
    if state == "undecided" and single[0] != single[1]:
        where = "now" if single[0] else "the baseline"
        return state, f"{text}; only more sessions of {where} (measure.sessions), as on the other side, can decide it"
    unit, most = ("rounds", MOST_ROUNDS) if all(single) else ("sessions", MOST_SESSIONS)
    return state, text + _remedy(grown, limit, grown.n, f"{unit} on each side", within, most)


def _loss(after: Accuracy | None, before: Accuracy | None, limit: Limit, family: int) -> tuple[State, str]:
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
    spreads = [*losses.spreads(after), *losses.spreads(before)]
    change = seeds.jointly_changed(lost, losses.changed(before, after), spreads, family)
    scale, _, form = losses.form(after)
    interval = f"{scale * change.low:+.2f} to {scale * change.high:+.2f}" if lost.bounded else "no interval"
    sentence = f"{scale * lost.value:+.2f} {form} lost ({interval}), at most {scale * most:g} {form}"
    sentence = f"{sentence}: {losses.meaning(limit, after)}"
    if spreads and _state(change, most) == "undecided":
        return "undecided", f"{sentence}; more seeds or more test examples could decide it"
    return _state(change, most), sentence + _remedy(change, most, lost.n, "test examples")


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
        return "FAILED"
    return "passed" if change.high < limit else "undecided"


def _remedy(
    change: Estimate, limit: float, n: int, unit: str, within: Estimate | None = None, most: float = math.inf
) -> str:
    """Return what would decide an undecided check, if its figure stays: widths shrink with the root of the number.

    `within` has the interval without the spread between sessions, which more rounds do not reduce. A result holds at
    most `most` of the unit.
    """
    if _state(change, limit) != "undecided":
        return ""
    half, shrinking = (_towards(each, limit) for each in (change, within or change))
    room = (limit - change.value) ** 2 - max(0.0, half**2 - shrinking**2)
    if room <= 0 and half > shrinking:
        return "; only more sessions on each side (measure.sessions) can decide it"
    needed = max(n * shrinking**2 / room, n + 1) if room > 0 else math.inf
    if needed > most:
        return f"; over {most} {unit} would be needed to decide it, and a result has no more"
    if needed > MOST * n:
        return f"; over {MOST} times as many {unit} would be needed to decide it"
    setting = SETTINGS.get(unit.partition(" ")[0])
    how = "" if setting is None else f": --set {setting}={math.ceil(needed)}"
    return f"; about {math.ceil(needed)} {unit} would decide it, instead of {n}{how}"


def _towards(change: Estimate, limit: float) -> float:
    """Return the half-width of an interval on the side of the limit."""
    return change.high - change.value if change.value < limit else change.value - change.low
