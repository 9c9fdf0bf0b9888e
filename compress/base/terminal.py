"""Safe output to a terminal: untrusted text cannot move the cursor, change colours or hide anything.

Names, notes, errors, examples and answers of a hub are printed with every control character escaped: `\\x1b[31m`
instead of red, `\\u202e` instead of reversed writing. Line breaks and tabs stay. The colours of our own tables stay:
rich keeps them apart from the text.
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
"""C0 and C1 without tab and line feed, direction marks and overrides, line separators, surrogates."""


def visible(text: object) -> str:
    """Return the text with every control character escaped."""
    return CONTROL.sub(lambda match: repr(match.group())[1:-1], str(text))


def print(text: object, end: str = "\n", file: TextIO | None = None, flush: bool = False) -> None:
    """Print like Python's `print`, with every control character escaped."""
    builtins.print(visible(text), end=end, file=file, flush=flush)


def print_errors(problems: Iterable[str]) -> None:
    """Print one `error:` per problem on standard error; further lines are indented, so that none looks like one."""
    for problem in problems:
        print(f"error: {problem}".replace("\n", "\n  "), file=sys.stderr)


@cache
def _visible_console() -> type["Console"]:
    from rich.console import Console
    from rich.segment import Segment

    class Visible(Console):
        def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
            """Escape segments of text only: segments that control the terminal come from rich itself."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(visible(segment.text), segment.style)

    return Visible


def console(**options: Any) -> "Console":
    """Return a rich console that escapes control characters, on standard output unless `stderr` is set."""
    return _visible_console()(highlight=False, **options)


def guard_usage_errors(arguments: Iterable[str]) -> None:
    """Make typer print usage errors through such a console if an argument contains a control character."""
    if any(CONTROL.search(argument) for argument in arguments):
        from typer import rich_utils

        vars(rich_utils)["Console"] = _visible_console()
