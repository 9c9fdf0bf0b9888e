"""The end of a table in a terminal: which recipe to take, where its model is, how to load it, and the next command."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from shlex import quote

from compress.analysis.candidates import Candidate
from compress.analysis.odds import cheapest_within
from compress.analysis.pareto import Table
from compress.base.limits import Unit
from compress.data.tasks import TASKS, task_of
from compress.records.files import own_path
from compress.records.result import Result
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
    chosen = within.confident
    if chosen is None or chosen.cost.high >= 1:
        yield plain(_none(table, within.estimated, words))
        return
    joint = f" (jointly for {within.rows} recipes)" if within.rows > 1 else ""
    yield plain(
        f"Recommended: {chosen.name}. It takes {_cost(chosen, table)} and loses at most {words} with 95 % "
        f"confidence{joint}; that it is the cheapest of these is an estimate."
    )
    yield from _use(next(result for result in table.results if result.name == chosen.name), folder)


def _none(table: Table, estimated: Candidate | None, words: str) -> str:
    """Return why no recipe is recommended."""
    sentence = f"No recipe is shown to save {table.axis} and to lose at most {words}."
    if estimated is None or estimated.cost.high >= 1:
        return f"{sentence} Keep {table.reference}, or try milder settings (--set)."
    low = -estimated.quality.low
    return (
        f"{sentence} The nearest by the estimates is {estimated.name}, at {_cost(estimated, table)}; its loss may be "
        f"up to {100 * low:.1f} {'points' if words == WORDS['points'] else '%'}: more test examples would show which."
    )


def _cost(candidate: Candidate, table: Table) -> str:
    cost = candidate.cost
    return f"{cost.value:.3g} times the {table.axis} of {table.reference} ({cost.low:.3g} to {cost.high:.3g})"


def _use(result: Result, folder: Path) -> Iterable[str]:
    """Yield the lines that load the model of a result, and the next command."""
    if result.artifact is None:
        yield "Its model was not kept; run the recipe without --no-keep."
        return
    if not Path(result.artifact).exists():
        yield f"Its model was made in {plain(result.artifact)}, which is not here: run the recipe again."
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
