"""The sentence at the top of the page: the cheapest recipe without a measurable loss, or the best alternative.

Its interval is simultaneous for all rows of the table (Bonferroni), because it is about the best of many.
"""

from compress.analysis.loss import lost, margin_of
from compress.analysis.odds import adjusted, adjusted_on_axis, breakeven_among, saves, word_among
from compress.analysis.pareto import Table
from compress.analysis.sentence import accuracy_words, percent
from compress.records.result import BreakEven, Result
from compress.report.text import count, first_line, plain


def headline(table: Table) -> tuple[str, str | None]:
    """Return one sentence about a table, and the name of its recipe, if it is about one."""
    limit = table.newest.limit
    sentence, name = _sentence(table)
    limited = "" if limit is None else f"Judged on {limit} test examples only: "
    return plain(f"{limited}{sentence}."), name


def _sentence(table: Table) -> tuple[str, str | None]:
    """Return the sentence without a note on a limit, and the name of its recipe."""
    if not table.results:
        failed = table.failed[0]
        many = "Its only recipe" if len(table.failed) == 1 else f"All {len(table.failed)} recipes"
        return f"{many} failed; {failed.name}: {first_line(failed)}", None
    if table.unsound:
        return f"No verdict is possible: {table.unsound}", None
    savers = [r for r in table.results if r.name in table.front and saves(r, table)]
    free = [r for r in savers if _loses_nothing(r)]
    if free:
        return _saving(free[0], table), free[0].name
    if savers:  # the least loss, then the lowest cost
        best = max(savers, key=_delta)
        return f"Nothing saves {table.axis} without a loss; {_saving(best, table)}", best.name
    return _nothing(table), None


def _loses_nothing(result: Result) -> bool:
    loss = lost(result.accuracy) if result.accuracy else None
    return loss is not None and loss.bounded and loss.low <= 0


def _delta(result: Result) -> float:
    loss = lost(result.accuracy) if result.accuracy else None
    return float("-inf") if loss is None else -loss.value


def _saving(result: Result, table: Table) -> str:
    among, accuracy = adjusted_on_axis(table)[result.name], result.accuracy
    cost = among.cost
    assert accuracy is not None
    saved, least, most = (100 * (1 - v) for v in (cost.value, cost.high, cost.low))
    interval = f"{percent(least)} to {percent(most)}" if cost.high < 1 else f"{least:z.2g} to {percent(most)}"
    pays = _pays(breakeven_among(result, adjusted(table).get(result.name)))
    how = f"{' adjusted' if adjusted(table) else ''}{among.note}"
    with_less, what = ("with", "energy") if table.axis == "energy" else ("in", "time")
    return (
        f"{result.name} answers {with_less} {percent(saved)} % less {what} than {table.reference} "
        f"({interval} %{how})"
        f"{accuracy_words(accuracy, margin_of(accuracy, result.margin))}{pays}{_why_time(table)}"
    )


def _pays(even: BreakEven | None) -> str:
    if even is not None and even.at_most is not None:
        return f"; compression breaks even after at most {count(even.at_most)} inferences"
    if even is None or even.inferences is None:
        return ""
    return f"; compression breaks even after {count(even.inferences.value)} inferences"


def _why_time(table: Table) -> str:
    """Return the reason why the sentence is about time and not about energy; empty for energy."""
    if table.axis == "energy":
        return ""
    if table.meter == "modelled":
        return "; energy is only modelled on this machine"
    return "; energy is not precise enough here" if table.meter else "; energy is not measured on this machine"


def _nothing(table: Table) -> str:
    """Return the sentence for a table without a measurable saving: counts of the verdicts."""
    family = adjusted(table)
    words = [word_among(r.verdict.word, family.get(r.name)) for r in table.results if r.verdict]
    if words and all(word == "BROKEN" for word in words):
        return f"Every recipe broke the model: {', '.join(r.name for r in table.results[:4])}"
    phrases = {
        "SAVES": "with a saving, but beaten by another row or kept off the front",
        "NO MEASURABLE DIFFERENCE": "without a measurable difference",
        "COSTS MORE": "at a higher cost",
        "NOT RELIABLE": "not reliably measured",
        "BROKEN": "broken",
        "NO VERDICT": "without a verdict",
    }
    parts = [f"{words.count(word)} {text}" for word, text in phrases.items() if word in words]
    counted = f"of {len(table.results)} recipes, {', '.join(parts)}" if parts else "no recipe could be compared"
    return f"Nothing here measurably saves {table.axis} against {table.reference}: {counted}{_why_time(table)}"
