"""The end of a table in a terminal: which recipe to take, where its model is, how to load it, and the next command."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote

from compress.analysis.candidates import Candidate
from compress.analysis.odds import Within, cheapest_within
from compress.analysis.pareto import Table
from compress.base.limits import Unit
from compress.base.reading import exists, shortened
from compress.data.tasks import TASKS, task_of
from compress.records.files import own_path
from compress.records.result import Result
from compress.records.stats import CONFIDENCE, at_confidence
from compress.report.text import plain

MOST = 0.01
"""Largest loss of a recommended recipe: one point, or one percent of the reference's value."""
WORDS: Mapping[Unit, str] = {"points": "1 point", "percent": "1 %"}


def advice(table: Table, folder: Path) -> Iterable[str]:
    """Yield the recommendation of a table, and the lines that follow from it; nothing without a usable metric.

    `folder` is that of the results.
    """
    accuracy = next((r.accuracy for r in table.results if r.accuracy and r.accuracy.unit and r.accuracy.known), None)
    if accuracy is None or accuracy.unit is None or table.reference is None:
        return
    words = WORDS[accuracy.unit]
    within = cheapest_within(table, MOST, accuracy.unit)
    chosen = within.saving
    if chosen is None:
        yield plain(_none(table, within, words))
        return
    joint = f" (jointly for {within.rows} recipes)" if within.rows > 1 else ""
    yield plain(
        f"Recommended: {chosen.name}. It takes {_cost(chosen, table, within)} and loses at most {words} with 95 % "
        f"confidence{joint}; that it is the cheapest of these is an estimate."
    )
    yield from _use(next(result for result in table.results if result.name == chosen.name), folder)


def _none(table: Table, within: Within, words: str) -> str:
    """Return why no recipe is recommended."""
    sentence = f"No recipe is shown to save {table.axis} and to lose at most {words}."
    nearest = within.nearest
    if nearest is None:
        return f"{sentence} Keep {table.reference}, or try milder settings (--set)."
    low = -within.losses[nearest.name].low
    loss = f"{100 * low:.1f} {'points' if words == WORDS['points'] else '%'}"
    return (
        f"{sentence} The nearest by the estimates is {nearest.name}, at {_cost(nearest, table, within)}; its loss may "
        f"be up to {loss}: more test examples would show which."
    )


def _cost(candidate: Candidate, table: Table, within: Within) -> str:
    """Return the cost of a candidate, with its interval adjusted for all recipes (Bonferroni)."""
    cost = at_confidence(candidate.cost, 1 - (1 - CONFIDENCE) / within.rows)
    return f"{cost.value:.3g} times the {table.axis} of {table.reference} ({cost.low:.3g} to {cost.high:.3g})"


def _use(result: Result, folder: Path) -> Iterable[str]:
    """Yield the lines that load the model of a result, and the next command."""
    if result.artifact is None:
        yield "Its model was not kept; run the recipe without --no-keep."
        return
    if not exists(Path(result.artifact)):
        yield f"Its model was made in {plain(shortened(result.artifact))}, which is not here: run the recipe again."
        return
    own = own_path(result)
    file = next((path for path in (folder / own, folder / own.name) if path.exists()), folder / own)
    yield f"Its model is in {plain(result.artifact)}. To load it:"
    yield "    from compress import load"
    yield f"    model, processor = load({json.dumps(result.artifact, ensure_ascii=False)})"
    if (task := result.workload.get("task")) in TASKS:
        yield f"    outputs = {task_of(task).call}"
    yield "To serve it, see docs/deploy.md."
    yield f"Next: python -m compress card {quote(plain(str(file)))}"
