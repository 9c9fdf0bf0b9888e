"""Numbers of a column of the data: grades of texts, in place of classes."""

import math
from typing import TYPE_CHECKING, Any

from compress.data.bad_rows import refuse, shown
from compress.data.tasks.labels import require_column

if TYPE_CHECKING:
    import datasets

WRITE = "write a number, or remove the row"


def read(raw: "datasets.Dataset", column: str) -> list[float]:
    """Return the numbers of a label column; classes count as the numbers in their names.

    Raises BadRows for rows without a finite number.
    """
    require_column(raw, column, "label")
    values = list(raw[column])
    names = getattr(raw.features[column], "names", None)
    if names is not None:
        values = [names[value] if isinstance(value, int) and 0 <= value < len(names) else value for value in values]
    numbers = [number(value) for value in values]
    refuse(
        (row, f"label column {column!r} has {shown(values[row])}; expected a number: {WRITE}")
        for row, found in enumerate(numbers)
        if found is None
    )
    return [found for found in numbers if found is not None]


def number(value: Any) -> float | None:
    """Return a finite number, also one that is written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
