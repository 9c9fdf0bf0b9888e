"""Results among the other recipes of their tables: one adjusted verdict in every command.

A result file stores the verdict of its recipe alone. Commands that print or publish results read the other results of
the same folder too, find the table of each result, and adjust verdict and break-even as that table does
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
    """Number of recipes that they are adjusted for. 1 for a result alone, or one that its table leaves out."""


def read_among(path: Path, margin: str | None = None) -> Among:
    """Return the result of a file, adjusted for the other results of its folder.

    Files beside it that `compress pareto` would not read are left out. Raises InputError if the file itself cannot be
    read, or if the unit of `margin` does not fit its metric.
    """
    (found,) = all_among([with_place(path)], margin)
    return found


def with_place(path: Path) -> tuple[Path, Result]:
    """Return a path and the result in it. Raises InputError if it cannot be read."""
    return path, read(path)


def all_among(
    results: Sequence[tuple[Path, Result]], margin: str | None = None, folders: Iterable[Path] = ()
) -> list[Among]:
    """Return results that were read from these files, adjusted for the other results of their folders.

    A file below one of `folders` is adjusted for everything below that folder, as `compress pareto` does.
    """
    whole = {folder: _tables(files.read_all(folder)[0], margin) for folder in folders}
    tables: dict[Path, list[Table]] = {}
    for path, _ in results:
        above = [folder for folder in whole if path.is_relative_to(folder)]
        if path.parent not in tables:
            beside = whole[above[0]] if above else _tables(files.read_all(path.parent, below=False)[0], margin)
            tables[path.parent] = beside
    own = [result for _, result in results]
    own = own if margin is None else with_margin(own, margin)
    return [among(result, tables[path.parent]) for (path, _), result in zip(results, own, strict=True)]


def among(result: Result, tables: Iterable[Table]) -> Among:
    """Return the result as the one of these tables states it that has it as a row, else unchanged."""
    for table in tables:
        rows = [row for row in table.results if files.identity(row) == files.identity(result)]
        if result in rows or len(rows) == 1:
            family = adjusted(table)
            return Among(with_adjusted(result, family.get(result.name)), len(family) or 1)
    return Among(result, 1)


def with_adjusted(result: Result, cost: Adjusted | None) -> Result:
    """Return the result with the verdict of its headline and its break-even as among all recipes of a table."""
    if cost is None:
        return result
    verdict, even = verdict_among(result, cost), breakeven_among(result, cost)
    points = tuple(replace(point, verdict=verdict) if point.headline else point for point in result.points)
    return replace(result, verdict=verdict, breakeven=even, points=points)


def tables_of(results: Iterable[tuple[Path, Result]]) -> list[Table]:
    """Return the tables that hold these results, which are or would be in these files, with the results beside them."""
    by_folder: dict[Path, list[Result]] = {}
    for path, result in results:
        by_folder.setdefault(path.parent, []).append(result)
    found: list[Table] = []
    for folder, own in by_folder.items():
        keys = {files.identity(result) for result in own}
        beside = rejudged(files.read_all(folder, below=False)[0]) if folder.is_dir() else []
        written = {files.identity(result) for result in beside}
        tables = group([*beside, *(result for result in own if files.identity(result) not in written)])
        found += [table for table in tables if keys & {files.identity(row) for row in (*table.results, *table.failed)}]
    return found


def _tables(results: Sequence[Result], margin: str | None) -> list[Table]:
    return group(_fitting(rejudged(list(results)), margin))


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
