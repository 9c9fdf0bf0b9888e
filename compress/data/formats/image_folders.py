"""Pictures in files: in class folders, whose names are the classes, or named by a table.

    test/cat/a.png   test/cat/2020/b.png        both of class cat: the first folder below the split
    test/metadata.csv  test/1.png  test/2.png   file_name,label

Every picture of the split is judged: one that a table does not name, or names twice, is an error.
"""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from compress.base.config import InputError
from compress.base.reading import resolved
from compress.data.dataset import Dataset
from compress.data.split_files import SplitFiles

if TYPE_CHECKING:
    import datasets

CLASS_FOLDERS = "class folders"
"""`builder_name` of examples whose labels are names of folders."""
FILE_NAME = "file_name"
"""The column of hub data sets that names pictures."""


def by_class(found: SplitFiles, spec: Dataset) -> "datasets.Dataset":
    """Return one example per picture, labelled with the name of its class folder. Raises InputError for others."""
    import datasets

    assert found.folder is not None
    parts = [path.relative_to(found.folder).parts for path in found.pictures]
    loose = [part[0] for part in parts if len(part) == 1]
    if loose:
        raise InputError(
            f"{found.folder}: {len(loose)} pictures lie in no class folder ({', '.join(loose[:3])}); expected "
            f"{found.folder.name}/CLASS/picture, or a table (metadata.csv with {FILE_NAME},{spec.label}) beside them"
        )
    columns = {spec.image: [str(path) for path in found.pictures], spec.label: [part[0] for part in parts]}
    features = datasets.Features({spec.image: datasets.Image(decode=False), spec.label: datasets.Value("string")})
    info = datasets.DatasetInfo(features=features, builder_name=CLASS_FOLDERS)
    return datasets.Dataset.from_dict(columns, info=info)


def by_table(raw: "datasets.Dataset", found: SplitFiles, root: Path, spec: Dataset) -> "datasets.Dataset":
    """Return the examples of a table with its pictures in `spec.image`, where that column holds names of files.

    Names are relative to the table's folder, and stay in the data's: its content tells one data set from another.
    """
    import datasets

    column = spec.image if spec.image in raw.column_names else FILE_NAME
    if column not in raw.column_names or not _is_text(raw.features[column]):
        if found.pictures:
            raise InputError(
                f"{found.tables[0].name}: no column {spec.image!r} or {FILE_NAME!r} with names of the "
                f"{len(found.pictures)} pictures beside it; it has {', '.join(raw.column_names)}; set dataset.image"
            )
        return raw
    if root.is_file():
        raise InputError("names image files; give the folder that holds table and images as dataset.path")
    folder = found.tables[0].parent
    paths = [_picture(name, row, column, folder, root) for row, name in enumerate(raw[column])]
    _check_whole(paths, found)
    others = raw.remove_columns([column])
    return others.add_column(spec.image, [str(path) for path in paths]).cast_column(
        spec.image, datasets.Image(decode=False)
    )


def _is_text(feature: object) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _picture(name: str | None, row: int, column: str, folder: Path, root: Path) -> Path:
    place = f"row {row} of column {column!r}"
    if not name or "\0" in name or not (folder / name).is_file():
        raise InputError(f"{place}: no image file {name!r} in {folder}")
    inside = resolved(folder / name).is_relative_to(resolved(root))
    if PurePosixPath(name).is_absolute() or not inside:
        raise InputError(f"{place}: {name!r} lies outside of {root}; move it inside")
    if any(part.startswith(".") and part != "." for part in PurePosixPath(name).parts if part != ".."):
        raise InputError(f"{place}: {name!r} is a hidden file, which is no part of the data; rename it")
    return folder / name


def _check_whole(paths: list[Path], found: SplitFiles) -> None:
    """Raise InputError unless the table names every picture of the split once."""
    named = Counter(path.resolve() for path in paths)
    table = found.tables[0].name
    twice = [path.name for path, count in named.items() if count > 1]
    if twice:
        raise InputError(f"{table}: names pictures more than once ({', '.join(twice[:3])}); expected one row each")
    lacking = [path.name for path in found.pictures if path.resolve() not in named]
    if lacking:
        raise InputError(
            f"{table}: names {len(paths)} pictures, but not {len(lacking)} of {len(found.pictures)} that lie beside it "
            f"({', '.join(lacking[:3])}); expected every picture of the split: add rows, or move those pictures away"
        )
