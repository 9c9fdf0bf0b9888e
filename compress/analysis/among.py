"""Results among the other recipes of their tables: one adjusted verdict in every command.

A result file stores the verdict of its recipe alone. Commands that print or publish single results read the other
results of the same folder too, find the table of each result, and adjust verdict and break-even as that table does
(`compress.analysis.odds`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from compress.analysis.judging import with_margin
from compress.analysis.odds import Adjusted, adjusted, breakeven_among, verdict_among
from compress.analysis.older import rejudged
from compress.analysis.pareto import Table, group
from compress.analysis.reading import read
from compress.base.config import InputError
from compress.records import files
from compress.records.result import Result


@dataclass(frozen=True)
class Among:
    """A result with the verdict and the break-even that its table states."""

    result: Result
    recipes: int
    """Number of recipes of its table. 1 for a result alone, or for one that its table leaves out as superseded."""


def read_among(path: Path, margin: str | None = None) -> Among:
    """Return the result of a file, adjusted for the other results of its folder.

    Files beside it that cannot be read are left out, as in the folder's table. Raises InputError if the file itself
    cannot be read, or if the unit of `margin` does not fit its metric.
    """
    (found,) = all_among([with_place(path)], margin)
    return found


def with_place(path: Path) -> tuple[Path, Result]:
    """Return a path and the result in it. Raises InputError if it cannot be read."""
    return path, read(path)


def all_among(results: Sequence[tuple[Path, Result]], margin: str | None = None) -> list[Among]:
    """Return results that were read from these files, adjusted for the other results of their folders."""
    tables = {folder: _tables(folder, margin) for folder in {path.parent for path, _ in results}}
    own = [result for _, result in results]
    own = own if margin is None else with_margin(own, margin)
    return [among(result, tables[path.parent]) for (path, _), result in zip(results, own, strict=True)]


def among(result: Result, tables: Iterable[Table]) -> Among:
    """Return the result as the one of these tables states it that has it as a row, else unchanged."""
    for table in tables:
        if any(_is_same(row, result) for row in table.results):
            return Among(with_adjusted(result, adjusted(table).get(result.name)), len(table.results))
    return Among(result, 1)


def with_adjusted(result: Result, cost: Adjusted | None) -> Result:
    """Return the result with the verdict of its headline and its break-even as among all recipes of a table."""
    if cost is None:
        return result
    verdict, even = verdict_among(result, cost), breakeven_among(result, cost)
    points = tuple(replace(point, verdict=verdict) if point.headline else point for point in result.points)
    return replace(result, verdict=verdict, breakeven=even, points=points)


def _tables(folder: Path, margin: str | None) -> list[Table]:
    """Return the tables of the readable results that lie directly in a folder."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(files.read(path))
        except InputError:
            continue  # the folder's table names files that cannot be read
    return group(_fitting(rejudged(found), margin))


def _fitting(results: Sequence[Result], margin: str | None) -> list[Result]:
    """Return the results judged with another margin, without those of a metric that its unit does not fit."""
    if margin is None:
        return list(results)
    fitting = []
    for result in results:
        try:
            fitting += with_margin([result], margin)
        except InputError:
            continue  # of another table: results of one table share the metric
    return fitting


def _is_same(row: Result, result: Result) -> bool:
    return (row.name, row.created, row.session) == (result.name, result.created, result.session)
