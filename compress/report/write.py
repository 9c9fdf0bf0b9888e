"""Write the tables of results as files: Markdown, CSV, pictures, the page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compress.analysis.odds import adjusted, word_among
from compress.analysis.pareto import Table
from compress.base.files import SPELLED, write_atomic
from compress.base.owners import sweep
from compress.report import sheet, text
from compress.report.charts.panel import panels
from compress.report.charts.place import place_pictures
from compress.report.charts.plot import PICTURES, pictures
from compress.report.notes import footnotes, heading, title
from compress.report.page import page_html
from compress.report.table import Row, labels, rows
from compress.report.text import DASH, Lines

if TYPE_CHECKING:
    pass


def markdown(tables: Sequence[Table], problems: Sequence[str] = (), answers: Sequence[str] = ()) -> str:
    """The whole of pareto.md; `answers` is what was asked besides the tables."""
    parts = ["# Accuracy against cost\n"]
    if not tables:
        parts.append("No results yet. Run a recipe first: `python -m compress run bert_int8`\n")
    for table in tables:
        parts.append(_markdown_table(table))
    if len(tables) > PICTURES:
        parts.append(
            f"The first {PICTURES} of {len(tables)} tables have pictures; make those of a single folder for others.\n"
        )
    if answers:
        parts.append("## Asked\n\n" + "".join(f"- {text.markdown(line)}\n" for line in answers))
    if problems:
        parts.append("## Files that could not be read\n\n" + "".join(f"- {text.markdown(p)}\n" for p in problems))
    return "\n".join(parts)


def _markdown_table(table: Table) -> str:
    lines = [f"## {text.markdown(title(table))}", ""]
    lines += [f"- {text.markdown(line)}" for line in heading(table)]
    made, named = rows(table), labels(table)
    if made:
        heads = [text.markdown(named[header]) for header in made[0].cells]
        lines += ["", _line(heads), _line("---" for _ in heads)]
        for row in made:
            lines.append(_line(_bold(cell, row, header) for header, cell in row.cells.items()))
    if table.failed:
        lines += ["", _line(("failed recipe", "error")), _line(("---", "---"))]
        lines += [_line((text.markdown(text.plain(r.name)), text.markdown(text.first_line(r)))) for r in table.failed]
    said = [(r.name, r.verdict) for r in table.results if r.verdict]
    if said:
        family = adjusted(table)
        alone = " by itself (the table's intervals are adjusted for all of its rows)" if family else ""
        lines += ["", f"What each row says{alone}:", ""]
        for name, verdict in said:
            cause = f" Why: {verdict.cause}." if verdict.cause else ""
            if word_among(verdict.word, family.get(name)) != verdict.word:
                cause = f" Among these rows that is NO MEASURABLE DIFFERENCE.{cause}"
            lines.append("- " + text.markdown(f"{text.plain(name)}: {verdict.sentence}.{cause}"))
    lines += ["", "Notes:", "", *(f"- {text.markdown(note)}" for note in footnotes(table)), ""]
    return "\n".join(lines)


def _bold(cell: Lines, row: Row, header: str) -> str:
    content = text.markdown(" ".join(cell))
    return f"**{content}**" if header in ("recipe", "verdict") and row.kind == "recipe" and content != DASH else content


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_tables(
    tables: Sequence[Table],
    out: Path,
    problems: Sequence[str] = (),
    answers: Sequence[str] = (),
    drawn: Callable[[], Mapping[str, bytes]] | None = None,
    bound: Callable[[], bytes] | None = None,
) -> list[Path]:
    """Writes pareto.md, .csv and .html, and a PNG and an SVG a table, into `out`; returns their paths.

    `drawn` gives the pictures by file name and `bound` the page, where others have made them meanwhile. Pictures of an
    earlier call that this one does not make again go.
    """
    shown = pictures(panels(tables)) if drawn is None else drawn()
    files = {
        "pareto.md": markdown(tables, problems, answers).encode(errors=SPELLED),
        "pareto.csv": sheet.csv_text(tables).encode(errors=SPELLED),
        "pareto.html": page_html(tables, out) if bound is None else bound(),
    }
    sweep(out)  # what a killed call left
    for name, data in files.items():
        write_atomic(out / name, data)
    return [*(out / name for name in files), *place_pictures(out, shown)]
