"""Whether rows of different sessions may stand in one table: by what the references of each say of one another.

Sessions are joined by their paired ratios to a shared reference. That holds only while the machine treats models alike
in both: when the other references have come to stand elsewhere, beyond their intervals, something else has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from compress.analysis.verdict import Axis, point_cost
from compress.records.result import Result
from compress.records.stats import Estimate


@dataclass(frozen=True)
class Disagreement:
    """An older session in which a reference stood elsewhere than in the newest one."""

    session: str
    newest: str
    reference: str
    before: Estimate
    """Its cost over the verdict reference's in the older session."""
    now: Estimate
    names: tuple[str, ...]
    """Recipes that were measured in the older session."""

    def __str__(self) -> str:
        then, now = (f"{e.value:.3g} ({e.low:.3g} to {e.high:.3g})" for e in (self.before, self.now))
        return f"{self.reference} cost {then} of the reference in session {self.session} and {now} in {self.newest}"


def disagreements(results: Sequence[Result], axis: Axis, reference: str | None) -> tuple[Disagreement, ...]:
    """The sessions that the newest one contradicts, by the first reference whose intervals lie apart."""
    sessions: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda r: r.moment):
        sessions.setdefault(result.session, []).append(result)
    if len(sessions) < 2:
        return ()
    newest = max(sessions, key=lambda name: sessions[name][-1].moment)
    now = _standings(sessions[newest][-1], axis, reference)
    found = []
    for name, members in sessions.items():
        before = _standings(members[-1], axis, reference)
        for each in before.keys() & now.keys() if name != newest else ():
            if before[each].high < now[each].low or before[each].low > now[each].high:
                names = tuple(sorted(r.name for r in members))
                found.append(Disagreement(name, newest, each, before[each], now[each], names))
                break
    return tuple(found)


def _standings(result: Result, axis: Axis, reference: str | None) -> dict[str, Estimate]:
    """Cost of every other reference of a result's session over the verdict reference's, by name."""
    found = {}
    for each in sorted(result.references, key=lambda r: r.name):
        cost = point_cost(each.headline, axis, reference)
        if cost is not None and each.name != reference:
            found[each.name] = cost
    return found
