"""Data of one table's picture, as plain values, so that the drawing process need not load the rest."""

from dataclasses import dataclass
from typing import Literal

from compress.report.charts.canvas import BLUE, GREY, VERMILLION, Span

KINDS: dict[str, tuple[str, str, str]] = {
    "front": ("on the front", VERMILLION, "D"),
    "other": ("other recipes", BLUE, "o"),
    "reference": ("references (not compressed)", GREY, "s"),
}
"""Kind of a mark -> legend text, colour and shape."""


@dataclass(frozen=True)
class Mark:
    """One row of a table in the picture."""

    name: str
    x: Span
    y: Span
    kind: Literal["front", "other", "reference"]
    steps: bool = False
    """Whether the row is on the front; a reference can be too."""


@dataclass(frozen=True)
class Panel:
    """The data of a table's picture."""

    title: str
    below: str
    beside: str
    marks: tuple[Mark, ...]
    """Marks sorted by accuracy, the best first."""
    missing: tuple[str, ...]
    """Names of rows that cannot be drawn."""
    stem: str = "pareto"
    """Stem of the file names."""
