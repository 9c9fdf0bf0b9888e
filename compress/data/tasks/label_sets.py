"""Read several labels per example as ids of the model; a row that is no list of labels is refused by its number.

    labels: [joy, love]               a list of names or ids in one column, by the rules of `labels`
    joy: 1, love: 1, anger: 0         one column for each label: 1 or true if the example has it (`label_columns`)

An example may have no label.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.bad_rows import BadRows, refuse, shown
from compress.data.dataset import Dataset
from compress.data.tasks import labels
from compress.data.tasks.class_names import class_names
from compress.data.tasks.labels import Classes, Unmapped, require_column

if TYPE_CHECKING:
    import datasets

HAS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


@dataclass(frozen=True)
class LabelSets:
    """The labels of every example."""

    ids: list[list[int]]
    """The model's ids of an example's labels, in order."""
    note: str = ""
    """Note for readers of the results on how ids were found; empty if there is none."""


def read(raw: "datasets.Dataset", spec: Dataset, config: Any) -> LabelSets:
    """Return the labels of raw examples. Raises BadRows for rows whose labels cannot be read."""
    found = _of_columns(raw, spec.label_columns, config) if spec.label_columns else _of_lists(raw, spec, config)
    if not any(found.ids):
        raise InputError(f"none of the {len(found.ids)} examples has a label; expected a split with labels")
    return found


def _of_lists(raw: "datasets.Dataset", spec: Dataset, config: Any) -> LabelSets:
    require_column(raw, spec.label, "label")
    given = list(raw[spec.label])
    own = getattr(getattr(raw.features[spec.label], "feature", None), "names", None)
    refuse((row, why) for row, values in enumerate(given) if (why := _problem(values, own)) is not None)
    flat = [value for values in given for value in values]
    try:
        found = labels.mapped(flat, own, spec.label, config, spec.labels)
    except Unmapped as error:
        texts = [{labels.text_of(value if own is None else own[value]) for value in values} for values in given]
        raise BadRows((row, str(error)) for row, each in enumerate(texts) if error.label in each) from None
    ids = iter(found.ids)
    return LabelSets([sorted({next(ids) for _ in values}) for values in given], found.note)


def _problem(values: Any, names: Sequence[str] | None) -> str | None:
    """Return why a row has no list of labels, or None."""
    if not isinstance(values, list):
        return (
            f"its labels are {shown(values)}; expected a list, which csv and tsv cannot hold: write parquet or jsonl, "
            "or one column for each label, listed in dataset.label_columns"
        )
    for value in values:
        if not isinstance(value, str | int) or isinstance(value, bool):
            return f"its labels contain {shown(value)}; expected names or ids"
        if isinstance(value, int) and value < 0:
            return f"its labels contain {value}, as in hidden test sets; expected a split with labels"
        if names is not None and isinstance(value, int) and value >= len(names):
            return f"its labels contain {value}, but the data's metadata names {len(names)}; correct the metadata"
    return None


def _of_columns(raw: "datasets.Dataset", columns: Sequence[str], config: Any) -> LabelSets:
    for column in columns:
        require_column(raw, column, "label_columns")
    ids, note = _ids_of(columns, config)
    rows = list(zip(*(list(raw[column]) for column in columns), strict=True))
    has = [[HAS.get(labels.text_of(value).lower()) if _is_plain(value) else None for value in row] for row in rows]
    refuse(
        (
            row,
            f"column {column!r} has {shown(value)}; expected 1 or 0 (true or false): whether the example has the label",
        )
        for row, (values, known) in enumerate(zip(rows, has, strict=True))
        for column, value, answer in zip(columns, values, known, strict=True)
        if answer is None
    )
    return LabelSets([sorted(id for id, answer in zip(ids, known, strict=True) if answer) for known in has], note)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _ids_of(columns: Sequence[str], config: Any) -> tuple[list[int], str]:
    """Return the model's id of every column, and a note if only the order decides."""
    model = Classes("dataset.label_columns", class_names(config))
    if model.unnamed and len(columns) == len(model.names):
        return list(range(len(columns))), "the model does not name its labels; dataset.label_columns are taken in order"
    found = labels.mapped(columns, None, "dataset.label_columns", config, "names").ids
    lacking = [name for number, name in enumerate(model.names) if number not in found]
    if lacking:
        raise InputError(
            f"dataset.label_columns: has no column for the model's {', '.join(lacking[:4])}; expected a column for "
            f"each of its labels: {model.listed}"
        )
    return found, ""
