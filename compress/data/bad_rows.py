"""Rows of a split that cannot be examples, with the reason of each."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from compress.base.errors import InputError

MOST = 12
LONGEST = 60
"""Rows that an error lists, and characters of a value in it."""


class BadRows(InputError):
    """Rows that cannot be examples: one sentence for each reason, with the rows that it concerns."""

    def __init__(self, problems: Iterable[tuple[int, str]], place: Callable[[int], str] = "row {}".format):
        self.rows = tuple(dict.fromkeys(problems))
        by_reason: dict[str, list[str]] = {}
        for row, reason in self.rows:
            by_reason.setdefault(reason, []).append(place(row))
        super().__init__(f"{_listed(places)}: {reason}" for reason, places in by_reason.items())


def _listed(places: list[str]) -> str:
    shown = ", ".join(places[:MOST])
    return shown if len(places) <= MOST else f"{shown} and {len(places) - MOST} more"


def refuse(problems: Iterable[tuple[int, str]]) -> None:
    """Raise BadRows for rows with problems: (row, reason) pairs."""
    if found := list(problems):
        raise BadRows(found)


@contextmanager
def placed(name: str, place: Callable[[int], str]) -> Iterator[None]:
    """Name a table in the errors about it, and the places of its rows: they are not those of the split."""
    try:
        yield
    except BadRows as error:
        raise InputError(f"{name} {problem}" for problem in BadRows(error.rows, place).problems) from None
    except InputError as error:
        raise InputError(f"{name}: {problem}" for problem in error.problems) from None


def shown(value: object) -> str:
    """Return a value as text for an error."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
