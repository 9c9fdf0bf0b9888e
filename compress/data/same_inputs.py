"""Comparison of two splits by their rows: other bytes (gzip, line ends, shards, order) can hold the same examples."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.data.formats import images
from compress.data.tasks import task_of
from compress.data.workload import Workload

if TYPE_CHECKING:
    import datasets


def same_inputs(train: "datasets.Dataset", test: "datasets.Dataset", workload: Workload) -> bool:
    """Return whether two splits hold the same inputs, in any order and file format and with any labels."""
    if len(train) != len(test):
        return False
    columns = [column for column in task_of(workload.task).columns if column.kind != "label"]
    names = [name for column in columns if (name := getattr(workload.dataset, column.field)) is not None]
    if not set(names) <= {*train.column_names} & {*test.column_names}:
        return False  # reading the columns reports which one is missing
    return _hashes(train, names) == _hashes(test, names)


def _hashes(raw: "datasets.Dataset", names: Sequence[str]) -> list[int]:
    """Return the sorted hashes of the rows of some columns."""
    import datasets

    for name in names:
        if isinstance(raw.features[name], datasets.Audio):
            raw = raw.cast_column(name, datasets.Audio(decode=False))
        if isinstance(raw.features[name], datasets.Image):
            raw = raw.cast_column(name, datasets.Image(decode=False))
    rows = raw.select_columns(list(names))
    return sorted(hash(tuple(_content(row[name]) for name in names)) for row in rows)


def _content(value: Any) -> int:
    """Return a hash of the bytes of a picture or of sound, or of the text of another value."""
    is_picture = isinstance(value, Mapping) and (value.get("bytes") or value.get("path"))
    return hash(images.stored_bytes(value) if is_picture else str(value))
