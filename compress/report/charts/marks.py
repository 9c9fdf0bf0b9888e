"""What one table gives to its picture: plain values, so that the process that draws need not load the rest."""

from dataclasses import dataclass
from typing import Literal

from compress.report.charts.canvas import BLUE, GREY, VERMILLION, Span

KINDS: dict[str, tuple[str, str, str]] = {
    "front": ("on the front", VERMILLION, "D"),
    "other": ("other recipes", BLUE, "o"),
    "reference": ("references (not compressed)", GREY, "s"),
}
"""Kind of a mark -> words of the legend, colour, shape."""


@dataclass(frozen=True)
class Mark:
    """One row of a table in the picture."""

    name: str
    x: Span
    y: Span
    kind: Literal["front", "other", "reference"]
    steps: bool = False
    """Whether it is on the front, as a reference may be too."""


@dataclass(frozen=True)
class Panel:
    """A table's picture."""

    title: str
    below: str
    beside: str
    marks: tuple[Mark, ...]
    """The best first."""
    missing: tuple[str, ...]
    """Names of rows that cannot be drawn."""
    stem: str = "pareto"
    """What its files are called."""
