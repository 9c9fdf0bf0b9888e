"""Result files as reading commands see them: verdicts of older schemas are computed again (`compress.analysis.older`).

What rewrites, copies or verifies files reads them as they are, with `compress.records.files`.
"""

from functools import cache
from pathlib import Path

from compress.analysis.older import rejudged
from compress.base.config import InputError
from compress.records import files
from compress.records.result import SCHEMA, Result


def read(path: Path) -> Result:
    """Return one result. Raises InputError if it cannot be read.

    A result of schema 1 is judged beside the other results of its session in the same folder.
    """
    result = files.read(path)
    if result.schema == SCHEMA:
        return result
    others = [r for r in _older(path.parent) if r.session == result.session and r.name != result.name]
    return rejudged([result, *others])[0]


@cache
def _older(folder: Path) -> tuple[Result, ...]:
    """Return the readable results of older schemas in a folder. No version of this program writes new ones."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(files.read(path))
        except InputError:
            continue
    return tuple(result for result in found if result.schema < SCHEMA)


def read_all(root: Path) -> tuple[list[Result], list[str]]:
    """Return all results below `root`, sorted by path, and one sentence per file that could not be read."""
    results, problems = files.read_all(root)
    return rejudged(results), problems


def read_known(root: Path) -> tuple[list[Result], list[str], list[str]]:
    """Return all results below `root`, one sentence per file that is not a result, and one per damaged result."""
    results, foreign, damaged = files.read_known(root)
    return rejudged(results), foreign, damaged
