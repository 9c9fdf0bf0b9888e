"""Template of a workload file for the user's model and data: `compress init`. Detects columns and splits."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from compress.base.config import InputError
from compress.base.reading import expanded
from compress.data.empty import empty_model
from compress.data.hub import is_id
from compress.data.split_files import KINDS, kind, split_files, unknown_kind
from compress.data.tables import columns
from compress.data.tasks import task_of, unknown

MAX_LENGTH = 128
TESTS = ("test", "validation", "valid", "val", "dev")


def init(model: str, data: str, task: str, columns_of: Mapping[str, str | None] | None = None) -> str:
    """Return the YAML text of a workload. Raises InputError if the data has no split for evaluation.

    `columns_of` maps fields to columns, or to None for no column; columns of other fields are detected.
    """
    check_task(task)
    check_place("--model", model)
    check_place("--data", data)
    given, declared = columns_of or {}, task_of(task)
    lines = [
        f"# {task}: check the columns and splits, then: python -m compress run {declared.first_recipe} --workload "
        "this-file.yaml",
        f"task: {task}",
        f"model: {_scalar(_absolute(model))}{_model_hint(model)}",
        "dataset:",
        f"  path: {_scalar(_absolute(data))}{_hub_hint(data)}",
    ]
    path = expanded(data)
    train, test, columns = _splits(path) if path.exists() else ("train", "test", ())
    is_hub = not path.exists()
    lines.append(f"  train: {_scalar(train)}" + _hint(train is None, "steps that calibrate or train need one"))
    lines.append(f"  test: {_scalar(test)}" + _hint(is_hub, "a hub data set: look up its splits on its page"))
    for column in declared.columns:
        field = column.field
        chosen = given[field] if field in given else column.among(columns)
        if chosen is None and column.optional:
            continue
        hint = f"not found in {', '.join(columns)}" if columns else "look up the column"
        lines.append(f"  {field}: {_scalar(chosen or field)}" + _hint(chosen is None, hint))
    lines.append(f"metric: {declared.metric}")
    if declared.has_lengths:
        lines.append(f"max_length: {_max_length(expanded(model), task)}")
    return "\n".join(lines) + "\n"


def check_task(task: str) -> None:
    """Raise InputError for an unknown task."""
    if problem := unknown(task):
        raise InputError(f"--task {task}: {problem}")


def check_place(option: str, value: str) -> None:
    """Raise InputError for a value that is neither an existing path nor a possible hub id."""
    if not expanded(value).exists() and not is_id(value):
        raise InputError(f"{option} {value}: no such folder or file, and no hub id; check the path")


def columns_in(data: str) -> Sequence[str]:
    """Return the columns of the evaluation split; empty for hub data. Raises InputError without such a split."""
    path = expanded(data)
    return _splits(path)[2] if path.exists() else ()


def _splits(path: Path) -> tuple[str | None, str, Sequence[str]]:
    """Return (train split, test split, columns) of a folder or a file."""
    if path.is_file():
        if not kind(path):
            raise InputError(f"{path}: {unknown_kind(path)}")
        return None, "test", _columns(path, "test")
    test = next((name for name in TESTS if split_files(path, name)), None)
    if test is None:
        raise InputError(
            f"{path}: no test split; expected files ({', '.join(KINDS)}) or folders named {', '.join(TESTS)}"
        )
    train = "train" if split_files(path, "train") else None
    # a GLUE-like test split hides its labels: evaluate on validation
    if train and test == "test" and split_files(path, "validation"):
        test = "validation"
    return train, test, _columns(path, test)


def _columns(path: Path, split: str) -> Sequence[str]:
    """Return the column names of the evaluation split, as a run reads them."""
    try:
        return columns(path, split)
    except InputError as error:
        raise InputError([f"{path}: {problem}" for problem in error.problems]) from None


def _max_length(model: Path, task: str) -> int:
    """Return 128, or the number of positions of a shorter model."""
    from compress.data import checkpoints, positions

    if model.is_dir() and checkpoints.is_adapter(model):
        model = expanded(checkpoints.base_of(model)[0] or model)
    config, _ = checkpoints.config_of(model) if model.is_dir() else (None, [])
    stated = None if config is None else positions.stated(config)
    if stated is None or stated >= 2 * MAX_LENGTH:  # a table may hold rows without a position: two in RoBERTa
        return MAX_LENGTH
    return max(8, min(MAX_LENGTH, _position_limit(model, task) or stated))


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
    return _hub_hint(value) or _hint(not is_model, no_model)


def _hint(needed: bool, text: str) -> str:
    return f"  # {text}" if needed else ""


def _scalar(value: str | None) -> str:
    """Return a YAML 1.2 scalar, quoted as JSON (a subset of YAML) unless it is a plain word."""
    if value is None:
        return "null"
    plain = all(c.isalnum() or c in "/._-" for c in value) and value[:1].isalpha() | (value[:1] == "/")
    return value if plain and value.lower() not in ("null", "true", "false", "yes", "no") else json.dumps(value)
