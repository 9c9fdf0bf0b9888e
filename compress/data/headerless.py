"""Names for the columns of csv and tsv files without a header, from their values.

    1,"A fine film"          -> label, text       the first row is data: 1 occurs again below it
    label,sentence           -> None              a header, whatever its names are

The first row is data if no column has a usual name and some cell of it is a value like those below: one that occurs
again in its column, or a number in a column of numbers.
"""

from collections.abc import Sequence
from statistics import fmean

from compress.data.tasks.columns import Column

FEWEST_WORDS = 3
"""Words that a second text has on average."""


def names(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> list[str] | None:
    """Return a name for each column of these rows; None if the first one is a header, or if roles cannot be told.

    `columns` are those of the task: its texts are the longest columns, its label has the fewest distinct values.
    """
    if len(rows) < 2 or not _is_data(rows, columns) or any(column.kind == "image" for column in columns):
        return None
    values = list(zip(*rows, strict=True))
    distinct = [len(set(column)) for column in values]
    required = [column for column in columns if not column.optional]
    if len(values) < len(required):
        return None
    found = [f"column_{index}" for index in range(len(values))]
    left = list(range(len(values)))
    for column in sorted(required, key=lambda column: column.kind != "label"):
        if column.kind == "label":
            # a label has several values that repeat, and none that is empty: other columns are often constant
            usable = [i for i in left if 1 < distinct[i] < len(rows) and all(cell.strip() for cell in values[i])]
            if not usable:
                return None
            index = min(usable, key=lambda i: (distinct[i], fmean(map(len, values[i]))))
        else:
            index = max(left, key=lambda i: fmean(map(len, values[i])))
        found[index] = column.field
        left.remove(index)
    second = next((column for column in columns if column.optional and column.kind == "text"), None)
    if second is not None and len(left) == 1 and fmean(len(v.split()) for v in values[left[0]]) >= FEWEST_WORDS:
        found[left[0]] = second.field
    return found


def _is_data(rows: Sequence[Sequence[str]], columns: Sequence[Column]) -> bool:
    """Return whether the first row is data."""
    first, *below = rows
    known = {name for column in columns for name in column.names}
    if any(cell.strip().lower() in known for cell in first) or _is_counted(first):
        return False
    pairs = zip(first, zip(*below, strict=True), strict=True)
    return any(cell in others or all(map(_is_number, (cell, *others))) for cell, others in pairs)


def _is_counted(first: Sequence[str]) -> bool:
    """Return whether these are the names that pandas gives: 0, 1, 2, after an index without a name."""
    named = first[1:] if first[0] == "" else first
    return list(named) == [str(number) for number in range(len(named))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
