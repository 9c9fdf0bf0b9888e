"""Result files: written whole or not at all, read without torch."""

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.base import reading
from compress.base.config import InputError
from compress.base.files import write_atomic
from compress.base.places import inside, one_name
from compress.base.reading import is_folder, shortened
from compress.records.result import READABLE, Result

if TYPE_CHECKING:
    from pydantic import ValidationError

SHIPPED = "reference"
MOST_BYTES = 64_000_000  # a result of a thousand rounds has a few


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Result)


def result_path(root: Path, workload: str, recipe: str, machine: str, limit: int | None) -> Path:
    """Return `root/<workload>/<recipe>-<machine id>.json`; a limited result ends in `-limitN.json`."""
    limited = "" if limit is None else f"-limit{limit}"
    return root / workload / f"{recipe}-{machine}{limited}.json"


def own_path(result: Result) -> Path:
    """Return the path of an untrusted result, relative to the folder of results.

    Raises InputError if its workload, name or machine id cannot be part of a file name.
    """
    place = f"result {result.name!r:.80}:"
    names = {"workload.name": result.workload.get("name"), "name": result.name, "machine.id": result.machine.id}
    workload, recipe, machine = (one_name(value, f"{place} {field}") for field, value in names.items())
    return result_path(Path(), workload, recipe, machine, result.limit)


def write(root: Path, result: Result) -> Path:
    """Write one result below `root` and return its path. Raises InputError if its names would lead out of `root`."""
    path = root / own_path(result)
    replace_file(path, result)
    return path


def replace_file(path: Path, result: Result) -> None:
    """Write a result to this file."""
    write_atomic(path, _adapter().dump_json(result, indent=1) + b"\n")


class Foreign(InputError):
    """The file is JSON, but not a result."""


class OtherSchema(InputError):
    """The file is a result of another schema, which this version cannot read."""


def read(path: Path) -> Result:
    """Return one result. Raises InputError if it cannot be read, Foreign if the file is not a result."""
    from pydantic import ValidationError

    data = reading.content(path, "result", MOST_BYTES)
    try:
        result: Result = _adapter().validate_json(data)
    except ValidationError as error:
        raise _describe_refusal(path, data, error) from None
    if result.schema not in READABLE:
        raise OtherSchema(f"{path}: {_other_schema(result.schema)}")
    return result


def _describe_refusal(path: Path, data: bytes, error: "ValidationError") -> InputError:
    """Return the error for content that is not a result of this version."""
    from pydantic_core import from_json

    first = error.errors(include_url=False)[0]
    message = shortened(first["msg"].removeprefix("Value error, ").removeprefix("Invalid JSON: "))
    if first["type"] == "json_invalid":
        return InputError(f"{path}: not JSON ({message}); it is damaged or not a result")
    raw = from_json(data)
    if not isinstance(raw, dict) or "schema" not in raw:
        return Foreign(f"{path}: {_other_schema(None)}")
    if type(raw["schema"]) is not int or raw["schema"] not in READABLE:
        return OtherSchema(f"{path}: {_other_schema(raw['schema'])}")
    place = shortened(".".join(str(part) for part in first["loc"]))
    if first["type"] == "finite_number":
        return InputError(f"{path}: not a result: {place} is {first['input']}; expected a finite number")
    if first["type"] == "missing":
        return InputError(f"{path}: not a result: {place} is missing")
    return InputError(f"{path}: not a result: {place}: {message}")


def _other_schema(schema: object) -> str:
    return f"result schema {shortened(repr(schema))}; this version reads {' and '.join(map(str, READABLE))}"


def refuse_other(path: Path) -> None:
    """Raise InputError for a file that a result must not replace: another schema, or not a result.

    A damaged result may be replaced.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; expected a result or no such file: remove it, or use another --out")
    try:
        if path.exists():
            read(path)
    except (Foreign, OtherSchema) as error:
        raise InputError(f"{error}: not overwritten; move it, or choose another folder with --out") from None
    except InputError:
        return


def read_all(root: Path, below: bool = True) -> tuple[list[Result], list[str]]:
    """Return all results below `root`, sorted by path, and one sentence per file that could not be read.

    `below`: also those in folders of it.
    """
    results, foreign, damaged = read_known(root, below)
    return results, [*foreign, *damaged]


def read_known(root: Path, below: bool = True) -> tuple[list[Result], list[str], list[str]]:
    """Return all results below `root`, one sentence per file that is not a result, and one per damaged result."""
    if not is_folder(root):
        raise InputError(f"{root}: no such folder; run a recipe first: python -m compress run bert_int8")
    results: list[Result] = []
    foreign: list[str] = []
    damaged: list[str] = []
    paths, problems = _result_files(root, below)
    for path in paths:
        try:
            results.append(read(inside(root, path.relative_to(root).as_posix(), f"{path}: the result")))
        except Foreign as error:
            foreign.extend(error.problems)
        except InputError as error:
            damaged.extend(error.problems)
    return results, foreign, [*problems, *damaged]


def holding(root: Path, result: Result) -> Path | None:
    """Return the file below `root` that holds this very result, or None.

    Files with the name that `write` gives it are read first.
    """
    try:
        own = own_path(result)
    except InputError:  # a result of somebody else, whose name cannot be part of a file name
        own = Path()
    paths = _result_files(root)[0] if is_folder(root) else []
    for path in sorted(paths, key=lambda path: (path != root / own, path.name != own.name, path)):
        try:
            found = read(inside(root, path.relative_to(root).as_posix(), f"{path}: the result"))
        except InputError:
            continue  # not a readable result, so not this one
        if identity(found) == identity(result):
            return path
    return None


def identity(result: Result) -> tuple[object, ...]:
    """Return what no two measurements have in common: name, time, session, machine, limit, meter and fingerprint."""
    meter = result.headline.energy_source if result.headline is not None else None
    machine = (result.machine.id, result.machine.device)
    workload = str(result.workload.get("name", ""))
    return (result.name, workload, result.created, result.session, *machine, result.limit, meter, result.fingerprint)


def named(paths: Iterable[Path]) -> list[Path]:
    """Return these files, with folders replaced by the result files below them."""
    return [file for path in paths for file in (_result_files(path)[0] if is_folder(path) else [path])]


def _result_files(root: Path, below: bool = True) -> tuple[list[Path], list[str]]:
    """Return the result files below `root`, and one sentence per folder that cannot be listed.

    Without `below`, folders of it are left out. Shipped results (`results/reference`) are only listed if `root` is that
    folder.
    """
    paths: list[Path] = []
    problems: list[str] = []

    def unlisted(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be listed ({error.strerror})")

    for place, folders, files in os.walk(root, onerror=unlisted):
        excluded = {"traces", SHIPPED} if Path(place) == root else {"traces"}
        folders[:] = [name for name in folders if name not in excluded]
        listed = (name for name in (*files, *folders) if name.endswith(".json") and not name.startswith("."))
        paths += [Path(place, name) for name in listed]
        if not below:
            break
    return sorted(paths), problems
