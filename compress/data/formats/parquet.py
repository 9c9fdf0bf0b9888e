"""Read the rows of parquet files. Shards must agree on the types of their columns and on the names of their classes.

`datasets` would cast every shard to the types of the first one: true and 2 become one label, and an id gets the name
that the first shard lists. Shards without rows have no say.
"""

import glob
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.base.errors import as_input_error, some
from compress.data.formats.text_files import check_columns
from compress.data.privacy import private_cache

if TYPE_CHECKING:
    import datasets

BATCH_ROWS = 1000
"""Rows read at once. By default, `datasets` takes those of the first row group, which may have none."""
READER = "datasets.packaged_modules.parquet.parquet"
"""Logger that prints an error which is raised as well."""
KINDS = (
    ("text", ("is_string", "is_large_string", "is_string_view")),
    ("number", ("is_integer", "is_floating")),
    ("bool", ("is_boolean",)),
    ("binary", ("is_binary", "is_large_binary", "is_binary_view")),
    ("list", ("is_list", "is_large_list", "is_fixed_size_list")),
)
"""Kinds of columns, and pyarrow's predicates of the types that one column can hold together."""


def read(files: Sequence[Path]) -> "datasets.Dataset":
    """Return the rows of parquet files, in order. Raises InputError for an unreadable file and unlike shards."""
    import datasets

    counts: dict[Path, int] = {}
    for file in files:
        counts[file], names = size(file)
        check_columns(file, len(names))
    filled = [file for file, count in counts.items() if count]
    if not filled:
        raise InputError(f"{files[0].name} is empty; expected at least one example")
    features = _common([(file, _features(file)) for file in filled])
    try:
        data_files = [glob.escape(str(file)) for file in filled]
        with _silent(READER):
            raw = datasets.load_dataset(
                "parquet",
                data_files=data_files,
                split="train",
                features=features,
                batch_size=BATCH_ROWS,
                cache_dir=private_cache(),
            )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = one_line(error.__cause__ or error)
        raise InputError(f"{some([file.name for file in filled], 4)} cannot be read as parquet ({reason})") from None
    if len(raw) != sum(counts.values()):
        raise InputError(f"{files[0].name}: {len(raw)} of {sum(counts.values())} rows were read; expected all of them")
    _check_texts(raw, filled)
    return raw


def _check_texts(raw: "datasets.Dataset", files: Sequence[Path]) -> None:
    """Raise InputError for a column of texts that are not UTF-8: they are decoded only when they are read."""
    import pyarrow

    for field in raw.data.table.schema:
        if pyarrow.types.is_string(field.type) or pyarrow.types.is_large_string(field.type):
            try:
                raw.data.table.column(field.name).validate(full=True)
            except pyarrow.ArrowInvalid as error:
                names, reason = some([file.name for file in files], 4), one_line(error)
                raise InputError(
                    f"{names}: column {field.name!r} holds text that is not UTF-8 ({reason}); write the file again "
                    "from decoded texts"
                ) from None


def size(file: Path) -> tuple[int, list[str]]:
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


def _features(file: Path) -> "datasets.Features":
    """Return the columns of a file, with the names of classes that `datasets` stored in its metadata."""
    import datasets
    import pyarrow.parquet

    def problem(reason: str) -> str:
        return (
            f"{file.name}: its metadata 'huggingface' cannot be read ({reason}); expected the features that "
            "Dataset.to_parquet writes: write the file again, or remove that metadata"
        )

    schema = pyarrow.parquet.read_schema(file)
    with as_input_error(problem):
        return datasets.Features.from_arrow_schema(schema)


def _common(shards: Sequence[tuple[Path, "datasets.Features"]]) -> "datasets.Features":
    """Return the columns of all shards together. Raises InputError for a column that differs between two shards."""
    import datasets

    first_of: dict[str, tuple[Path, Any]] = {}
    for file, features in shards:
        for name, feature in features.items():
            first, chosen = first_of.setdefault(name, (file, feature))
            if not _kind(chosen):
                first_of[name] = file, feature
            elif _kind(feature) not in ("", _kind(chosen)) or _classes(feature) != _classes(chosen):
                raise InputError(
                    f"{file.name}: column {name!r} holds {_described(feature)}, that of {first.name} "
                    f"{_described(chosen)}; expected the same in all shards: write them again with one type"
                )
            elif feature != chosen:
                first_of[name] = first, _wider(chosen, feature)
    return datasets.Features({name: feature for name, (_, feature) in first_of.items()})


def _kind(feature: Any) -> str:
    """Return the kind of a column: values of one kind have one meaning. Empty for a column of nulls."""
    import datasets
    import pyarrow

    held = datasets.Features({"": feature}).arrow_schema.field("").type
    while isinstance(held, pyarrow.DictionaryType | pyarrow.BaseExtensionType):
        held = held.value_type if isinstance(held, pyarrow.DictionaryType) else held.storage_type
    if pyarrow.types.is_null(held):
        return ""
    names = [kind for kind, tests in KINDS if any(getattr(pyarrow.types, test)(held) for test in tests)]
    return names[0] if names else str(held).partition("[")[0].partition("<")[0]


def _classes(feature: Any) -> list[str] | None:
    """Return the names of the classes in a column, by id, also those of its lists; None for one without classes."""
    return getattr(getattr(feature, "feature", feature), "names", None)


def _described(feature: Any) -> str:
    names = _classes(feature)
    shown = getattr(feature, "dtype", None) or type(feature).__name__
    return f"{shown}" if names is None else f"classes {', '.join(names[:6])}{' ...' if len(names) > 6 else ''}"


def _wider(chosen: Any, other: Any) -> Any:
    """Return a type for the numbers of both columns; columns of other kinds keep the first one's."""
    import datasets

    if _kind(chosen) != "number" or _classes(chosen) is not None:
        return chosen
    whole = all("int" in str(feature.dtype) for feature in (chosen, other))
    return datasets.Value("int64" if whole else "float64")


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Disable a logger."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
