"""Verdicts as sentences: of all recipes for a document, or of the most important ones below a terminal's table."""

from collections.abc import Iterable

from compress.analysis.odds import adjusted, verdict_among
from compress.analysis.pareto import Table
from compress.records.result import Verdict
from compress.report.text import plain

MOST = 3
"""Most sentences below a table; pareto.md has all of them."""


def in_full(table: Table) -> list[str]:
    """Return `name: sentence. Why: cause.` of every recipe with a verdict."""
    return [
        f"{plain(name)}: {verdict.sentence}.{f' Why: {verdict.cause}.' if verdict.cause else ''}"
        for name, verdict in _judged(table).items()
    ]


def sentences(table: Table) -> Iterable[str]:
    """Yield `name: sentence` of each recipe, of at most `MOST` on the front if there are more, and count the others."""
    judged = _judged(table)
    shown = list(judged) if len(judged) <= MOST else [name for name in judged if name in table.front][:MOST]
    for name in shown:
        yield plain(f"{name}: {judged[name].sentence}")
    if left := len(judged) - len(shown):
        yield f"{left} {'more ' if shown else ''}verdict{'s are' if left > 1 else ' is'} in pareto.md."


def _judged(table: Table) -> dict[str, Verdict]:
    """Return name -> verdict, adjusted for all recipes of the table."""
    family = adjusted(table)
    return {r.name: verdict for r in table.results if (verdict := verdict_among(r, family.get(r.name)))}
