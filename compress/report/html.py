"""Results for notebooks (HTML, with every text escaped) and for interactive terminals (`rich`)."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from compress.analysis.judging import states_cost
from compress.analysis.verdict import point_name
from compress.base.display import VIEWS, View
from compress.records.result import Result
from compress.report import text

if TYPE_CHECKING:
    import rich.table

    from compress.analysis.pareto import Table
    from compress.report.table import Row


def result_html(result: Result) -> str:
    """Return an HTML table of a result: verdict, accuracy, cost, size and break-even, or its error."""
    return _table(*summary(result))


def result_table(result: Result) -> "rich.table.Table":
    """Return the same table of a result for `rich`."""
    from rich.table import Table as Grid
    from rich.text import Text

    head, rows = summary(result)
    grid = Grid(title=Text(text.plain(head), style="bold"), title_justify="left", show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(text.plain(name)), Text(text.plain(value)))
    return grid


def summary(result: Result) -> tuple[str, list[tuple[str, str]]]:
    """Return a title, and pairs of name and text."""
    head = f"{result.name} on {result.workload.get('name', 'workload')}, {result.machine.device_name}"
    if result.error is not None:
        return head, [("failed", text.first_line(result))]
    rows = [("verdict", result.verdict.sentence)] if result.verdict else []
    if result.verdict and result.verdict.cause:
        rows.append(("why", result.verdict.cause))
    if result.accuracy:
        rows.append((result.accuracy.metric, text.joined(text.metric(result.accuracy))))
        rows.append(("difference", text.joined(text.difference(result.accuracy))))
    point, reference = result.headline, result.verdict_reference
    if point:
        rows.append((f"latency, {point_name(point)}", text.joined(text.latency(point.latency_s))))
        energy = text.joined(text.energy(point.energy_j, point.energy_source))
        source = point.energy_source or point.energy_reason or "no reason was recorded"
        rows.append((f"energy per {point.example}", f"{energy} ({source})"))
    if result.size:
        reference_bytes = reference.size.stored_bytes if reference else None
        rows.append(("stored size", text.joined(text.megabytes(result.size.stored_bytes, reference_bytes))))
    if result.breakeven:
        rows.append(("break-even", text.breakeven_words(result.breakeven, text.example_of(result))))
    if result.kernel:
        rows.append(("kernels", result.kernel.label))
    if result.limit is not None:
        rows.append(("LIMITED", f"judged on {result.limit} test examples only"))
    rows.extend(("note", note) for note in result.notes)
    if states_cost(result.verdict):
        rows.append(("note", f"verdict: {text.UNADJUSTED}; tables adjust them for their number of recipes"))
    return head, rows


def tables_html(tables: "Iterable[Table]") -> str:
    """Return every table as HTML with the terminal's rows, the front starred, and the notes folded below by group."""
    from compress.report.heading import LOUD, heading, title
    from compress.report.notes import grouped
    from compress.report.table import rows

    grids = []
    for table in tables:
        loud = [line for line in heading(table) if line.startswith(LOUD)]
        failed = [f"{result.name} failed: {text.first_line(result)}" for result in table.failed]
        notes = "".join(_folded(group, lines) for group, lines in grouped(table).items())
        grids.append(_grid("; ".join((title(table), *loud)), rows(table), failed) + notes)
    return "".join(grids)


def _folded(group: str, notes: Sequence[str]) -> str:
    lines = "".join(f"<p>{escape(text.plain(note))}</p>" for note in notes)
    return f"<details><summary>{escape(group.capitalize())} ({len(notes)})</summary>{lines}</details>"


def _grid(title: str, rows: "list[Row]", notes: Iterable[str]) -> str:
    columns = list(dict.fromkeys(column for row in rows for column in row.cells))
    head = "".join(f"<th style='text-align:left'>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td style='text-align:left'>{escape(' '.join(row.cells.get(c, ())))}</td>" for c in columns)
        + "</tr>"
        for row in rows
    )
    below = "".join(f"<p>{escape(text.plain(note))}</p>" for note in notes)
    caption = f"<caption style='text-align:left'><b>{escape(text.plain(title))}</b></caption>"
    return f"<table>{caption}<tr>{head}</tr>{body}</table>{below}"


def _table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(
        f"<tr><th style='text-align:left'>{escape(text.plain(name))}</th>"
        f"<td style='text-align:left'>{escape(text.plain(value))}</td></tr>"
        for name, value in rows
    )
    title = f"<caption style='text-align:left'><b>{escape(text.plain(caption))}</b></caption>"
    return f"<table>{title}{body}</table>"


VIEWS[Result] = View(result_html, result_table)
