"""The recommendation of a table: which recipe to take, and how to use its model (`compress.report.use`).

A terminal prints it below the table, and the page shows it on top.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.analysis.candidates import Candidate, candidates
from compress.analysis.loss import lost
from compress.analysis.odds import Within, adjusted, adjusted_on_axis, cheapest_within, joint_loss
from compress.analysis.pareto import Table
from compress.analysis.verdict import alone, point_cost
from compress.base.limits import Unit
from compress.records import stats
from compress.records.result import Result
from compress.report.factors import BY_AXIS, factor
from compress.report.text import joined, plain
from compress.report.use import how_to_use

MOST = 0.01
"""Largest loss of a recommended recipe: one point, or one percent of the reference's value."""
NAMED = 3
"""Most recipes that a sentence names."""
WORDS: Mapping[Unit, str] = {"points": "1 point", "percent": "1 %"}


@dataclass(frozen=True)
class Advice:
    """A recommendation, and the result that it recommends, if any."""

    sentence: str
    result: Result | None = None


def advice(table: Table, folder: Path) -> Iterable[str]:
    """Yield the recommendation of a table, and the lines that follow from it; nothing without a usable metric.

    `folder` is that of the results.
    """
    found = recommended(table)
    if found is None:
        return
    yield found.sentence
    if found.result is not None:
        use = how_to_use(found.result, folder)
        yield f"{use.where} To load it:" if use.code else use.where
        yield from (f"    {line}" for line in use.code)
        if use.code:
            page = "deploy-llm" if found.result.workload.get("task") == "causal-lm" else "deploy"
            yield f"To serve it, see docs/{page}.md."
        if use.command is not None:
            yield f"Next: {use.command}"


def recommended(table: Table) -> Advice | None:
    """Return the recommendation of a table, or None without a usable metric or a sound reference."""
    accuracy = next((r.accuracy for r in table.results if r.accuracy and r.accuracy.unit and r.accuracy.known), None)
    if accuracy is None or accuracy.unit is None or table.reference is None or table.unsound:
        return None
    words = WORDS[accuracy.unit]
    within = cheapest_within(table, MOST, accuracy.unit)
    chosen = within.saving
    if chosen is None:
        return Advice(plain(_none(table, within, words)))
    joint = f" (jointly for {within.rows} recipes)" if within.rows > 1 else ""
    sentence = (
        f"Recommended: {chosen.name}. It {_cost(chosen, table)} and loses at most {words} "
        f"with 95 % confidence{joint}; that it is the cheapest of these is an estimate.{_alone(chosen.name, table)}"
    )
    return Advice(plain(sentence), next(result for result in table.results if result.name == chosen.name))


def _none(table: Table, within: Within, words: str) -> str:
    """Return why no recipe is recommended."""
    if all(result.name in table.unreliable for result in table.results):
        return "No recipe can be recommended: every measurement was disturbed (NOT RELIABLE). Run the recipes again."
    sentence = f"No recipe is shown to save {table.axis} and to lose at most {words}."
    uncompressed, nearest = _uncompressed(table, within.rows, words), within.nearest
    if nearest is None:
        return f"{sentence}{uncompressed or f' Keep {table.reference}.'}{_disturbed(table)}{_milder(table, words)}"
    return (
        f"{sentence}{uncompressed} The nearest by the estimates is {nearest.name}: it {_cost(nearest, table)}; "
        f"{_at_most(nearest, table, within, words)}."
    )


def _at_most(candidate: Candidate, table: Table, within: Within, words: str) -> str:
    """Return how much the candidate may lose, and what would show it; without an interval, the reason."""
    most = -within.losses[candidate.name].low
    if math.isfinite(most):
        loss = f"{100 * most:.1f} {'points' if words == WORDS['points'] else '%'}"
        return f"its loss may be up to {loss}: more test examples would show whether it is over {words}"
    accuracy = next(result.accuracy for result in table.results if result.name == candidate.name)
    reason = None if accuracy is None else accuracy.reasons.get("delta_interval")
    return f"its loss has no interval{f' ({reason})' if reason else ''}, so it may be over {words}"


def _disturbed(table: Table) -> str:
    """Return the advice to run those recipes again that may save within the loss, but were disturbed."""
    costs = adjusted_on_axis(table)
    names = [
        result.name
        for result in table.results
        if result.name in table.unreliable and costs[result.name].cost.value < 1 and not _loses_too_much(result)
    ]
    if not names:
        return ""
    was, them = ("was", "it") if len(names) == 1 else ("were", "them")
    again = f"disturbed (NOT RELIABLE): run {them} again on a quiet machine."
    return f" {_listed(names)} may save {table.axis}, but {was} {again}"


def _milder(table: Table, words: str) -> str:
    """Return the advice to try milder settings of the recipes that are shown to cost less and lose too much."""
    costs = adjusted_on_axis(table)
    names = [
        result.name
        for result in table.results
        if result.name not in table.held
        and (among := costs.get(result.name))
        and among.differs
        and among.cost.value < 1
        and _loses_too_much(result)
    ]
    if not names:
        return ""
    save, lose = ("saves", "loses") if len(names) == 1 else ("save", "lose")
    return f" {_listed(names)} {save} {table.axis}, but {lose} more than {words}: try milder settings (--set)."


def _loses_too_much(result: Result) -> bool:
    """Return whether a recipe loses more than `MOST` by the estimates."""
    loss = lost(result.accuracy) if result.accuracy else None
    return loss is not None and loss.value > MOST


def _listed(names: Sequence[str]) -> str:
    """Return `a, b and c`; of more than `NAMED`, the first ones and the number of the others."""
    shown, left = list(names[:NAMED]), len(names) - NAMED
    if left > 0:
        shown.append(f"{left} other{'s' if left > 1 else ''}")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _cost(candidate: Candidate, table: Table) -> str:
    """Return the cost as a factor: `is 2.2x faster than fp32 eager (2.19 to 2.25)`.

    Its interval is adjusted for all recipes (Bonferroni).
    """
    words, among = BY_AXIS[table.axis], adjusted_on_axis(table)[candidate.name]
    value, *interval = factor(among.cost, words)
    how = f"{' adjusted' if adjusted(table) else ''}{among.note}"
    interval = [each.replace(")", f"{how})") for each in interval]
    return joined((f"{words.verb} {value}", *filter(None, (words.noun,)), f"than {table.reference}", *interval))


def _alone(name: str, table: Table) -> str:
    """Return what the compression alone contributes, if the model runs under another runtime than the reference."""
    result = next(result for result in table.results if result.name == name)
    ratio = alone(result, result.headline)
    cost = None if ratio is None else point_cost(result.headline, table.axis, ratio.reference)
    if ratio is None or cost is None:
        return ""
    family = len(adjusted(table))
    how = " adjusted" if family > 1 else ""
    jointly = stats.at_confidence(cost, 1 - (1 - stats.CONFIDENCE) / max(family, 1))
    value, *interval = factor(jointly, BY_AXIS[table.axis])
    interval = [each.replace(")", f"{how})") for each in interval]
    if jointly.low <= 1 <= jointly.high:
        return f" What the compression alone contributes is not shown: {joined((value, *interval))}."
    return f" {joined((f'The compression alone: {value}', *interval))}; the rest is the runtime."


def _uncompressed(table: Table, recipes: int, words: str) -> str:
    """Return a sentence on the uncompressed model under a runtime that surely saves and surely keeps the metric.

    It is chosen among the other references and so many `recipes`: its intervals are adjusted for all of these rows.
    """
    found = candidates((), table.references, table.axis, table.reference)
    others = [c for c in found if c.name != table.reference and c.name not in table.held]
    rows = recipes + len(others)
    costs = {c.name: stats.at_confidence(c.cost, 1 - (1 - stats.CONFIDENCE) / rows) for c in others}
    saving = [c for c in others if costs[c.name].high < 1 and joint_loss(c, table, [], rows).low >= -MOST]
    if not saving:
        return ""
    best = min(saving, key=lambda c: (c.cost.value, c.name))
    how = " adjusted" if rows > 1 else ""
    value, *interval = factor(costs[best.name], BY_AXIS[table.axis])
    cost = joined((f"{BY_AXIS[table.axis].verb} {value}", *(each.replace(")", f"{how})") for each in interval)))
    joint = f" (jointly for {rows} rows, recipes and references)" if rows > 1 else ""
    return f" The uncompressed model under {best.name} {cost} and loses at most {words} with 95 % confidence{joint}."
