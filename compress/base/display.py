"""Display of values in notebooks and interactive terminals.

A package that draws registers a view for a type of a lower package, so that plain values import no drawing code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class View:
    """Display functions of one type."""

    html: Callable[[Any], str]
    """Return HTML for a notebook."""
    rich: Callable[[Any], Any]
    """Return a `rich` renderable for a terminal."""


VIEWS: dict[type, View] = {}


class Displayed:
    """Base class that shows the view registered for its type, or its `repr` if none is registered."""

    def __rich__(self) -> Any:
        view = VIEWS.get(type(self))
        return view.rich(self) if view else repr(self)

    def _repr_html_(self) -> str:
        view = VIEWS.get(type(self))
        return view.html(self) if view else f"<pre>{escape(repr(self))}</pre>"
