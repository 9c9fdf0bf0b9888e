"""Results in a notebook: those of a folder as one object, which shows its tables and gives a data frame."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from compress.analysis.pareto import Table, group
from compress.base.console import say
from compress.records.files import read_all
from compress.records.result import Grade, Result
from compress.report import sheet
from compress.report.html import tables_html
from compress.report.table import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType


class Results(Sequence[Result]):
    """Several results, in the order they were read."""

    def __init__(self, results: Iterable[Result], least: Grade = "B"):
        """`least`: the lowest grade of measured energy that may be on a front."""
        self._results = tuple(results)
        self._least = least

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> "Results": ...
    def __getitem__(self, index: int | slice) -> "Result | Results":
        """One result, or some of them."""
        if isinstance(index, slice):
            return Results(self._results[index], self._least)
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    @cached_property
    def tables(self) -> list[Table]:
        """The tables that they make: what must not be mixed stands apart."""
        return group(self._results, self._least)

    @property
    def front(self) -> list[str]:
        """Names of the recipes that no other row beats, cheapest first."""
        return [result.name for table in self.tables for result in table.results if result.name in table.front]

    def to_frame(self) -> Any:
        """A pandas data frame: a row a recipe or reference and operating point; columns as in pareto.csv, SI units."""
        import pandas

        return pandas.DataFrame(sheet.records(self.tables))

    def __repr__(self) -> str:
        return f"Results({len(self)} in {len(self.tables)} tables; on a front: {', '.join(self.front) or 'none'})"

    def __rich_console__(self, console: "Console", _: "ConsoleOptions") -> Iterable["RenderableType"]:
        return printable(self.tables, console)

    def _repr_html_(self) -> str:
        return tables_html(self.tables)


def results(folder: str | Path = "results", least: Grade = "B") -> Results:
    """All results below a folder. Raises InputError when there is no such folder; files that are none are named."""
    found, problems = read_all(Path(folder))
    for problem in problems:
        say(f"not read: {problem}")
    return Results(found, least)


class Front(list[str]):
    """Names of the recipes on the front; a notebook or `rich` shows the tables that they stand in."""

    def __init__(self, tables: Iterable[Table]):
        self.tables = tuple(tables)
        super().__init__(r.name for table in self.tables for r in table.results if r.name in table.front)

    def __rich_console__(self, console: Any, _: Any) -> Iterable[Any]:
        from compress.report.table import printable

        return printable(self.tables, console)

    def _repr_html_(self) -> str:
        from compress.report.html import tables_html

        return tables_html(self.tables)


def front(results: Iterable[Result] | str | Path) -> Front:
    """Names of the recipes on the front, cheapest first; results that must not be mixed have a front each.

    `results` may be a folder of result files.
    """
    if isinstance(results, str | Path):
        results, problems = read_all(Path(results))
        for problem in problems:
            say(f"not read: {problem}")
    return Front(group(results))
