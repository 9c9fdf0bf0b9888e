"""Template of a workload file for the user's model and data: `compress init`.

Detects splits, columns and files without a header. Language models get a headline that generates.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from compress.base.config import InputError
from compress.base.reading import expanded
from compress.data import headerless
from compress.data.empty import empty_model
from compress.data.formats import delimited
from compress.data.hub import is_id
from compress.data.longest import longest_row
from compress.data.split_files import KINDS, holds, kind, split_files, unknown_kind
from compress.data.tables import columns, data_files, listed
from compress.data.tasks import task_of, unknown

TESTS = ("test", "validation", "valid", "val", "dev")
SEARCHED = ("queries",)
TABLES = {"corpus": ("corpus",), "qrels": ("qrels/test.tsv", "qrels/dev.tsv", "qrels")}
"""Usual names of the tables of a search."""
FEWEST_TOKENS = 4  # of an operating point
SPARE = 128
"""Positions beyond the usual length from which a model is not built: a table may hold rows without a position."""
GENERATED = 32  # tokens of the headline that generates, after twice as many of text
MULTIPLE = 16
"""A length that the data needs is rounded up to a multiple of this."""


@dataclass(frozen=True)
class Found:
    """What the data holds."""

    train: str | None
    test: str
    columns: Sequence[str]
    header: bool = True
    """Whether the files name their columns."""
    remark: str = ""
    """What the choice of the test split leaves open."""


def init(
    model: str, data: str, task: str, columns_of: Mapping[str, str | None] | None = None, first: str | None = None
) -> str:
    """Return the YAML text of a workload. Raises InputError if the data has no split for evaluation.

    `columns_of` maps fields to columns, or to None for no column; columns of other fields are detected. `first` is the
    recipe to begin with, unless it is the task's own.
    """
    check_task(task)
    check_place("--model", model)
    check_place("--data", data)
    given, declared = columns_of or {}, task_of(task)
    lines = [
        f"# {task}: check the columns and splits, then: python -m compress run {first or declared.first_recipe} "
        "--workload this-file.yaml",
        f"task: {task}",
        f"model: {_scalar(_absolute(model))}{_model_hint(model)}",
        "dataset:",
        f"  path: {_scalar(_absolute(data))}{_hub_hint(data)}",
    ]
    found = found_in(data, task)
    is_hub = not expanded(data).exists()
    learning = "steps that learn need one" + ", such as the corpus" * (declared.search is not None)
    lines.append(f"  train: {_scalar(found.train)}" + _hint(found.train is None, learning))
    remark = "a hub data set: look up its splits on its page" if is_hub else found.remark
    lines.append(f"  test: {_scalar(found.test)}" + _hint(bool(remark), remark))
    for column in declared.columns:
        field = column.field
        chosen = given[field] if field in given else column.among(found.columns)
        if chosen is None and field == "label" and (each := _label_columns(model, task, found.columns)):
            lines.append(f"  label_columns: [{', '.join(map(_scalar, each))}]")
            continue
        if chosen is None and column.optional:
            continue
        hint = f"not found in {', '.join(map(_scalar, found.columns))}" if found.columns else "look up the column"
        lines.append(f"  {field}: {_scalar(chosen or field)}" + _hint(chosen is None, hint))
    if declared.search is not None:
        lines += [f"  {field}: {_table(expanded(data), field)}" for field in TABLES]
    if declared.has_continuations:
        lines.append('  delimiter: " "  # between a context and its continuation')
    if not found.header:
        named = ", ".join(map(_scalar, found.columns))
        lines.append(f"  csv: {{columns: [{named}]}}  # the files have no header: check which column is which")
    lines.append(f"metric: {declared.metric}")
    if declared.has_lengths:
        lines.append(_length_line(expanded(model), expanded(data), lines, task))
    lines += declared.lines(expanded(model))
    if declared.generates:
        lines += _generating(expanded(model), task)
    return "\n".join(lines) + "\n"


def _label_columns(model: str, task: str, found: Sequence[str]) -> list[str]:
    """Return the columns named after the labels of a model's folder, if it has one for each and the task takes them."""
    from compress.data import checkpoints

    path = expanded(model)
    config, _ = checkpoints.config_of(path) if path.is_dir() else (None, [])
    names = list(map(str, ((config or {}).get("id2label") or {}).values()))
    return names if task_of(task).several_labels and names and set(names) <= set(found) else []


def _table(data: Path, field: str) -> str:
    """Return the file of one of a search's tables, as BEIR and copies of it name it; with a hint if there is none."""
    names = TABLES[field] if data.is_dir() else ()
    found = next((name for name in names if holds(data, name)), None)
    return _scalar(found or field) + _hint(found is None, "not found: name its file")


def _generating(model: Path, task: str) -> list[str]:
    """Return the line of a headline that generates one text at a time; none for a model of too few positions."""
    stated = _positions(model)
    limit = None if stated is None else _position_limit(model, task) or stated
    new = GENERATED if limit is None else min(GENERATED, limit // 3)
    if 2 * new < FEWEST_TOKENS:
        return []
    return [f"headline: {{phase: decode, batch_size: 1, context: {2 * new}, new_tokens: {new}}}"]


def check_task(task: str) -> None:
    """Raise InputError for an unknown task."""
    if problem := unknown(task):
        raise InputError(f"--task {task}: {problem}")


def check_place(option: str, value: str) -> None:
    """Raise InputError for a value that is neither an existing path nor a possible hub id."""
    if not expanded(value).exists() and not is_id(value):
        raise InputError(f"{option} {value}: no such folder or file, and no hub id; check the path")


def check_data(option: str, value: str) -> None:
    """Raise InputError for a value that is no place, or a folder without a split for evaluation."""
    check_place(option, value)
    if (path := expanded(value)).exists():
        _splits(path, (*TESTS, *SEARCHED))


def found_in(data: str, task: str) -> Found:
    """Return what the data holds; hub data is taken to have train and test, with unknown columns.

    Raises InputError without a split for evaluation.
    """
    path = expanded(data)
    is_search = task_of(task).search is not None
    if not path.exists():
        return Found("train", "test", ())
    train, test = _splits(path, SEARCHED if is_search else TESTS)
    names = _names(path, test, task)
    if train is not None and (_names(path, train, task) is None) != (names is None):
        with_header, without = (test, train) if names is None else (train, test)
        raise InputError(
            f"{path}: the {with_header} split has a header, the {without} split seems to have none; expected the same "
            "of both: add the header, or write the workload by hand"
        )
    columns = _columns(path, test, task_of(task).encodes) if names is None else names
    if not columns:
        raise InputError(f"{path}: the {test} split has no columns; expected at least one example")
    another = path.is_dir() and not is_search and test != "test" and split_files(path, "test") is not None
    remark = "there is a test split too: take it if it has its labels" if another else ""
    return Found(train, test, columns, header=names is None, remark=remark)


def _names(path: Path, split: str, task: str) -> list[str] | None:
    """Return names for the columns of a csv or tsv without a header; None for other data."""
    data_files = None if path.is_file() else split_files(path, split)
    tables = (path,) if path.is_file() else () if data_files is None else data_files.tables
    if not tables or kind(tables[0]) not in delimited.SEPARATORS:
        return None
    try:
        return headerless.names(delimited.all_rows(tables[0]), task_of(task).columns)
    except InputError as error:
        raise InputError([f"{path}: {problem}" for problem in error.problems]) from None


def _splits(path: Path, tests: Sequence[str]) -> tuple[str | None, str]:
    """Return the train split of a folder or a file, and the first test split of these names."""
    if path.is_file():
        if not kind(path):
            raise InputError(f"{path}: {unknown_kind(path)}")
        return None, "test"
    test = next((name for name in tests if split_files(path, name)), None)
    if test is None:
        names = data_files(path)
        way_out = f"; give one file: --data {path / _most_like_a_test(names)}" if names else ""
        raise InputError(
            f"{path}: no test split; the folder holds {listed(names)}; expected files ({', '.join(KINDS)}) or folders "
            f"named {', '.join(tests)}{way_out}"
        )
    train = "train" if split_files(path, "train") else None
    # a GLUE-like test split hides its labels: evaluate on validation
    if train and test == "test" and split_files(path, "validation"):
        test = "validation"
    return train, test


def _most_like_a_test(names: Sequence[str]) -> str:
    return next((name for word in TESTS for name in names if word in name.lower()), names[0])


def _columns(path: Path, split: str, parts: bool) -> Sequence[str]:
    """Return the column names of the evaluation split, as a run reads them; with `parts` those of mappings."""
    try:
        return columns(path, split, parts)
    except InputError as error:
        raise InputError([f"{path}: {problem}" for problem in error.problems]) from None


def _length_line(model: Path, data: Path, lines: Sequence[str], task: str) -> str:
    """Return the line of max_length: what the model's files state, else what the data needs and the model reads."""
    declared = task_of(task)
    if (length := declared.longest(model)) is not None:
        return f"max_length: {length}"
    readable = declared.has_continuations and model.is_dir() and data.exists()
    needed = (longest_row(model, data, "\n".join(lines)) if readable else None) or 0
    wanted = max(declared.usual_length, -(-needed // MULTIPLE) * MULTIPLE)
    length = _max_length(model, task, wanted)
    hint = f"the model's positions; the longest row has {needed} tokens: its context will lose its beginning"
    return f"max_length: {length}" + _hint(length < needed, hint)


def _max_length(model: Path, task: str, wanted: int) -> int:
    """Return the wanted length, or the number of positions of a shorter model."""
    stated = _positions(model)
    if stated is None or stated >= wanted + SPARE:
        return wanted
    return max(8, min(wanted, _position_limit(model, task) or stated))


def _positions(model: Path) -> int | None:
    """Return the positions that the configuration of a model's folder states; None if it states none."""
    from compress.data import checkpoints, positions

    if model.is_dir() and checkpoints.is_adapter(model):
        model = expanded(checkpoints.base_of(model)[0] or model)
    config, _ = checkpoints.config_of(model) if model.is_dir() else (None, [])
    return None if config is None else positions.stated(config)


def _position_limit(model: Path, task: str) -> int | None:
    """Return the number of positions of a model, from its empty skeleton; None if that cannot be built.

    `run` reports the reason.
    """
    from compress.data import configuration, positions

    try:
        return positions.limit(empty_model(configuration.load(str(model)), task))
    except InputError:
        return None


def _absolute(value: str) -> str:
    path = expanded(value)
    return str(path.resolve()) if path.exists() else value


def _hub_hint(value: str) -> str:
    return _hint(not expanded(value).exists(), "no such folder: treated as a hub id")


def _model_hint(value: str) -> str:
    """Return the comment of a model that is no folder, or a folder without a saved model."""
    from compress.data import checkpoints

    path = expanded(value)
    is_model = (path / "config.json").is_file() or checkpoints.is_adapter(path)
    no_model = "no config.json: expected a folder of a saved transformers model"
    damaged = (path / "config.json").is_file() and checkpoints.config_of(path)[0] is None
    return _hub_hint(value) or _hint(not is_model, no_model) or _hint(damaged, "its config.json cannot be read")


def _hint(needed: bool, text: str) -> str:
    return f"  # {text}" if needed else ""


def _scalar(value: str | None) -> str:
    """Return a YAML 1.2 scalar, quoted as JSON (a subset of YAML) unless it is a plain word."""
    if value is None:
        return "null"
    plain = all(c.isalnum() or c in "/._-" for c in value) and value[:1].isalpha() | (value[:1] == "/")
    return value if plain and value.lower() not in ("null", "true", "false", "yes", "no") else json.dumps(value)
