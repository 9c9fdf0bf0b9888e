"""Raw examples of a split: parquet, csv, tsv, jsonl and txt files, folders of them, image folders, and the hub.

A split is a file in the folder (`test: dev.tsv`), or a name: then `dev.csv`, `dev-*.parquet`, `data/dev-*.parquet` or
`dev/` are looked for, as on the hub. A single file holds the test split and nothing else.
"""

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.config import InputError
from compress.workloads import Workload
from compress.workloads.privacy import private_cache

if TYPE_CHECKING:
    import datasets

    from compress.workloads.source import Source, Split

LOADERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".parquet": ("parquet", {}),
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
    ".txt": ("text", {"sample_by": "document"}),
}
IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


def location_problems(path: Path, workload: Workload) -> list[str]:
    """What is wrong with a folder or file of data, before any of it is read."""
    place = f"{workload.name} dataset {path}"
    if path.is_file():
        if path.suffix not in LOADERS:
            return [
                f"{place}: files of kind {path.suffix or '(no suffix)'} are not read; expected {', '.join(LOADERS)}"
            ]
        return []
    if not split_files(path, workload.dataset.test):
        return [f"{place}: no test split {workload.dataset.test!r}; {_there_is(path)}"]
    return []


def split_files(folder: Path, split: str) -> list[Path]:
    """Files of a split in a folder, sorted; empty when there are none."""
    if (folder / split).is_file():
        return [folder / split]
    for parent in (folder, folder / "data"):
        for suffix in LOADERS:
            named = sorted([*parent.glob(f"{split}{suffix}"), *parent.glob(f"{split}-[0-9]*{suffix}")])
            if named:
                return named
        inside = sorted(p for p in (parent / split).rglob("*") if p.is_file() and not p.name.startswith("."))
        if inside:
            return inside
    return []


def load(source: "Source", split: "Split") -> "datasets.Dataset":
    """The raw examples of a split. Raises InputError when it is missing, unreadable or empty."""
    spec = source.workload.dataset
    name = spec.train if split == "train" else spec.test
    place = f"{source.workload.name} dataset {source.dataset}"
    if name is None:
        beside = "; put train and test files into a folder" if Path(source.dataset).is_file() else ""
        raise InputError(
            f"{place}: the workload names no train split; steps that calibrate or train need dataset.train{beside}"
        )
    if source.resolved["dataset_revision"]:
        raw = _from_hub(source, name, place)
    else:
        path = Path(source.dataset)
        if path.is_file():
            if split == "train":
                raise InputError(
                    f"{place}: a single file is the test split, and nothing trains on that; "
                    "put train and test files into one folder and give the folder"
                )
            files = [path]
        else:
            files = split_files(path, name)
        if not files:
            raise InputError(f"{place}: no {split} split {name!r}; {_there_is(path)}")
        raw = _from_files(files, place)
        if source.workload.task == "image-classification":
            raw = _opened(raw, spec.image, files[0].parent, path, place)
    if len(raw) == 0:
        raise InputError(f"{place}: the {split} split {name!r} is empty; expected at least one example")
    return raw


def _from_files(files: list[Path], place: str) -> "datasets.Dataset":
    import datasets

    suffix = files[0].suffix.lower()
    if suffix in IMAGES:
        root = files[0].parent.parent
        return datasets.load_dataset(
            "imagefolder", data_dir=str(root), split="train", drop_labels=False, cache_dir=private_cache()
        )
    if suffix not in LOADERS:
        raise InputError(
            f"{place}: files of kind {suffix or '(no suffix)'} are not read; expected {', '.join(LOADERS)}"
        )
    if sum(file.stat().st_size for file in files) == 0:
        raise InputError(f"{place}: {files[0].name} is empty; expected at least one example")
    builder, options = LOADERS[suffix]
    try:
        return datasets.load_dataset(
            builder,
            data_files=[glob.escape(str(file)) for file in files],
            split="train",
            cache_dir=private_cache(),
            **options,
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        cause = error.__cause__ or error
        if "corresponds to no data" in str(cause):  # a file with columns and no rows
            raise InputError(f"{place}: {files[0].name} is empty; expected at least one example") from None
        raise InputError(f"{place}: {files[0].name} cannot be read as {suffix[1:]} ({_one_line(cause)})") from None


def _opened(raw: "datasets.Dataset", column: str, folder: Path, root: Path, place: str) -> "datasets.Dataset":
    """With images in a column of file names, which are relative to the table's folder.

    They must lie in the data's folder: its content is what tells one data set from another.
    """
    import datasets

    if column not in raw.column_names:
        return raw
    if getattr(raw.features[column], "dtype", None) not in ("string", "large_string"):
        return raw
    if root.is_file():
        raise InputError(f"{place}: names image files; give the folder that holds table and images as dataset.path")
    names = raw[column]
    for row, name in enumerate(names):
        if not name or not (folder / name).is_file():
            raise InputError(f"{place}: row {row} of column {column!r}: no image file {name!r} in {folder}")
        if not (folder / name).resolve().is_relative_to(root.resolve()):
            raise InputError(
                f"{place}: row {row} of column {column!r}: {name!r} lies outside of {root}; move it inside"
            )
    opened = [str(folder / name) for name in names]
    others = raw.remove_columns([column])
    return others.add_column(column, opened).cast_column(column, datasets.Image())


def _from_hub(source: "Source", name: str, place: str) -> "datasets.Dataset":
    import datasets

    from compress.workloads.hub import WAYS_OUT

    spec = source.workload.dataset
    revision = source.resolved["dataset_revision"]
    try:
        if Path(name).suffix in LOADERS:  # files of the repository: only they are downloaded
            return datasets.load_dataset(source.dataset, data_files={"it": name}, revision=revision, split="it")
        return datasets.load_dataset(source.dataset, spec.name, revision=revision, split=name)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"{place}: split {name!r} cannot be loaded ({_one_line(error)}); {WAYS_OUT}") from None


def _there_is(folder: Path) -> str:
    """What the folder holds instead, for an error."""
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix in LOADERS)
    listed = ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
    return f"the folder holds {listed or 'no data files'}; set dataset.train and dataset.test to splits or files of it"


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
