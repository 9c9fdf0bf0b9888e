"""Pictures in files: in class folders, whose names are the classes, or listed in a table.

    test/cat/a.png   test/cat/2020/b.png        both of class cat: the first folder below the split
    test/metadata.csv  test/1.png  test/2.png   file_name,label

Every picture of the split is evaluated: a picture that is missing in the table, or listed twice, is an error.
"""

from collections import Counter
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from compress.base.config import InputError
from compress.base.reading import resolved
from compress.data.dataset import Dataset
from compress.data.look_alike import look_alike
from compress.data.split_files import SplitFiles

if TYPE_CHECKING:
    import datasets

CLASS_FOLDERS = "class folders"
"""`builder_name` of examples with folder names as labels."""
FILE_NAME = "file_name"
"""Column for picture names in hub data sets."""


def by_class(split: SplitFiles, spec: Dataset) -> "datasets.Dataset":
    """Return one example per picture, labelled with its class folder. Raises InputError for pictures outside of one."""
    import datasets

    assert split.folder is not None
    parts = [path.relative_to(split.folder).parts for path in split.pictures]
    loose = [part[0] for part in parts if len(part) == 1]
    if loose:
        raise InputError(
            f"{split.folder}: {len(loose)} pictures are outside of class folders ({', '.join(loose[:3])}); expected "
            f"{split.folder.name}/CLASS/picture, or a table (metadata.csv with {FILE_NAME},{spec.label}) beside them"
        )
    columns = {spec.image: [str(path) for path in split.pictures], spec.label: [part[0] for part in parts]}
    features = datasets.Features({spec.image: datasets.Image(decode=False), spec.label: datasets.Value("string")})
    info = datasets.DatasetInfo(features=features, builder_name=CLASS_FOLDERS)
    return datasets.Dataset.from_dict(columns, info=info)


def by_table(raw: "datasets.Dataset", split: SplitFiles, root: Path, spec: Dataset) -> "datasets.Dataset":
    """Return a table's examples with pictures in `spec.image`, if its image column holds file names.

    Names are relative to the table's folder. They must stay inside the data's folder, which the data's hash covers.
    """
    import datasets

    column = spec.image if spec.image in raw.column_names else FILE_NAME
    if column not in raw.column_names or not _is_text(raw.features[column]):
        if split.pictures:
            raise InputError(
                f"{split.tables[0].name}: no column {spec.image!r} or {FILE_NAME!r} with names of the "
                f"{len(split.pictures)} pictures beside it; it has {', '.join(raw.column_names)}; set dataset.image"
            )
        return raw
    if root.is_file():
        raise InputError("names image files; give the folder that holds table and images as dataset.path")
    folder = split.tables[0].parent
    paths = [_picture(name, row, column, folder, root) for row, name in enumerate(raw[column])]
    _check_whole(paths, split)
    table = raw.remove_columns([column])
    return table.add_column(spec.image, [str(path) for path in paths]).cast_column(
        spec.image, datasets.Image(decode=False)
    )


def _is_text(feature: object) -> bool:
    return getattr(feature, "dtype", None) in ("string", "large_string")


def _picture(name: str | None, row: int, column: str, folder: Path, root: Path) -> Path:
    place = f"row {row} of column {column!r}"
    if not name or "\0" in name or not (folder / name).is_file():
        others = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
        raise InputError(f"{place}: no image file {name!r} in {folder}{look_alike(name or '', others)}")
    inside = resolved(folder / name).is_relative_to(resolved(root))
    if PurePosixPath(name).is_absolute() or not inside:
        raise InputError(f"{place}: {name!r} lies outside of {root}; move it inside")
    if any(part.startswith(".") and part != "." for part in PurePosixPath(name).parts if part != ".."):
        raise InputError(f"{place}: {name!r} is a hidden file, which is ignored; rename it")
    return folder / name


def _check_whole(paths: list[Path], split: SplitFiles) -> None:
    """Raise InputError unless the table lists every picture of the split once."""
    named = Counter(path.resolve() for path in paths)
    table = split.tables[0].name
    duplicates = [path.name for path, count in named.items() if count > 1]
    if duplicates:
        raise InputError(f"{table}: names pictures more than once ({', '.join(duplicates[:3])}); expected one row each")
    missing = [path.name for path in split.pictures if path.resolve() not in named]
    if missing:
        raise InputError(
            f"{table}: {len(missing)} of {len(split.pictures)} pictures beside it have no row "
            f"({', '.join(missing[:3])}); expected a row for every picture: add rows, or move those pictures away"
        )
