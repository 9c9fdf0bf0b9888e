"""Result files: written whole or not at all, read without torch."""

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import reading
from compress.config import InputError
from compress.files import write_atomic
from compress.reading import is_folder, shortened
from compress.result import SCHEMA, Result

if TYPE_CHECKING:
    from pydantic import ValidationError

SHIPPED = "reference"
MOST_BYTES = 64_000_000  # a result of a thousand rounds has a few


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Result)


def result_path(root: Path, workload: str, recipe: str, machine: str, limit: int | None) -> Path:
    """`root/<workload>/<recipe>-<machine id>.json`; a limited result has a file of its own beside the whole one."""
    limited = "" if limit is None else f"-limit{limit}"
    return root / workload / f"{recipe}-{machine}{limited}.json"


def write(root: Path, result: Result) -> Path:
    """Writes one result below `root`; returns its path."""
    path = result_path(root, str(result.workload["name"]), result.name, result.machine.id, result.limit)
    replace_file(path, result)
    return path


def replace_file(path: Path, result: Result) -> None:
    """Writes a result to this file."""
    write_atomic(path, _adapter().dump_json(result, indent=1) + b"\n")


def read(path: Path) -> Result:
    """Return one result. Raises InputError, one sentence, where the file cannot be read or is none."""
    from pydantic import ValidationError

    data = reading.content(path, "result", MOST_BYTES)
    try:
        made: Result = _adapter().validate_json(data)
    except ValidationError as error:
        raise InputError(f"{path}: {_refusal(data, error)}") from None
    if made.schema != SCHEMA:
        raise InputError(f"{path}: {_other(made.schema)}")
    return made


def _refusal(data: bytes, error: "ValidationError") -> str:
    """What is wrong with the content of a file that is no result of this version."""
    from pydantic_core import from_json

    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return f"not JSON ({first['msg'].removeprefix('Invalid JSON: ')}); it was damaged or is no result"
    raw = from_json(data)
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if type(schema) is not int or schema != SCHEMA:
        return _other(schema)
    where = shortened(".".join(str(part) for part in first["loc"]))
    if first["type"] == "finite_number":
        return f"not a result: {where} is {first['input']}; expected a finite number"
    if first["type"] == "missing":
        return f"not a result: {where} is missing"
    return f"not a result: {where}: {shortened(first['msg'].removeprefix('Value error, '))}"


def _other(schema: object) -> str:
    return f"result schema {shortened(repr(schema))}; this version reads {SCHEMA}"


def read_all(root: Path) -> tuple[list[Result], list[str]]:
    """Return every result below `root`, sorted by path, and one sentence per file that could not be read."""
    if not is_folder(root):
        raise InputError(f"{root}: no such folder; run a recipe first: python -m compress run bert_int8")
    results: list[Result] = []
    paths, problems = _result_files(root)
    for path in paths:
        try:
            results.append(read(path))
        except InputError as error:
            problems.extend(error.problems)
    return results, problems


def read_sound(root: Path) -> list[Result]:
    """Every result below `root`. Raises InputError where there is none, and for every file that could not be read."""
    results, problems = read_all(root)
    if not results:
        problems.append(f"{root}: no results in it; expected what `compress run` has left")
    if problems:
        raise InputError(problems)
    return results


def _result_files(root: Path) -> tuple[list[Path], list[str]]:
    """Return the result files below `root`, and a sentence per folder that cannot be listed.

    Those that the project ships (`results/reference`) are found only when asked for by name.
    """
    found: list[Path] = []
    problems: list[str] = []

    def unlisted(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be listed ({error.strerror})")

    for place, folders, files in os.walk(root, onerror=unlisted):
        left_out = {"traces", SHIPPED} if Path(place) == root else {"traces"}
        folders[:] = [name for name in folders if name not in left_out]
        listed = (name for name in (*files, *folders) if name.endswith(".json") and not name.startswith("."))
        found += [Path(place, name) for name in listed]
    return sorted(found), problems
