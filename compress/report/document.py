"""pareto.md: the tables of results as a Markdown document."""

from collections.abc import Iterable, Sequence

from compress.analysis.odds import adjusted
from compress.analysis.pareto import Table
from compress.report import text
from compress.report.charts.plot import PICTURES
from compress.report.heading import heading, title
from compress.report.notes import footnotes
from compress.report.table import Row, labels, rows
from compress.report.text import DASH, Lines
from compress.report.verdicts import in_full


def markdown(tables: Sequence[Table], problems: Sequence[str] = (), answers: Sequence[str] = ()) -> str:
    """Return the whole of pareto.md; `answers` are sentences that answer the user's questions about the tables."""
    parts = ["# Accuracy against cost\n"]
    if not tables:
        parts.append("No results yet. Run a recipe first: `python -m compress run bert_int8`\n")
    for table in tables:
        parts.append(_markdown_table(table))
    if len(tables) > PICTURES:
        parts.append(
            f"The first {PICTURES} of {len(tables)} tables have pictures; pass a single folder for the others.\n"
        )
    if answers:
        parts.append("## Answers\n\n" + "".join(f"- {text.markdown(line)}\n" for line in answers))
    if problems:
        parts.append("## Files that could not be read\n\n" + "".join(f"- {text.markdown(p)}\n" for p in problems))
    return "\n".join(parts)


def _markdown_table(table: Table) -> str:
    """Return one table with its heading, sentences and notes."""
    lines = [f"## {text.markdown(title(table))}", ""]
    lines += [f"- {text.markdown(line)}" for line in heading(table)]
    body, headers = rows(table), labels(table)
    if body:
        heads = [text.markdown(headers[header]) for header in body[0].cells]
        lines += ["", _line(heads), _line("---" for _ in heads)]
        for row in body:
            lines.append(_line(_bold(cell, row, header) for header, cell in row.cells.items()))
    if table.failed:
        lines += ["", _line(("failed recipe", "error")), _line(("---", "---"))]
        lines += [_line((text.markdown(text.plain(r.name)), text.markdown(text.first_line(r)))) for r in table.failed]
    if verdicts := in_full(table):
        lines += ["", f"Verdict of each row{', adjusted for all of them' if adjusted(table) else ''}:", ""]
        lines += [f"- {text.markdown(sentence)}" for sentence in verdicts]
    lines += ["", "Notes:", "", *(f"- {text.markdown(note)}" for note in footnotes(table)), ""]
    return "\n".join(lines)


def _bold(cell: Lines, row: Row, header: str) -> str:
    content = text.markdown(" ".join(cell))
    return f"**{content}**" if header in ("recipe", "verdict") and row.kind == "recipe" and content != DASH else content


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
