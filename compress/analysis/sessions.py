"""Consistency of sessions in one table, checked by the ratios of their references to each other.

Sessions are joined by paired ratios to a shared reference. This is valid only if the machine treats models alike in
both. If another reference's ratio has changed by more than its intervals and the spread between sessions allow,
something else has changed too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from compress.analysis import between
from compress.analysis.sentence import assumption
from compress.analysis.verdict import Axis, point_cost
from compress.records.result import Result
from compress.records.stats import Estimate


@dataclass(frozen=True)
class Disagreement:
    """An older session in which the cost of a reference differs from the newest session's."""

    session: str
    newest: str
    reference: str
    before: Estimate
    """The reference's cost over the verdict reference's in the older session; its interval includes the spread."""
    now: Estimate
    names: tuple[str, ...]
    """Recipes measured in the older session."""
    assumed: float = 0.0
    """Assumed spread between sessions; 0 if both sessions' results estimate it."""

    def __str__(self) -> str:
        then, now = (f"{e.value:.3g} ({e.low:.3g} to {e.high:.3g})" for e in (self.before, self.now))
        why = assumption(self.assumed)
        return f"{self.reference} cost {then} of the reference in session {self.session} and {now} in {self.newest}" + (
            f", {why}" if why else ""
        )


def disagreements(results: Sequence[Result], axis: Axis, reference: str | None) -> tuple[Disagreement, ...]:
    """Return the sessions that the newest one contradicts, with the first reference whose intervals are disjoint."""
    sessions: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda r: r.moment):
        sessions.setdefault(result.session, []).append(result)
    if len(sessions) < 2:
        return ()
    newest = max(sessions, key=lambda name: sessions[name][-1].moment)
    now = _reference_costs(sessions[newest][-1], axis, reference)
    contradicted = []
    for name, members in sessions.items():
        before = _reference_costs(members[-1], axis, reference)
        for other in before.keys() & now.keys() if name != newest else ():
            older, newer = between.apart(before[other], now[other])
            if older.high < newer.low or older.low > newer.high:
                names = tuple(sorted(r.name for r in members))
                assumed = max(before[other].added(now[other]), now[other].added(before[other]))
                contradicted.append(Disagreement(name, newest, other, older, newer, names, assumed))
                break
    return tuple(contradicted)


def _reference_costs(result: Result, axis: Axis, reference: str | None) -> dict[str, between.Side]:
    """Return the cost of every other reference over the verdict reference's in a result's session, by name."""
    costs: dict[str, between.Side] = {}
    for other in sorted(result.references, key=lambda r: r.name):
        point = other.headline
        ratio = None if point is None or reference is None else point.ratio(reference)
        own = None if ratio is None else between.side(result, ratio, axis)
        if own is not None and point_cost(point, axis, reference) is not None and other.name != reference:
            costs[other.name] = own
    return costs
