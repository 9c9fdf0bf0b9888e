"""The table of results: one row per recipe, sorted by cost, then references and footnotes.

`rows` makes the cells for both Markdown and the terminal, which only lay them out. CSV is in `compress.report.sheet`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compress.analysis.limit import percent
from compress.analysis.natural import deployed, energy_per_correct, latency_per_example, measured_energy
from compress.analysis.odds import LEAST_ODDS, SETTLED, Adjusted, adjusted, breakeven_among, front_odds, word_among
from compress.analysis.pareto import Table, point_cost
from compress.analysis.verdict import MEASURED, Axis, alone, cost_axis, net_cost
from compress.records.phase import INFERENCE
from compress.records.point import natural_point
from compress.records.result import Point, Reference, Result
from compress.report import text
from compress.report.advice import advice
from compress.report.charts.panel import panels
from compress.report.charts.sketch import sketch
from compress.report.grid import grid
from compress.report.heading import LOUD, heading, title
from compress.report.notes import footnotes
from compress.report.text import DASH, Lines
from compress.report.verdicts import sentences

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

FP32 = "fp32 eager"
STAR = "★"
WHOLE, WIDE = 196, 168
"""Terminal columns that the whole table needs, and those below which `OPTIONAL` is left out."""
WIDEST = 208
LAST = frozenset({"of the limit"})
"""Left out of a terminal below `WIDEST` columns."""
EXTRA = LAST | {"net / ref", "compression alone"}
"""Left out of a terminal below `WHOLE` columns."""
OPTIONAL = EXTRA | frozenset(
    {"latency / fp32", "own texts", "break-even", "kernels", "stored", "energy / correct", "bits / byte"}
)
MEDIUM = 116
LESS = OPTIONAL | {"latency", "energy"}
"""Left out below `MEDIUM` columns, because ratios are more useful than absolute figures."""
MOST_ROWS, MOST_TABLES = 24, 6
"""Most rows of a table and most tables in a terminal. The files hold all of them."""


@dataclass(frozen=True)
class Row:
    """One line of the table: header -> cell."""

    name: str
    kind: str
    """`recipe` or `reference`."""
    cells: dict[str, Lines]


def rows(table: Table, most: int | None = None) -> list[Row]:
    """Return recipes by cost (the `most` cheapest), then references. Columns that repeat another are left out."""
    lines, family, odds = [], adjusted(table), front_odds(table)
    bits = any(r.accuracy is not None and r.accuracy.bits_per_byte is not None for r in table.rows)
    for result in table.results[:most]:
        cells = _cells(table, result, odds.get(result.name), bits)
        cells["break-even"] = text.breakeven(breakeven_among(result, family.get(result.name)))
        cells["verdict"] = verdict_cell(result, family.get(result.name), table)
        lines.append(Row(result.name, "recipe", _in_order(cells)))
    for reference in table.references:
        cells = _cells(table, reference, odds.get(reference.name), bits)
        cells["recipe"] = ("reference:", text.plain(reference.name))
        cells["break-even"] = (DASH,)
        cells["verdict"] = ("verdict reference",) if reference.name == table.reference else (DASH,)
        lines.append(Row(reference.name, "reference", _in_order(cells)))
    return lines


def verdict_cell(result: Result, among: Adjusted | None, table: Table) -> Lines:
    """Return the verdict's word among all recipes of the table (Holm), and the simultaneous interval (Bonferroni)."""
    if result.verdict is None:
        return (DASH,)
    word = result.verdict.word
    if among is None or word in SETTLED:
        return (word,)
    point = result.headline
    ratio = point.ratio(table.reference or "") if point is not None else None
    axis = table.axis if point is None or ratio is None else cost_axis(ratio, point.energy_source)[0]
    of = "" if axis == table.axis else f" of {axis},"  # the front may be of latency where verdicts are of energy
    low, high, adjusted_word = among.cost.low, among.cost.high, word_among(word, among)
    why = f"; {word} unadjusted" if adjusted_word != word else among.note
    return (adjusted_word, f"({text.digits(low)} to {text.digits(high)}{of} adjusted{why})")


def _cells(table: Table, row: Result | Reference, odds: float | None, bits: bool) -> dict[str, Lines]:
    """Return header -> cell of one row. `bits`: whether any row of the table has bits per byte."""
    name, size = row.name, row.size
    point = row.headline
    is_reference = name == table.reference
    reference_bytes = next((r.size.stored_bytes for r in table.references if r.name == table.reference), None)
    source = point.energy_source if point else None
    unity: Lines = ("1",)
    cells: dict[str, Lines] = {
        "front": _front(name in table.front, odds),
        "recipe": (text.plain(name),),
        "accuracy": text.metric(row.accuracy),
        "difference": ("0",) if is_reference else text.difference(row.accuracy, table.margin),
        "latency": text.latency(point.latency_s if point else None),
        "latency / ref": unity if is_reference else text.ratio(point_cost(point, "latency", table.reference)),
        "energy": text.energy(point.energy_j if point else None, source),
    }
    if bits:
        known = row.accuracy.bits_per_byte if row.accuracy else None
        cells["bits / byte"] = (DASH if known is None else text.digits(known, 4),)
    own = deployed(row.points)
    if table.meter in MEASURED and row.accuracy is not None and row.accuracy.metric == "accuracy":
        cells["energy / correct"] = text.energy(energy_per_correct(own, row.accuracy), source)
    if any(natural_point(other.points) for other in table.rows):
        cells["own texts"] = _own_texts(natural_point(row.points), table.axis, table.reference, is_reference)
    if any(r.name == FP32 for r in table.references) and table.reference != FP32:
        cells["latency / fp32"] = unity if name == FP32 else text.ratio(point_cost(point, "latency", FP32))
    if table.meter in MEASURED:
        cells["energy / ref"] = unity if is_reference else text.ratio(point_cost(point, "energy", table.reference))
        cells["net / ref"] = unity if is_reference else text.ratio(net_cost(point, table.reference))
    if any(alone(result, result.headline) is not None for result in table.results):
        cells["compression alone"] = _alone(table, row)
    if any(other.headline and other.headline.limit_share for other in table.rows):
        share = point.limit_share if point else None
        cells["of the limit"] = (DASH if share is None else percent(share),)
    cells["stored"] = text.megabytes(size.stored_bytes if size else None, reference_bytes)
    cells["kernels"] = (row.kernel.label if row.kernel else DASH,)
    return cells


def _alone(table: Table, row: Result | Reference) -> Lines:
    """Return the cost ratio to the dense model under the recipe's own runtime, on the table's axis."""
    ratio = alone(row, row.headline) if isinstance(row, Result) else None
    return text.ratio(point_cost(row.headline, table.axis, ratio.reference if ratio else None))


def _own_texts(point: Point | None, axis: Axis, reference: str | None, is_reference: bool) -> Lines:
    """Return the ratio on the test split's own texts with its interval, and the cost of an example there."""
    if point is None:
        return (DASH,)
    ratio = ("1",) if is_reference else text.ratio(point_cost(point, axis, reference))
    joules = measured_energy(point)
    costs = [f"{text.digits(1e3 * latency_per_example(point).value)} ms"]
    costs += [] if joules is None else [f"{text.digits(1e3 * joules.value)} mJ"]
    return (*ratio, f"{', '.join(costs)} each", *(["not reliable"] if point.unreliable else []))


def _front(on_front: bool, odds: float | None) -> Lines:
    """Return the star, and the share of resamples in which the row is on the front."""
    star = STAR if on_front else ""
    if odds is None or (odds < LEAST_ODDS and not on_front):
        return (star,)
    return tuple(filter(None, (star, text.share(odds))))


ORDER = (
    "front", "recipe", "accuracy", "difference", "bits / byte", "latency", "latency / ref", "latency / fp32",
    "energy", "energy / ref", "net / ref", "compression alone", "own texts", "energy / correct", "of the limit",
    "stored", "break-even", "kernels", "verdict",
)  # fmt: skip


def _in_order(cells: dict[str, Lines]) -> dict[str, Lines]:
    return {header: cells[header] for header in ORDER if header in cells}


def labels(table: Table) -> dict[str, str]:
    """Return header -> title of the column, with the metric by its name."""
    accuracy = next((r.accuracy for r in table.rows if r.accuracy), None)
    titles = {header: header for header in ORDER}
    titles["accuracy"] = accuracy.metric if accuracy else "accuracy"
    titles["latency"] = "latency per batch"
    titles["energy"] = f"energy per {text.example_of(table.newest)}"
    if (example := text.example_of(table.newest)) != INFERENCE:
        titles["break-even"] = f"break-even, {example}s"
    titles["energy / correct"] = "energy per correct answer"
    titles["net / ref"] = "net of idle / ref"
    titles["compression alone"] = "compression alone / same runtime"
    titles["own texts"] = f"{table.axis} / ref on own texts"
    titles["of the limit"] = "share of the physical limit"
    titles["stored"] = "stored size"
    return titles


def print_tables(tables: Sequence[Table], console: "Console", folder: Path | None = None) -> None:
    """Print the tables. A narrow terminal gets fewer columns and a long table only its cheapest rows, with a note.

    `folder` is that of the results: each table then ends with a recommendation.
    """
    for part in printable(tables, console, folder):
        console.print(part, crop=False)


def printable(tables: Sequence[Table], console: "Console", folder: Path | None = None) -> Iterable["RenderableType"]:
    """Yield the parts that `print_tables` prints."""
    from rich.text import Text

    if not tables:
        yield Text("No results yet. Run a recipe first: python -m compress run bert_int8")
    for table in tables[:MOST_TABLES]:
        yield from _printable(table, console)
        for line in () if folder is None else advice(table, folder):
            yield Text(line, overflow="ignore", no_wrap=line.startswith(" "))
    if len(tables) > MOST_TABLES:
        yield Text(f"{len(tables) - MOST_TABLES} more tables are in pareto.md.")


def _printable(table: Table, console: "Console") -> Iterable["RenderableType"]:
    from rich.text import Text

    yield Text(title(table), style="bold")
    for line in heading(table):
        yield Text(line, style="bold red" if line.startswith(LOUD) else "")
    shown, titles = rows(table, MOST_ROWS), labels(table)
    tiers = ((MEDIUM, LESS), (WIDE, OPTIONAL), (WHOLE, EXTRA), (WIDEST, LAST))
    too_wide = next((columns for width, columns in tiers if console.width < width), frozenset())
    omitted = too_wide & shown[0].cells.keys() if shown else too_wide
    if shown:
        columns = {
            h: [titles[h], *("\n".join(row.cells[h]) for row in shown)] for h in shown[0].cells if h not in omitted
        }
        columns["front"][0] = ""
        if not any(columns["front"]):
            del columns["front"]
        named = list(columns).index("recipe")
        styles = ["dim" if row.kind == "reference" else "" for row in shown]
        texts = [
            [Text(column[place], style) for column in columns.values()] for place, style in enumerate(styles, start=1)
        ]
        titled = [column[0] for column in columns.values()]
        yield grid(titled, texts, console.width, named, pad_edge=console.width >= MEDIUM)
        if console.is_terminal:
            for line in (line for panel in panels([table]) for line in sketch(panel, console.width)):
                yield Text(line, no_wrap=True, overflow="ellipsis")
    for result in table.failed:
        yield Text(f"FAILED {text.plain(result.name)}: {text.first_line(result)}", style="red")
    yield from map(Text, sentences(table))
    notes = footnotes(table)
    if len(table.results) > MOST_ROWS:
        notes.append(f"{len(table.results) - MOST_ROWS} more expensive rows are not shown; they are in pareto.md.")
    if omitted and shown:
        notes.append("The terminal is narrow: every column is in pareto.md, every figure in pareto.csv.")
    for note in notes:
        yield Text(f"- {note}")
    yield Text()
