"""Result files: written whole or not at all, read without torch."""

import contextlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from compress.config import InputError
from compress.files import write_atomic
from compress.places import inside, one_name
from compress.result import SCHEMA, Result

SHIPPED = "reference"


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Result)


def result_path(root: Path, workload: str, recipe: str, machine: str, limit: int | None) -> Path:
    """`root/<workload>/<recipe>-<machine id>.json`; a limited result has a file of its own beside the whole one."""
    limited = "" if limit is None else f"-limit{limit}"
    return root / workload / f"{recipe}-{machine}{limited}.json"


def own_path(result: Result) -> Path:
    """Where a result that anybody may have written belongs, within a folder of results.

    Raises InputError where a name of it is none of a file.
    """
    place = f"result {result.name!r:.80}:"
    names = {"workload.name": result.workload.get("name"), "name": result.name, "machine.id": result.machine.id}
    workload, recipe, machine = (one_name(value, f"{place} {field}") for field, value in names.items())
    return result_path(Path(), workload, recipe, machine, result.limit)


def write(root: Path, result: Result) -> Path:
    """Writes one result below `root`; returns its path. Raises InputError where its names would leave that folder."""
    path = root / own_path(result)
    replace_file(path, result)
    return path


def replace_file(path: Path, result: Result) -> None:
    """Writes a result to this file."""
    write_atomic(path, _adapter().dump_json(result, indent=1) + b"\n")


def read(path: Path) -> Result:
    """One result, or an `InputError` that says what is wrong with the file."""
    from pydantic import ValidationError

    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a result file (.json)")
    try:
        data = path.read_bytes()
        with contextlib.suppress(ValidationError):  # what is wrong with a file is found out below
            made: Result = _adapter().validate_json(data)
            if made.schema == SCHEMA:
                return made
        raw = json.loads(data)
    except FileNotFoundError:
        raise InputError(f"{path}: no such result file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); it was damaged or is no result") from None
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path}: result schema {schema!r}; this version reads {SCHEMA}")
    try:
        return _adapter().validate_python(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}; not a result of this version") from None


def read_all(root: Path) -> tuple[list[Result], list[str]]:
    """Every result below `root`, sorted by path, and one sentence per file that could not be read."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; run a recipe first: python -m compress run bert_int8")
    results: list[Result] = []
    problems: list[str] = []
    for path in _result_files(root):
        try:
            results.append(read(inside(root, path.relative_to(root).as_posix(), f"{path}: the result")))
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


def _result_files(root: Path) -> Iterable[Path]:
    """Result files below `root`; those that the project ships (`results/reference`) only when asked for by name."""
    files = (
        p for p in root.rglob("*.json") if not p.name.startswith(".") and "traces" not in p.relative_to(root).parts
    )
    return sorted(p for p in files if p.relative_to(root).parts[0] != SHIPPED)
