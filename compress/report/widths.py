"""Widths of a terminal table's columns: words are kept whole if the terminal is wide enough for them."""

import re
from collections.abc import Sequence

from rich.cells import cell_len

PIECE = re.compile(r"[^-_.]*[-_.]+|[^-_.]+")
"""Part of a name that stays whole: up to a sign that joins its words."""


def fitted(
    cells: Sequence[Sequence[str]], uncut: Sequence[bool], available: int, folding: bool = False
) -> list[int] | None:
    """Return the width of every column for `available` characters, or None if the longest words do not fit.

    `cells` holds the title and the texts of every column, and `uncut` whether its lines must not wrap. A column gets
    its longest word or line. What is left is given out character by character, to the narrowest column with a line
    that does not fit; titles wrap at words. With `folding`, lines that must not wrap may be `folded`.
    """
    words = [max((cell_len(word) for text in column for word in text.split()), default=0) for column in cells]
    lines = [[line for text in column[1:] for line in text.splitlines()] for column in cells]
    pieces = [max((cell_len(piece) for line in own for piece in PIECE.findall(line)), default=0) for own in lines]
    whole = [max(word, *map(cell_len, column), 0) for word, column in zip(words, lines, strict=True)]
    least = [max(piece, cell_len(column[0])) for piece, column in zip(pieces, cells, strict=True)] if folding else whole
    widths = [line if keep else word for line, word, keep in zip(least, words, uncut, strict=True)]
    left = available - sum(widths)
    if left < 0:
        return None
    for _ in range(min(left, sum(whole) - sum(widths))):
        widths[min((i for i, full in enumerate(whole) if widths[i] < full), key=widths.__getitem__)] += 1
    return widths


def folded(name: str, width: int) -> str:
    """Return a name with line breaks after `-`, `_` and `.`, so that its lines have at most `width` columns."""
    lines: list[str] = []
    for line in name.splitlines():
        lines.append("")
        for piece in PIECE.findall(line):
            if lines[-1] and cell_len(lines[-1] + piece) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)
