"""Comparison of several machines: ratios to each machine's own reference, never joules or seconds."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from compress.analysis.merge import MachineComparison
from compress.records.stats import Estimate
from compress.report import text
from compress.report.grid import grid


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
        titles = ["recipe", *map(text.plain, comparison.machines)]
        rows = [[Text(text.plain(row.name)), *map(_cell, row.costs, row.unreliable)] for row in comparison.rows]
        console.print(grid(titles, rows, console.width), crop=False)


def _cell(cost: Estimate | None, unreliable: bool) -> Text:
    """Return a ratio with its interval, and whether its measurement was disturbed."""
    return Text("\n".join((*text.ratio(cost), *(["NOT RELIABLE"] if unreliable else []))))
