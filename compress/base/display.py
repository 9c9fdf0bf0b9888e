"""How values appear in notebooks and interactive terminals.

A room that draws registers a view for a type of a room below it, so that plain values import no drawing code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class View:
    """Two drawings of one value."""

    html: Callable[[Any], str]
    """HTML for a notebook."""
    rich: Callable[[Any], Any]
    """A `rich` renderable for a terminal."""


VIEWS: dict[type, View] = {}


class Displayed:
    """Shows the registered view of its type; its `repr` if none is registered."""

    def __rich__(self) -> Any:
        view = VIEWS.get(type(self))
        return view.rich(self) if view else repr(self)

    def _repr_html_(self) -> str:
        view = VIEWS.get(type(self))
        return view.html(self) if view else f"<pre>{escape(repr(self))}</pre>"
