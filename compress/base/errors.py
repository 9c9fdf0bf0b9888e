"""The error for bad input, and that for results that cannot be written. On their own: `--help` need not import more."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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


def innermost(error: BaseException) -> str:
    """Return what a library's error says, in one line: the first of a chain of errors names the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


@contextmanager
def blamed(sentence: Callable[[str], str]) -> Iterator[None]:
    """Raise InputError of `sentence(reason)` for whatever other people's files and settings make a library raise.

    Libraries raise anything there, also plain Exception: not one of them is a mistake of ours.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001
        raise InputError(sentence(innermost(error))) from None


class Gathering:
    """Runs pieces of work that may each raise InputError; `end` raises one with the problems of all, each said once."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def made(self, work: Callable[[], Made]) -> Made | None:
        """Return what `work` returns, or None where it raised InputError."""
        try:
            return work()
        except InputError as error:
            self.problems.extend(error.problems)
            return None

    def end(self) -> None:
        """Raise the one InputError, if there were problems."""
        if self.problems:
            raise InputError(dict.fromkeys(self.problems))


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
