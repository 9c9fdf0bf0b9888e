"""A small picture for the terminal: accuracy against cost in characters, with the front starred and names if they fit.

+0.3 |        · smoothquant_int8          ★ on the front   · other recipes   □ references
 0.0 |  ★ bert_int8          □ bf16 eager
-1.4 |          · bert_distill
     +--------------------------------
      0.4                1         1.8
"""

import math
from collections.abc import Sequence

from compress.report.charts.marks import Mark, Panel
from compress.report.text import digits

SIGNS = {"front": "★", "other": "·", "reference": "□"}
ROWS = 12
LEAST, MOST = 50, 100
"""Least width to draw anything, and the largest width, in columns."""
LEFT = 9
"""Columns of the scale at the left, including its line."""


def sketch(panel: Panel, columns: int) -> list[str]:
    """Return the lines of the picture for a terminal of this width; none if it is too narrow, or for a single point."""
    if columns < LEAST or len(panel.marks) < 2:
        return []
    width = min(columns, MOST) - LEFT - 1
    to_column, to_row = (
        _scale([m.x[0] for m in panel.marks], width),
        _scale([m.y[0] for m in panel.marks], ROWS, log=False),
    )
    grid = [[" "] * width for _ in range(ROWS)]
    positions = [(ROWS - 1 - to_row(m.y[0]), to_column(m.x[0]), m) for m in panel.marks]
    # the front first: its names get space, and its signs are drawn on top
    order = sorted(positions, key=lambda position: not position[2].steps)
    for row, column, mark in reversed(order):
        grid[row][column] = _sign(mark)
    for row, column, mark in order:
        _name(grid[row], column, mark.name)
    best, worst = max(m.y[0] for m in panel.marks), min(m.y[0] for m in panel.marks)
    scale = {0: f"{best:+.3g}", ROWS - 1: f"{worst:+.3g}"}
    lines = [f"{scale.get(row, ''):>{LEFT - 2}} |{''.join(cells)}".rstrip() for row, cells in enumerate(grid)]
    kinds = dict.fromkeys(_sign(m) for m in panel.marks)
    legend = {"★": "on the front", "·": "other recipes", "□": "references"}
    return [
        f"{panel.beside};  {'  '.join(f'{sign} {legend[sign]}' for sign in legend if sign in kinds)}",
        *lines,
        f"{'':{LEFT - 1}}+{'-' * width}",
        f"{'':{LEFT}}{_ticks([m.x[0] for m in panel.marks], to_column, width)}".rstrip(),
        f"{'':{LEFT}}{panel.below}",
    ]


def _sign(mark: Mark) -> str:
    return SIGNS["front"] if mark.steps else SIGNS[mark.kind]


def _scale(values: Sequence[float], cells: int, log: bool = True) -> "Scale":
    log = log and min(values) > 0 and max(values) / min(values) > 4
    return Scale(min(values), max(values), cells, log)


class Scale:
    """Map from a value to the index of a cell."""

    def __init__(self, low: float, high: float, cells: int, log: bool):
        self._turn = math.log if log else float
        self._low, self._span, self._cells = self._turn(low), self._turn(high) - self._turn(low), cells

    def __call__(self, value: float) -> int:
        share = (self._turn(value) - self._low) / self._span if self._span else 0.5
        return round(share * (self._cells - 1))


def _name(row: list[str], column: int, name: str) -> None:
    """Write a name to the right or left of its point if the space is free; otherwise it is left out."""
    for start in (column + 2, column - 1 - len(name)):
        end = start + len(name)
        around = row[max(0, start - 1) : end + 1] if start > column else row[max(0, start - 1) : end]
        if start >= 0 and end <= len(row) and set(around) == {" "}:
            row[start:end] = name
            return


def _ticks(values: Sequence[float], across: "Scale", width: int) -> str:
    """Return the smallest and largest cost, and 1 if it is between them and does not overlap."""
    line = [" "] * width
    low, high = min(values), max(values)
    for value in [low, high, *([1.0] if low < 1 < high else [])]:
        words = digits(value, 2) if value != 1 else "1"
        start = min(max(0, across(value) - len(words) // 2), width - len(words))
        if all(cell == " " for cell in line[max(0, start - 1) : start + len(words) + 1]):
            line[start : start + len(words)] = words
    return "".join(line)
