"""Files of sound that a table names: the column becomes absolute paths, and is never decoded here.

test/metadata.csv  test/1.wav  test/2.flac     file_name,text
"""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.base.reading import resolved
from compress.data.bad_rows import refuse
from compress.data.dataset import Dataset
from compress.data.formats.image_folders import FILE_NAME
from compress.data.look_alike import look_alike
from compress.data.split_files import SplitFiles

if TYPE_CHECKING:
    import datasets


def undecoded(raw: "datasets.Dataset") -> "datasets.Dataset":
    """Return the examples with sound as it is stored: bytes, paths or arrays."""
    import datasets

    kept = [name for name, feature in raw.features.items() if isinstance(feature, datasets.Audio)]
    for name in kept:
        raw = raw.cast_column(name, datasets.Audio(decode=False))
    return raw


def by_table(raw: "datasets.Dataset", split: SplitFiles, root: Path, spec: Dataset) -> "datasets.Dataset":
    """Return a table's examples with absolute paths in `spec.audio`, if its column holds file names.

    Names are relative to the table's folder. They must stay inside the data's folder, which the data's hash covers.
    Raises BadRows for rows that name no such file.
    """
    column = spec.audio if spec.audio in raw.column_names else FILE_NAME
    if column not in raw.column_names or getattr(raw.features[column], "dtype", "") not in ("string", "large_string"):
        return raw
    if root.is_file():
        raise InputError("names files of sound; give the folder that holds table and sound as dataset.path")
    folder = split.tables[0].parent
    names = list(raw[column])
    refuse((row, problem) for row, name in enumerate(names) if (problem := _problem(name, column, folder, root)))
    paths = [str(folder / name) for name in names]
    return raw.remove_columns([column]).add_column(spec.audio, paths)


def _problem(name: Any, column: str, folder: Path, root: Path) -> str:
    """Return why a row names no file of sound of the data; empty if it does."""
    if not name:
        return f"column {column!r} is empty; expected the name of a file of sound"
    if "\0" in name or not (folder / name).is_file():
        others = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
        return f"no file of sound {name!r} in {folder}{look_alike(name, others)}"
    if PurePosixPath(name).is_absolute() or not resolved(folder / name).is_relative_to(resolved(root)):
        return f"{name!r} lies outside of {root}; move it inside"
    if any(part.startswith(".") and part != "." for part in PurePosixPath(name).parts if part != ".."):
        return f"{name!r} is a hidden file, which is ignored; rename it"
    return ""
