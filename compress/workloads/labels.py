"""Class labels of examples as the ids that a model's head uses.

A label is an id, or a name that the model's configuration lists. Where a data set names its ids and the model has the
same names in another order, the names decide.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from compress.config import InputError

if TYPE_CHECKING:
    import datasets

WHOLE = re.compile(r"-?[0-9]{1,18}")


def label_ids(raw: "datasets.Dataset", column: str, config: Any) -> list[int]:
    """One id per example, all below the model's number of labels. Raises InputError otherwise."""
    require_column(raw, column, "label")
    names = {str(name).lower(): int(index) for index, name in config.id2label.items()}
    values: Sequence[Any] = raw[column]
    given = getattr(raw.features[column], "names", None)
    if given and {str(name).lower() for name in given} == set(names):
        values = [None if value is None else given[value] if value >= 0 else value for value in values]
    ids: list[int] = []
    for row, value in enumerate(values):
        number = _id(value, names)
        if number is None:
            raise InputError(
                f"label column {column!r}, row {row}: {value!r} is neither a number nor a label of the model; "
                f"its labels are {_listed(list(config.id2label.values()))}; write numbers, or name the classes in the "
                "model's config.json (id2label and label2id)"
            )
        ids.append(number)
    _check_range(ids, column, len(names))
    return ids


def _id(value: Any, names: dict[str, int]) -> int | None:
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in names:
            return names[text.lower()]
        return int(text) if WHOLE.fullmatch(text) else None
    if isinstance(value, (bool, int)) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return None


def _check_range(ids: list[int], column: str, count: int) -> None:
    low, high = min(ids), max(ids)
    if low < 0:
        raise InputError(
            f"label column {column!r}: label {low}; hidden labels (-1) cannot be judged, use a labelled split"
        )
    if high >= count:
        raise InputError(f"label column {column!r}: label {high}, but the model has {count} labels (0 to {count - 1})")


def require_column(raw: "datasets.Dataset", column: str, what: str) -> None:
    """Raises InputError when the examples have no such column."""
    if column not in raw.column_names:
        raise InputError(
            f"no {what} column {column!r}; the data has {_listed(raw.column_names)}; set dataset.{what} to one of them"
        )


def _listed(names: Sequence[Any], most: int = 12) -> str:
    return ", ".join(str(name) for name in names[:most]) + (" ..." if len(names) > most else "")
