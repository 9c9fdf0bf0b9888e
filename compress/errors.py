"""The error for bad input, and that for results that cannot be written. On their own: `--help` need not import more."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Made = TypeVar("Made")


class InputError(ValueError):
    """Bad input, met before anything was loaded or written: one sentence per problem."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class NotWritten(RuntimeError):
    """What was measured could not be written (a full disk): one sentence per result."""

    def __init__(self, problems: Iterable[str]):
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def attempted(works: Iterable[Callable[[], Made]]) -> tuple[list[Made], list[str]]:
    """Return what each of these returns, and the problems of those that raise InputError, each once."""
    made: list[Made] = []
    problems: list[str] = []
    for work in works:
        try:
            made.append(work())
        except InputError as error:
            problems.extend(error.problems)
    return made, list(dict.fromkeys(problems))


def gathered(works: Iterable[Callable[[], Made]]) -> list[Made]:
    """What each of these returns; where some raise InputError, one with the problems of all, each said once."""
    made, problems = attempted(works)
    if problems:
        raise InputError(problems)
    return made
