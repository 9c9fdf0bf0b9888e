"""Read the rows of tables: text files are read here, with every text as written; `datasets` reads parquet."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.dataset import Dataset
from compress.data.formats import delimited, json_rows, text_files
from compress.data.privacy import private_cache
from compress.data.split_files import kind, unknown_kind

if TYPE_CHECKING:
    import datasets


def read_files(files: list[Path], spec: Dataset) -> "datasets.Dataset":
    """Return the rows of tables of one kind, in order."""
    if not kind(files[0]):
        raise InputError(unknown_kind(files[0]))
    if sum(file.stat().st_size for file in files) == 0:
        raise InputError(f"{files[0].name} is empty; expected at least one example")
    return _from_parquet(files) if kind(files[0]) == ".parquet" else _from_text(files, spec)


def _from_text(files: list[Path], spec: Dataset) -> "datasets.Dataset":
    import datasets
    import pyarrow

    parts = [_read(file, spec) for file in files]
    if kind(files[0]) in delimited.SEPARATORS and any(list(part) != list(parts[0]) for part in parts):
        raise InputError(f"{files[0].name} differs in columns from other files of its split; expected the same")
    names = dict.fromkeys(name for part in parts for name in part)
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
    if kind(file) in delimited.SEPARATORS:
        table = delimited.read(file, spec.csv)
        return {name: [row[index] for row in table.rows] for index, name in enumerate(table.columns)}
    return json_rows.read(file, [name for name in (spec.text, spec.text_pair) if name])


def _from_parquet(files: list[Path]) -> "datasets.Dataset":
    import datasets

    expected = sum(parquet_rows(file)[0] for file in files)
    try:
        data_files = [glob.escape(str(file)) for file in files]
        raw = datasets.load_dataset("parquet", data_files=data_files, split="train", cache_dir=private_cache())
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        if expected == 0:
            raise InputError(f"{files[0].name} is empty; expected at least one example") from None
        reason = one_line(error.__cause__ or error)
        raise InputError(f"{files[0].name} cannot be read as parquet ({reason})") from None
    if len(raw) != expected:
        raise InputError(f"{files[0].name}: {len(raw)} of {expected} rows were read; expected all of them")
    return raw


def parquet_rows(file: Path) -> tuple[int, list[str]]:
    """Return the number of rows and the column names of a parquet file."""
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            return parquet.metadata.num_rows, list(parquet.schema_arrow.names)
    except (OSError, ValueError) as error:
        raise InputError(f"{file.name} cannot be read as parquet ({one_line(error)})") from None


def one_line(error: BaseException) -> str:
    """Return type and message of an error, shortened to one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
