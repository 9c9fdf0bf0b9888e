"""Errors for bad input and for results that cannot be written, and helpers that collect them.

This module imports next to nothing, so that `--help` starts fast.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

Made = TypeVar("Made")


class InputError(ValueError):
    """Bad input, detected before anything was loaded or written: one sentence per problem."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class NotWritten(RuntimeError):
    """Measured results could not be written (a full disk): one sentence per result."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def some(names: Sequence[object], most: int = 12) -> str:
    """Return the first of many names as text for an error or a note."""
    return ", ".join(map(str, names[:most])) + (" ..." if len(names) > most else "")


def innermost(error: BaseException) -> str:
    """Return the first line of a library's error; of a chain of errors, of the first one: it names the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


@contextmanager
def as_input_error(sentence: Callable[[str], str]) -> Iterator[None]:
    """Raise InputError of `sentence(reason)` for any exception that a user's files and settings cause in a library.

    Libraries raise all kinds of exceptions for bad files, plain Exception included: none of them is a bug of ours.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001
        raise InputError(sentence(innermost(error))) from None


class Gathering:
    """Collects the InputErrors of several pieces of work; `end` raises one with all problems, without repetition."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def attempt(self, work: Callable[[], Made]) -> Made | None:
        """Return the result of `work`, or None if it raised InputError."""
        try:
            return work()
        except InputError as error:
            self.problems.extend(error.problems)
            return None

    def end(self) -> None:
        """Raise one InputError with all problems, if there were any."""
        if self.problems:
            raise InputError(dict.fromkeys(self.problems))


def attempted(works: Iterable[Callable[[], Made]]) -> tuple[list[Made], list[str]]:
    """Return the results of all works that succeed, and the problems of those that raise InputError, each once."""
    results: list[Made] = []
    problems: list[str] = []
    for work in works:
        try:
            results.append(work())
        except InputError as error:
            problems.extend(error.problems)
    return results, list(dict.fromkeys(problems))


def gathered(works: Iterable[Callable[[], Made]]) -> list[Made]:
    """Return the results of all works. Raises one InputError with the problems of all that fail, each once."""
    results, problems = attempted(works)
    if problems:
        raise InputError(problems)
    return results
