r"""pareto.tex: the tables of results with booktabs, and how they were measured, to include in a paper.

    \usepackage{booktabs,graphicx}    in the preamble
    \input{pareto}                    where the tables belong

Rows, cells and sentences are those of pareto.md. An interval stands below its value. Each table has two parts, so that
the first one stays legible; tables wider than the text are scaled down.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from compress.analysis.odds import adjusted
from compress.analysis.pareto import Table
from compress.report import text
from compress.report.describe import steps
from compress.report.heading import LOUD, heading, title
from compress.report.notes import footnotes
from compress.report.paper.escape import UNUSUAL, figures, literal
from compress.report.paper.estimators import references, statements
from compress.report.paper.protocol import protocol
from compress.report.table import Row, labels, rows
from compress.report.text import Lines
from compress.report.verdicts import in_full

MAIN = ("front", "recipe", "accuracy", "difference", "latency / ref", "energy / ref", "stored", "verdict")
"""Columns of the first part; the second one has the recipe and all others."""
SPACE = r"\addlinespace[2pt]"
BREAK = r" \\ "
SENTENCE = re.compile(r"(?<=;) ")
"""A cell goes on below a semicolon."""
NAMES = frozenset({"recipe", "kernels"})
"""Columns whose cells hold no figures."""
PREAMBLE = r"""% Made by python -m compress pareto --latex. The preamble needs \usepackage{booktabs,graphicx}.
\providecommand{\compresscell}[1]{\begin{tabular}[t]{@{}l@{}}#1\end{tabular}}
"""
FOREIGN = (
    "% Some names have characters that pdflatex lacks: compile with lualatex or xelatex, and a font that has them.\n"
)


def latex(tables: Sequence[Table]) -> str:
    """Return the whole of pareto.tex: a fragment without a preamble, for pdflatex, lualatex or xelatex."""
    sections = ("\n".join(_section(table, number)) for number, table in enumerate(tables, 1))
    document = PREAMBLE + "".join(f"\n{section}\n" for section in sections)
    return FOREIGN + document if UNUSUAL.search(document) else document


def _section(table: Table, number: int) -> Iterator[str]:
    """Yield the lines of one table: its two parts, what failed, and the paragraphs."""
    body, label = rows(table), f"tab:compress-{number}"
    loud = [line for line in heading(table) if line.startswith(LOUD)]
    caption = ". ".join([f"Accuracy against {table.axis}: {title(table)}", *loud])
    if body:
        headers = list(body[0].cells)
        main = [header for header in headers if header in MAIN]
        others = ["recipe", *(header for header in headers if header not in MAIN)]
        yield from _float(_scaled(_tabular(main, labels(table), body)), f"{caption}.", label)
        more = f"Other figures of Table~\\ref{{{label}}}."
        yield from _float(_scaled(_tabular(others, labels(table), body)), more, f"{label}-more", escaped=True)
    if table.failed:
        failed = [(literal(result.name), literal(text.first_line(result))) for result in table.failed]
        lines = _booktabs(r"lp{0.7\textwidth}", ("failed recipe", "error"), [failed])
        yield from _float(lines, f"Failed: {title(table)}.", f"{label}-failed")
    if verdicts := in_full(table):
        yield from _paragraph(
            "Verdicts, with costs adjusted for all rows" if adjusted(table) else "Verdicts", _items(verdicts)
        )
    if notes := footnotes(table):
        yield from _paragraph("Notes", _items(notes))
    if table.results:
        recipes = (f"{result.name}: {'; '.join(steps(result))}." for result in table.results)
        yield from _paragraph("Recipes", _items(recipes))
    used = statements(table)
    yield from _paragraph("Measurement", map(figures, protocol(table)))
    if used:
        yield from _paragraph("Statistics", map(figures, (*used, f"Sources: {'; '.join(references(used))}.")))


def _float(content: Iterable[str], caption: str, label: str, escaped: bool = False) -> Iterator[str]:
    r"""Yield a table* with its caption; `escaped`: the caption is LaTeX already."""
    yield r"\begin{table*}[tp]"
    yield r"\centering"
    yield rf"\caption{{{caption if escaped else literal(caption)}}}"
    yield rf"\label{{{label}}}"
    yield r"\footnotesize\setlength{\tabcolsep}{4pt}"
    yield from content
    yield r"\end{table*}"


def _scaled(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines in a box that is as wide as the text at most."""
    yield r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"
    yield from lines
    yield "}"


def _tabular(headers: Sequence[str], titles: dict[str, str], body: Sequence[Row]) -> Iterator[str]:
    """Yield a tabular of these columns: recipes, a rule, references."""
    groups = [
        [[_cell(header, row.cells[header]) for header in headers] for row in body if row.kind == kind]
        for kind in ("recipe", "reference")
    ]
    return _booktabs("l" * len(headers), [_title(titles[header]) for header in headers], groups)


def _booktabs(columns: str, head: Sequence[str], groups: Iterable[Iterable[Iterable[str]]]) -> Iterator[str]:
    """Yield a tabular with a rule before each group of rows that has any."""
    yield rf"\begin{{tabular}}{{{columns}}}"
    yield r"\toprule"
    yield _line(head)
    for group in groups:
        for number, cells in enumerate(group):
            yield SPACE if number else r"\midrule"
            yield _line(cells)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _title(words: str) -> str:
    """Return the title of a column; a ratio's reference stands on a second line."""
    first, slash, second = words.partition(" / ")
    return _stacked([literal(first + slash.rstrip()), literal(second)] if slash else [literal(first)])


def _cell(header: str, lines: Lines) -> str:
    """Return a cell: a name, or a value with its interval in a smaller type below it."""
    if header in NAMES:
        return literal(text.joined(lines))
    first, *others = (figures(part) for line in lines for part in SENTENCE.split(line))
    return _stacked([first, *(rf"{{\scriptsize {line}}}" for line in others)])


def _stacked(lines: Sequence[str]) -> str:
    return lines[0] if len(lines) == 1 else rf"\compresscell{{{BREAK.join(lines)}}}"


def _items(sentences: Iterable[str]) -> Iterator[str]:
    """Yield a list of sentences."""
    yield r"\begin{itemize}"
    yield from (rf"\item {figures(sentence)}" for sentence in sentences)
    yield r"\end{itemize}"


def _paragraph(name: str, lines: Iterable[str]) -> Iterator[str]:
    """Yield a paragraph with its name, after an empty line; long names of settings may stretch the spaces."""
    yield ""
    yield r"\begin{sloppypar}"
    yield rf"\paragraph{{{name}.}}"
    yield from lines
    yield r"\end{sloppypar}"
