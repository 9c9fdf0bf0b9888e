"""Rows of jsonl and json files: one object a line, one array of objects, or an object that holds one such array."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.data.formats import text_files
from compress.data.formats.text_files import Malformed

Row = tuple[int, Mapping[str, Any]]
"""Line (or number of the object in an array) and object."""


def read(path: Path, texts: Collection[str]) -> dict[str, list[Any]]:
    """Return the columns of a file; null where a row lacks one. Raises InputError with the line that is no row.

    Values of `texts`, the text columns, are strings or null. Another column of mixed types becomes text.
    """
    text, _ = text_files.read(path)
    try:
        rows = _rows(text)
        names = dict.fromkeys(name for _, row in rows for name in row)
        for name in texts:
            _check_texts(rows, name)
    except Malformed as error:
        raise InputError(f"{path.name}: {error}") from None
    except RecursionError:
        raise InputError(f"{path.name}: nested too deep; expected an object of plain values a row") from None
    return {name: _one_type([row.get(name) for _, row in rows]) for name in names}


def _rows(text: str) -> list[Row]:
    if text.lstrip()[:1] == "[":
        return _objects(_parsed(text, 0))
    lines = [(number, line) for number, line in enumerate(text_files.split_lines(text), 1) if line.strip()]
    try:
        rows = [(number, _object(_parsed(line, number), number)) for number, line in lines]
    except Malformed as error:
        try:
            whole = json.loads(text)
        except ValueError:
            raise error from None
        rows = [(1, _object(whole, 1))]
    if len(rows) == 1 and len(rows[0][1]) == 1:
        (inner,) = rows[0][1].values()
        if isinstance(inner, list) and all(isinstance(value, dict) for value in inner):
            return _objects(inner)
    return rows


def _parsed(text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise Malformed(
            f"no JSON ({error.msg} at letter {error.colno}); expected an object", line or error.lineno
        ) from None


def _objects(values: list[Any]) -> list[Row]:
    return [(number, _object(value, number)) for number, value in enumerate(values, 1)]


def _object(value: Any, number: int) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"a {type(value).__name__}; expected an object with one value for each column", number)
    return value


def _check_texts(rows: list[Row], name: str) -> None:
    kinds = {type(row.get(name)) for _, row in rows}
    if len(kinds - {type(None)}) > 1:
        number, value = next((n, row[name]) for n, row in rows if not isinstance(row.get(name), str | None))
        raise Malformed(f"{name!r} is {value!r}, a {type(value).__name__}; expected text in every row", number)


def _one_type(values: list[Any]) -> list[Any]:
    """Return the values, as JSON where they are of types that one column cannot hold."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2 or kinds == {int, float}:
        return values
    return [v if isinstance(v, str) or v is None else json.dumps(v) for v in values]
