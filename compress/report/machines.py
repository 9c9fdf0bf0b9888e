"""Comparison of several machines: ratios to each machine's own reference, never joules or seconds."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from compress.analysis.merge import MachineComparison
from compress.records.stats import Estimate
from compress.report import text


def print_machines(comparisons: Sequence[MachineComparison], console: Console) -> None:
    """Print one table per workload, with a row per recipe and a column per machine."""
    if not comparisons:
        console.print(
            "no workload was measured on more than one machine; print the table of each machine with: compress pareto"
        )
    for comparison in comparisons:
        console.print(
            Text(f"{text.plain(comparison.workload)}: each machine's cost as a ratio to its own reference"),
            style="bold",
        )
        grid = Table()
        grid.add_column("recipe", no_wrap=True)
        for machine in comparison.machines:
            grid.add_column(Text(text.plain(machine)), overflow="fold")
        for row in comparison.rows:
            cells = (_cell(cost, marked) for cost, marked in zip(row.costs, row.unreliable, strict=True))
            grid.add_row(Text(text.plain(row.name)), *cells)
        console.print(grid)


def _cell(cost: Estimate | None, unreliable: bool) -> Text:
    """Return a ratio with its interval, and whether its measurement was disturbed."""
    return Text("\n".join((*text.ratio(cost), *(["NOT RELIABLE"] if unreliable else []))))
