"""Notes on rows of a table: missing figures, answers that depend on the batch, seeds, and the results' own notes."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from compress.analysis.limit import ABOVE, percent
from compress.analysis.odds import adjusted, breakeven_among
from compress.analysis.pareto import Table
from compress.analysis.precision import MISSED, half_width, others
from compress.analysis.same import same_words
from compress.records.result import Point, Result
from compress.report.text import differing, trainings

Group = Literal["warnings", "method", "data"]


class Note(NamedTuple):
    """One sentence, and its group."""

    group: Group
    text: str


def row_notes(table: Table) -> Iterable[Note]:
    """Yield the notes on rows, each once with the rows that it concerns."""
    yield from _missing(table)
    yield from _above_the_limit(table)
    yield from _sensitive(table)
    yield from _seeds(table)
    yield from (Note("method", f"{words}.") for each in table.results if (words := same_words(each)))
    yield from _own_notes(table)


def headline_points(table: Table) -> Iterable[tuple[str, Point | None]]:
    """Yield name and headline point of every row."""
    for row in table.rows:
        yield row.name, row.headline


def listed(names: Iterable[str]) -> str:
    """Return up to 12 names as text, and the number of the others."""
    once = list(dict.fromkeys(names))
    return ", ".join(once[:12]) + (f" and {len(once) - 12} more" if len(once) > 12 else "")


def _missing(table: Table) -> Iterable[Note]:
    """Yield why figures are missing, or include the gain errors of two meters, one sentence per reason."""
    reasons: dict[str, list[str]] = {}
    family = adjusted(table)
    for name, point in headline_points(table):
        if point is not None and point.energy_j is None:
            reasons.setdefault(f"no energy: {point.energy_reason or 'no reason was recorded'}", []).append(name)
    for result in table.results:
        even = breakeven_among(result, family.get(result.name))
        if even is not None and even.inferences is None and even.at_most is None:
            why = (even.reason or "no reason was recorded").removeprefix("never: ")
            if result.name not in table.unreliable:  # another note states why
                reasons.setdefault(f"no break-even: {why}", []).append(result.name)
        elif even is not None and even.note is not None:
            reasons.setdefault(f"break-even: {even.note}", []).append(result.name)
        if result.accuracy is not None and result.accuracy.delta is None:
            why = result.accuracy.reasons.get("delta", "no reason was recorded")
            reasons.setdefault(f"no difference of {result.accuracy.metric}: {why}", []).append(result.name)
    for row in table.rows:
        known: dict[str, str] = {} if row.accuracy is None else row.accuracy.reasons
        for field, what in (("estimate", ""), ("interval", ""), ("delta_interval", "the difference of ")):
            if row.accuracy is not None and field in known:
                reasons.setdefault(f"{what}{row.accuracy.metric}: {known[field]}", []).append(row.name)
        if row.size is not None and None in (row.size.memory_bytes, row.size.peak_memory_bytes):
            reasons.setdefault(f"no memory: {row.size.reason or 'no reason was recorded'}", []).append(row.name)
    yield from (Note("warnings", f"{reason} ({listed(names)}).") for reason, names in reasons.items())


def _above_the_limit(table: Table) -> Iterable[Note]:
    """Yield the rows that are faster than the measured limit of their device: one of both figures is wrong."""
    shares = [(name, point.limit_share) for name, point in headline_points(table) if point is not None]
    above = [f"{name} {percent(share)}" for name, share in shares if share is not None and share.low > 1]
    if above:
        yield Note("warnings", f"Share of the physical limit {ABOVE} ({listed(above)}).")


def _sensitive(table: Table) -> Iterable[Note]:
    """Yield the rows whose answers depend on the batch, one sentence per batch size of their metric."""
    shares: dict[str, list[str]] = {}
    for row in table.rows:
        if row.accuracy is None or row.accuracy.batch_sensitivity is None:
            continue
        at = f"; {row.accuracy.metric} holds for batch {row.accuracy.batch_size}" if row.accuracy.batch_size else ""
        shares.setdefault(at, []).append(f"{row.name} {differing(row.accuracy.batch_sensitivity)}")
    for at, rows in shares.items():
        text = f"Answers that differ between batch 1 and batch 32 (rounded activations): {', '.join(rows)}{at}."
        yield Note("warnings", text)


def _seeds(table: Table) -> Iterable[Note]:
    """Yield the rows whose accuracy is known for several seeds."""
    for result in table.results:
        if ranged := trainings(result):
            metric = result.accuracy.metric if result.accuracy else "metric"
            yield Note(
                "data",
                f"{result.name}: {ranged}; its figures are of seed {result.seed}, and the intervals of its {metric} "
                "cover another training.",
            )


def _imprecise(table: Table) -> Iterable[Note]:
    """Yield one line on the row that missed the precision of its ratios by most, with the number of the others."""
    missed = {result.name: note for result in table.results for note in result.notes if note.startswith(MISSED)}
    widths = {
        result.name: max(
            half_width(ratio.latency) for ratio in result.headline.ratios if ratio.reference != result.name
        )
        for result in table.results
        if result.name in missed and result.headline is not None and result.headline.ratios
    }
    if widths:
        widest = max(widths, key=widths.__getitem__)
        text = f"{widest}: {missed[widest].rstrip('.')}{others(len(missed) - 1, 'row')}."
        yield Note("warnings", text)


def _own_notes(table: Table) -> Iterable[Note]:
    """Yield the notes of the results, each once with its rows: choices and replacements made for the user."""
    yield from _imprecise(table)
    names_by_note: dict[Note, list[str]] = {}
    for result in table.results:
        stated = result.headline.unreliable if result.headline else ()
        for note in (note for note in result.notes if note not in stated and not note.startswith(MISSED)):
            group: Group = "method" if is_method(note, result) else "warnings"
            names_by_note.setdefault(Note(group, note.rstrip(".")), []).append(result.name)
    for (place, note), names in names_by_note.items():
        everyone = len(names) > 1 and len(names) == len(table.results)
        yield Note(place, f"{'All recipes' if everyone else listed(names)}: {note}.")


def is_method(note: str, result: Result) -> bool:
    """Return whether a result's own note is an account of a step or of padding, not of the measurement."""
    methods = {str(step.get("method")) for step in result.recipe.get("steps", ())}
    return note.partition(":")[0] in methods | {"padding fixed"}
