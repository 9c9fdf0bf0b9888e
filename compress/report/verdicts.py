"""The sentences below a table in a terminal: the verdicts of its recipes, or of those on the front if they are many."""

from collections.abc import Iterable

from compress.analysis.odds import adjusted, verdict_among
from compress.analysis.pareto import Table
from compress.report.text import plain

MOST = 3
"""Most sentences below a table; pareto.md has all of them."""


def sentences(table: Table) -> Iterable[str]:
    """Yield `name: sentence` of each recipe, of at most `MOST` on the front if there are more, and count the others."""
    family = adjusted(table)
    judged = {r.name: verdict for r in table.results if (verdict := verdict_among(r, family.get(r.name)))}
    shown = list(judged) if len(judged) <= MOST else [name for name in judged if name in table.front][:MOST]
    for name in shown:
        yield plain(f"{name}: {judged[name].sentence}")
    if left := len(judged) - len(shown):
        yield f"{left} {'more ' if shown else ''}verdict{'s are' if left > 1 else ' is'} in pareto.md."
