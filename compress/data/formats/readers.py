"""Read the rows of tables: text files are read here, with every text as written; `datasets` reads parquet."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.dataset import Dataset
from compress.data.formats import conll, delimited, json_rows, parquet, text_files
from compress.data.formats.parquet import one_line
from compress.data.split_files import kind, unknown_kind

if TYPE_CHECKING:
    import datasets


def read_files(files: list[Path], spec: Dataset) -> "datasets.Dataset":
    """Return the rows of tables of one kind, in order."""
    if not kind(files[0]):
        raise InputError(unknown_kind(files[0]))
    if sum(file.stat().st_size for file in files) == 0:
        raise InputError(f"{files[0].name} is empty; expected at least one example")
    return parquet.read(files) if kind(files[0]) == ".parquet" else _from_text(files, spec)


def _from_text(files: list[Path], spec: Dataset) -> "datasets.Dataset":
    import datasets
    import pyarrow

    parts = [_read(file, spec) for file in files]
    if kind(files[0]) in delimited.SEPARATORS and any(list(part) != list(parts[0]) for part in parts):
        raise InputError(f"{files[0].name} differs in columns from other files of its split; expected the same")
    names = dict.fromkeys(name for part in parts for name in part)
    text_files.check_columns(files[0], len(names))
    merged: dict[str, list[Any]] = {name: [] for name in names}
    for part in parts:
        count = max((len(values) for values in part.values()), default=0)
        for name, values in merged.items():
            values.extend(part.get(name, [None] * count))
    try:
        return datasets.Dataset(pyarrow.table(merged))
    except (pyarrow.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{files[0].name}: its columns cannot be read ({one_line(error)})") from None


def _read(file: Path, spec: Dataset) -> dict[str, list[Any]]:
    """Return the columns of one text file."""
    if kind(file) == ".txt":
        text, _ = text_files.read(file)
        return {"text": [text.replace("\r\n", "\n").replace("\r", "\n")] if text else []}
    if kind(file) in conll.KINDS:
        return conll.read(file, spec.csv).columns
    if kind(file) in delimited.SEPARATORS:
        table = delimited.read(file, spec.csv)
        return {name: [row[index] for row in table.rows] for index, name in enumerate(table.columns)}
    return json_rows.read(file, [name for name in (spec.text, spec.text_pair) if name])
