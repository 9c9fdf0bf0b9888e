"""Widths of a terminal table's columns: words are kept whole if the terminal is wide enough for them."""

from collections.abc import Sequence

from rich.cells import cell_len


def fitted(cells: Sequence[Sequence[str]], uncut: Sequence[bool], available: int) -> list[int] | None:
    """Return the width of every column for `available` characters, or None if the longest words do not fit.

    `cells` holds the texts of every column, and `uncut` whether its lines must not wrap. A column gets its longest word
    or line. What is left is given out character by character, to the column that lacks most.
    """
    whole = [max((cell_len(line) for text in column for line in text.splitlines()), default=0) for column in cells]
    words = [max((cell_len(word) for text in column for word in text.split()), default=0) for column in cells]
    widths = [line if keep else word for line, word, keep in zip(whole, words, uncut, strict=True)]
    left = available - sum(widths)
    if left < 0:
        return None
    for _ in range(min(left, sum(whole) - sum(widths))):
        lacking = [full - width for full, width in zip(whole, widths, strict=True)]
        widths[lacking.index(max(lacking))] += 1
    return widths
