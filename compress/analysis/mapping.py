"""The verdict at every point of a map: one recipe's cost ratios over batch sizes and lengths, jointly adjusted.

All points of all recipes of a map are one family of comparisons: intervals are simultaneous (Bonferroni), and a point
is decided by Holm's method, as the recipes of a table are (`compress.analysis.odds`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compress.analysis.judging import unreliable
from compress.analysis.odds import jointly
from compress.analysis.verdict import Axis, cost_axis
from compress.records.phase import Phase
from compress.records.point import Point
from compress.records.result import Result
from compress.records.stats import Estimate

MapWord = Literal["SAVES", "COSTS MORE", "UNDECIDED", "NOT RELIABLE", "BROKEN", "NO VERDICT", "NOT MEASURED"]
Place = tuple[int, int | None]
"""Batch size and length; no length for images."""


@dataclass(frozen=True)
class Cell:
    """One point of a map."""

    place: Place
    word: MapWord = "NOT MEASURED"
    axis: Axis | None = None
    """Whether the ratio is of energy or latency; None without a ratio."""
    ratio: Estimate | None = None
    """Cost over that of the reference, with its interval for all points and recipes of the map (Bonferroni)."""
    alone: Estimate | None = None
    """The same with the interval of this point alone."""
    unreliable: tuple[str, ...] = ()
    """Why a NOT RELIABLE point is not: the disturbances of its measurement."""

    @property
    def decided(self) -> bool:
        """Whether the sign of the difference is shown."""
        return self.word in ("SAVES", "COSTS MORE")


@dataclass(frozen=True)
class Map:
    """The points of one recipe, of one phase for a language model."""

    result: Result
    reference: str
    """Name of the reference that verdicts compare with."""
    phase: Phase | None
    cells: tuple[Cell, ...]
    """Sorted by batch size, then by length; every batch size with every length, unless the workload states others."""
    comparisons: int
    """Number of ratios for which the intervals are adjusted."""

    @property
    def batch_sizes(self) -> list[int]:
        """The batch sizes, ascending."""
        return sorted({cell.place[0] for cell in self.cells})

    @property
    def lengths(self) -> list[int | None]:
        """The lengths, ascending; [None] for images."""
        return sorted({cell.place[1] for cell in self.cells}, key=lambda length: length or 0)

    @property
    def axes(self) -> list[Axis]:
        """The axes of the cells' ratios: one, or two where a meter measured only some points well enough."""
        return sorted({cell.axis for cell in self.cells if cell.axis is not None})


def maps(results: Sequence[Result]) -> list[Map]:
    """Return the maps of results that were measured at a grid of points, with intervals adjusted for all of them.

    Failed results, and those of ordinary runs, have none.
    """
    found = [(result, reference.name, list(_points(result))) for result, reference in _with_reference(results)]
    costs = [cost for result, name, places in found for _, _, point in places if (cost := _cost(point, name))]
    among = iter(jointly([estimate for _, estimate in costs]))
    made = []
    for result, reference, places in found:
        by_phase: dict[Phase | None, list[Cell]] = {}
        for place, phase, point in places:
            cell = Cell(place)
            if (cost := _cost(point, reference)) is not None and point is not None:
                adjusted = next(among)
                word = _word(point, cost[1], adjusted.differs)
                cell = Cell(place, word, cost[0], adjusted.cost, cost[1], _reasons(result, word, point))
            by_phase.setdefault(phase, []).append(cell)
        for phase, cells in by_phase.items():
            ordered = sorted(cells, key=lambda cell: (cell.place[0], cell.place[1] or 0))
            made.append(Map(result, reference, phase, tuple(ordered), len(costs)))
    return made


def _with_reference(results: Sequence[Result]) -> Iterator[tuple[Result, Any]]:
    for result in results:
        if result.error is None and (reference := result.verdict_reference) is not None:
            yield result, reference


def _points(result: Result) -> Iterator[tuple[Place, Phase | None, Point | None]]:
    """Yield place, phase and measured point of every point that the workload's map asks for; None if not measured."""
    phased = any(point.phase is not None for point in result.points)
    for asked in result.workload.get("mapped") or ():
        phase: Phase | None = asked.get("phase") or ("decode" if phased else None)
        place = asked["batch_size"], asked.get("sequence_length")
        yield place, phase, next((p for p in result.points if _is_asked(p, asked, phase)), None)


def _is_asked(point: Point, asked: Mapping[str, Any], phase: Phase | None) -> bool:
    new_tokens = asked.get("new_tokens") or point.new_tokens
    shape = asked["batch_size"], asked.get("sequence_length"), phase, new_tokens
    return point.natural is None and (point.batch_size, point.sequence_length, point.phase, point.new_tokens) == shape


def _cost(point: Point | None, reference: str) -> tuple[Axis, Estimate] | None:
    ratio = None if point is None else point.ratio(reference)
    return None if point is None or ratio is None else cost_axis(ratio, point.energy_source)


def _reasons(result: Result, word: MapWord, point: Point) -> tuple[str, ...]:
    reference = result.verdict_reference
    if word != "NOT RELIABLE" or reference is None:
        return ()
    return unreliable(point, reference.name, reference.points)


def _word(point: Point, cost: Estimate, differs: bool) -> MapWord:
    """Return the word of a point: its verdict's own where cost does not matter, otherwise by Holm's method."""
    own = None if point.verdict is None else point.verdict.word
    if own in ("NOT RELIABLE", "BROKEN", "NO VERDICT"):
        return own
    if not differs:
        return "UNDECIDED"
    return "SAVES" if cost.value < 1 else "COSTS MORE"
