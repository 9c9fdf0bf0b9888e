"""The one way to a terminal: text that somebody else may have written cannot move its cursor, colour or hide anything.

Names, notes, errors, examples and what a hub answers go out with every control character as its escape: `\\x1b[31m`
instead of red, `\\u202e` instead of reversed writing. Line breaks and tabs stay. Colours of our own tables do too: rich
keeps them apart from the text.
"""

import builtins
import re
import sys
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 and C1 without tab and line feed, marks and overrides of direction, line separators, halves of characters."""


def visible(text: object) -> str:
    """The text with every control character as its escape."""
    return CONTROL.sub(lambda found: repr(found.group())[1:-1], str(text))


def print(text: object, end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Prints like Python's own, with every control character visible."""
    builtins.print(visible(text), end=end, file=file, flush=flush)


def print_errors(problems: Iterable[str]) -> None:
    """Prints one `error:` a problem on standard error; its further lines are indented, so that none looks like one."""
    for problem in problems:
        print(f"error: {problem}".replace("\n", "\n  "), file=sys.stderr)


@cache
def _class() -> type["Console"]:
    from rich.console import Console
    from rich.segment import Segment

    class Visible(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            """Segments of text alone are changed: those that control the terminal are rich's own."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(visible(segment.text), segment.style)

    return Visible


def console(**options: Any) -> "Console":
    """A rich console, on standard output unless `stderr` is set."""
    return _class()(highlight=False, **options)


def guard_usage_errors(arguments: Iterable[str]) -> None:
    """Has typer print what it refuses through such a console, where an argument holds a control character."""
    if any(CONTROL.search(argument) for argument in arguments):
        from typer import rich_utils

        vars(rich_utils)["Console"] = _class()
