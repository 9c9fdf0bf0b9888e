"""Raw examples of a split from parquet, csv, tsv, jsonl, json, txt, conll and iob2 files, folders, pictures, the hub.

A split is a file in the folder (`test: dev.tsv`), or a name by the rules of `split_files`. A single file holds the test
split only.
"""

import filecmp
import glob
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from compress.base.config import InputError
from compress.base.errors import some
from compress.data.bad_rows import BadRows
from compress.data.dataset import Dataset
from compress.data.formats import conll, delimited, image_folders, json_rows, parquet, sound_files
from compress.data.formats.parquet import one_line
from compress.data.formats.readers import read_files
from compress.data.look_alike import look_alike
from compress.data.same_inputs import same_inputs
from compress.data.split_files import KINDS, SplitFiles, kind, split_files, unknown_kind
from compress.data.tasks import task_of
from compress.data.tasks.task import Table
from compress.data.workload import Workload

if TYPE_CHECKING:
    import datasets

    from compress.data.source import Source, Split

JSON = (".jsonl", ".json")
THREE = "expected a folder with the queries, the corpus and the judgements (qrels), as files"
APART = "expected a test split that no step learns from: split the data, or set dataset.train to null"


def location_problems(path: Path, workload: Workload) -> list[str]:
    """Return the problems of a data folder or file, before reading any rows."""
    place, spec = f"{workload.name} dataset {path}", workload.dataset
    if task_of(workload.task).search is not None:
        try:
            problems = [_table_problem(path, spec, field) for field in ("test", "corpus", "qrels")]
        except InputError as error:
            problems = list(error.problems)
        if any(problems):
            return [f"{place}: {problem}" for problem in dict.fromkeys(problems) if problem]
    if path.is_file():
        return [] if kind(path) else [f"{place}: {unknown_kind(path)}"]
    try:
        test = split_files(path, spec.test)
        train = None if spec.train is None else split_files(path, spec.train)
    except InputError as error:
        return [f"{workload.name} dataset {problem}" for problem in error.problems]
    if test is None:
        return [f"{place}: no test split {spec.test!r}; {_contents(path, spec.test)}"]
    if test.pictures and not task_of(workload.task).reads_images:
        return [f"{place}: the test split holds pictures; {workload.task} expects {', '.join(KINDS)}"]
    if train is not None and (pair := _shared(test, train)):
        return [f"{place}: train and test are the same data ({pair[0].name}, {pair[1].name}); {APART}"]
    return []


def _shared(test: SplitFiles, train: SplitFiles) -> tuple[Path, Path] | None:
    """Return a pair of files if both splits share a file or are equal in every byte; else None."""
    for path in sorted(test.all):
        if path in train.all:
            return path, path
    if len(test.all) != len(train.all):
        return None
    pairs = list(zip(sorted(test.all), sorted(train.all), strict=True))
    equal = all(a.stat().st_size == b.stat().st_size and filecmp.cmp(a, b, shallow=False) for a, b in pairs)
    return pairs[0] if equal and pairs[0][0].stat().st_size else None


def dialects(path: Path, spec: Dataset) -> dict[str, str]:
    """Return a description of the dialect of each csv, tsv, conll and iob2 file of the test split."""
    if path.is_file():
        files: tuple[Path, ...] = (path,)
    else:
        split = split_files(path, spec.test)
        files = split.tables if split else ()
    tables = {file.name: delimited.read(file, spec.csv) for file in files if kind(file) in delimited.SEPARATORS}
    tagged = {file.name: conll.read(file, spec.csv).dialect for file in files if kind(file) in conll.KINDS}
    return {name: f"{len(table.rows)} rows, {table.dialect}" for name, table in tables.items()} | tagged


def columns(path: Path, split: str, parts: bool = False) -> list[str]:
    """Return the column names of a file, or of a split in a folder, as a run reads them.

    `parts`: a column of mappings is listed as its parts, such as translation.en.
    """
    data_files = SplitFiles((path,)) if path.is_file() else split_files(path, split)
    if data_files is None:
        return []
    if not data_files.tables:
        return ["image", "label"]
    first = data_files.tables[0]
    if kind(first) == ".parquet" and not parts:
        return parquet.size(first)[1]
    raw = read_files([first], Dataset(path=str(path)))
    return list((raw.flatten() if parts else raw).column_names)


def load(source: "Source", split: "Split", test: "datasets.Dataset | None" = None) -> "datasets.Dataset":
    """Return the raw examples of a split. Raises InputError if it is missing, unreadable or empty.

    A train split is compared with the test split, which is read for that unless it is given as `test`.
    """
    spec = source.workload.dataset
    name = spec.train if split == "train" else spec.test
    place = f"{source.workload.name} dataset {source.dataset}"
    if name is None:
        hint = "; put train and test files into a folder" if Path(source.dataset).is_file() else ""
        raise InputError(
            f"{place}: the workload names no train split; steps that calibrate or train need dataset.train{hint}"
        )
    try:
        search = task_of(source.workload.task).search if split == "test" else None
        if search is not None:
            raw = search.judged(table(source, "test"), table(source, "qrels"), source.workload)
        else:
            raw = _from_hub(source, name) if source.resolved["dataset_revision"] else _local(source, split, name)
            raw = flattened(raw, source.workload)
    except InputError as error:
        raise InputError([f"{place}: {problem}" for problem in error.problems]) from None
    if len(raw) == 0:
        columns = f" (its columns are {', '.join(raw.column_names[:6])[:200]})" if raw.column_names else ""
        raise InputError(f"{place}: the {split} split {name!r} is empty{columns}; expected at least one example")
    if split == "train" and same_inputs(raw, load(source, "test") if test is None else test, source.workload):
        raise InputError(f"{place}: train and test hold the same {len(raw)} examples; {APART}")
    return raw


def flattened(raw: "datasets.Dataset", workload: Workload) -> "datasets.Dataset":
    """Return the examples with a column for each part of the mappings that the workload names: translation.en."""
    named = (getattr(workload.dataset, column.field) for column in task_of(workload.task).columns)
    whole = {name.partition(".")[0] for name in named if name and "." in name and name not in raw.column_names}
    return raw.flatten() if whole & set(raw.column_names) else raw


def table(source: "Source", field: str) -> Table:
    """Return one of several tables of the test split, which this field of the data set names: test, corpus or qrels."""
    path, spec = Path(source.dataset), source.workload.dataset
    if source.resolved["dataset_revision"]:
        raise InputError(f"a data set on the hub; download it: {THREE}")
    if problem := _table_problem(path, spec, field):
        raise InputError(problem)
    found = split_files(path, getattr(spec, field))
    files = found.tables if found else ()
    name = files[0].relative_to(path).as_posix() if len(files) == 1 else getattr(spec, field)
    rows = read_files(list(files), spec)
    if len(rows) == 0:
        raise InputError(f"{name} has no rows; expected at least one")
    return Table(name, rows, _row_places(files, spec, named=False))


def _table_problem(path: Path, spec: Dataset, field: str) -> str:
    """Return why a folder has no such table, before reading any rows; empty if it has one."""
    name = getattr(spec, field)
    if not path.is_dir():
        return f"one file; {THREE}"
    if name is None:
        return f"{field}: not set; set dataset.{field} to its file; the folder holds {listed(data_files(path))}"
    found = split_files(path, name)
    if found is None or not found.tables:
        return f"no {field} {name!r}; the folder holds {listed(data_files(path))}; set dataset.{field} to its file"
    return ""


def _local(source: "Source", split: "Split", name: str) -> "datasets.Dataset":
    path, spec = Path(source.dataset), source.workload.dataset
    if path.is_file():
        if split == "train":
            raise InputError(
                "a single file is the test split, which is never trained on; "
                "put train and test files into one folder and give the folder"
            )
        data_files: SplitFiles | None = SplitFiles((path,))
    else:
        data_files = split_files(path, name)
    if data_files is None:
        raise InputError(f"no {split} split {name!r}; {_contents(path, name)}")
    if not data_files.tables:
        return image_folders.by_class(data_files, spec)
    raw = read_files(list(data_files.tables), spec)
    declared = task_of(source.workload.task)
    if declared.reads_sound:
        try:
            return sound_files.undecoded(sound_files.by_table(raw, data_files, path, spec))
        except BadRows as error:
            raise BadRows(error.rows, _row_places(data_files.tables, spec)) from None
    return image_folders.by_table(raw, data_files, path, spec) if declared.reads_images else raw


def places(source: "Source", split: "Split") -> Callable[[int], str]:
    """Return a function that names the place of a row of a split: file and line of text with rows, else its number."""
    path, spec = Path(source.dataset), source.workload.dataset
    name = spec.train if split == "train" else spec.test
    if source.resolved["dataset_revision"] or name is None:
        return "row {}".format
    data_files = SplitFiles((path,)) if path.is_file() else split_files(path, name)
    return _row_places(data_files.tables if data_files else (), spec)


def _row_places(files: Sequence[Path], spec: Dataset, named: bool = True) -> Callable[[int], str]:
    """Return the function of `places` for these files; `named`: whether it names a single file too."""
    if not all(kind(file) in (*JSON, *conll.KINDS) for file in files):
        return "row {}".format
    names = [f"{file.name} " if named or len(files) > 1 else "" for file in files]
    listed = [f"{name}line {line}" for name, file in zip(names, files, strict=True) for line in _lines(file, spec)]
    return lambda row: listed[row]


def _lines(file: Path, spec: Dataset) -> Sequence[int]:
    """Return the line of every row of a json file, or the first line of every sentence."""
    return conll.read(file, spec.csv).lines if kind(file) in conll.KINDS else json_rows.lines(file, [spec.text])


def _from_hub(source: "Source", name: str) -> "datasets.Dataset":
    import datasets

    from compress.data import hub

    spec = source.workload.dataset
    revision = source.resolved["dataset_revision"]
    parts = {part.partition("[")[0].strip() for part in name.split("+")}
    if name == spec.test and parts & {"all", spec.train}:
        raise InputError(f"split {name!r} holds the train split; expected a test split that no step learns from")
    try:
        file_kind = kind(Path(name))
        if file_kind and file_kind != ".parquet" and glob.escape(name) == name:
            return read_files([hub.download(source.dataset, name, revision)], spec)
        if file_kind:  # only these files of the repository are downloaded
            return datasets.load_dataset(source.dataset, data_files={"it": name}, revision=revision, split="it")
        return datasets.load_dataset(source.dataset, spec.name, revision=revision, split=name)
    except InputError:
        raise
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise InputError(f"split {name!r} cannot be loaded ({one_line(error)}); {hub.WAYS_OUT}") from None


def _contents(folder: Path, split: str) -> str:
    """Return the error text on the data files that the folder holds instead of a split."""
    names = data_files(folder)
    parts = {part for name in names for part in (*Path(name).parts, Path(name).stem)}
    return (
        f"the folder holds {listed(names)}{look_alike(split, sorted(parts))}; set dataset.train and "
        "dataset.test to splits or files of it"
    )


def data_files(folder: Path) -> list[str]:
    """Return the paths of all tables below a folder, relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if kind(p) and p.is_file())


def listed(names: Sequence[str]) -> str:
    """Return the first of some data files for an error."""
    return some(names, 6) or "no data files"
