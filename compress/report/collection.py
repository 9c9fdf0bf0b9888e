"""Results in a notebook: a collection that displays its tables and converts to a data frame."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from compress.analysis.judging import with_margin
from compress.analysis.pareto import Table, group
from compress.analysis.reading import read_all
from compress.base.console import say
from compress.records.result import Grade, Result
from compress.report import sheet
from compress.report.html import tables_html
from compress.report.table import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


class Results(Sequence[Result]):
    """A sequence of results, in the order they were read."""

    def __init__(self, results: Iterable[Result], least: Grade = "B", margin: str | None = None):
        """Store the results, judged with `margin` (such as `0.5pt`) if it is given.

        `least` is the lowest grade of measured energy that may be on a front. Raises InputError if the margin's unit
        does not fit a result's metric.
        """
        self._results = tuple(results if margin is None else with_margin(results, margin, "margin"))
        self._least = least

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> "Results": ...
    def __getitem__(self, index: int | slice) -> "Result | Results":
        """Return one result, or a collection for a slice."""
        if isinstance(index, slice):
            return Results(self._results[index], self._least)
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    @cached_property
    def tables(self) -> list[Table]:
        """The tables of comparable results."""
        return group(self._results, self._least)

    @property
    def front(self) -> list[str]:
        """Names of the recipes on the fronts, cheapest first within a table."""
        return [result.name for table in self.tables for result in table.results if result.name in table.front]

    def to_frame(self) -> Any:
        """Return a pandas data frame with a row per recipe or reference and operating point.

        Columns are those of pareto.csv, in SI units.
        """
        import pandas

        return pandas.DataFrame(sheet.records(self.tables))

    def __repr__(self) -> str:
        return f"Results({len(self)} in {len(self.tables)} tables; on a front: {', '.join(self.front) or 'none'})"

    def __rich_console__(self, console: "Console", _: "ConsoleOptions") -> Iterable["RenderableType"]:
        return printable(self.tables, console)

    def _repr_html_(self) -> str:
        return tables_html(self.tables)


def results(folder: str | Path = "results", least: Grade = "B", margin: str | None = None) -> Results:
    """Return all results below a folder. Unreadable files are reported. Raises InputError without such a folder.

    `least` and `margin` are those of `Results`.
    """
    readable, problems = read_all(Path(folder))
    for problem in problems:
        say(f"not read: {problem}")
    return Results(readable, least, margin)


class Front(list[str]):
    """Names of the recipes on the front; a notebook or `rich` displays their tables."""

    def __init__(self, tables: Iterable[Table]):
        self.tables = tuple(tables)
        super().__init__(r.name for table in self.tables for r in table.results if r.name in table.front)

    def __rich_console__(self, console: Any, _: Any) -> Iterable[Any]:
        from compress.report.table import printable

        return printable(self.tables, console)

    def _repr_html_(self) -> str:
        from compress.report.html import tables_html

        return tables_html(self.tables)


def front(results: Iterable[Result] | str | Path, margin: str | None = None) -> Front:
    """Return the names of the recipes on the front, cheapest first. Each table of comparable results has its own front.

    `results` may be a folder of result files. `margin` is the largest difference of the metric that counts as equal,
    such as `0.5pt`; without it, the front takes the smallest one of the recipes.
    """
    if isinstance(results, str | Path):
        results, problems = read_all(Path(results))
        for problem in problems:
            say(f"not read: {problem}")
    return Front(group(results, margin=margin))
