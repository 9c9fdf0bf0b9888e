"""Read the rows of jsonl and json files, in one of these layouts:

one object per line
[{"text": ..., "label": ...}, ...]              an array of objects
{"data": [{"text": ..., "label": ...}, ...]}    an object that holds only one such array
{"text": [...], "label": [...]}                 an object of columns with equal lengths
{"data": [{"paragraphs": [...]}]}               SQuAD's own layout (`squad_json`)
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.data.formats import squad_json, text_files
from compress.data.formats.text_files import Malformed

Row = tuple[int, Mapping[str, Any]]
"""Line (or number of the object in an array) and object."""
LAYOUTS = (
    "one object per line, an array of objects, an object with one such array as its only value, or an object of "
    "columns, lists of one length"
)

SUSPECT = re.compile(r"\d{19}|\\u[dD][89a-fA-F]")
"""Text that may be an integer over 64 bits or half of a surrogate pair."""
SURROGATE = re.compile("[\ud800-\udfff]")


class Twice(dict[str, Any]):
    """An object with a duplicate key."""

    key: str


def read(path: Path, texts: Collection[str]) -> dict[str, list[Any]]:
    """Return the columns of a file, with null for missing values. Raises InputError with the first invalid line.

    The text columns `texts` must hold strings or null. Other columns of mixed types become text.
    """
    text, _ = text_files.read(path)
    try:
        rows = _rows(text, texts)
        names = dict.fromkeys(name for _, row in rows for name in row)
        text_files.check_columns(path, len(names))
        for number, row in rows if SUSPECT.search(text) else ():
            _check_values(row, number)
        for name in texts:
            _check_texts(rows, name)
    except Malformed as error:
        raise InputError(f"{path.name}: {error}") from None
    except RecursionError:
        raise InputError(f"{path.name}: nested too deep; expected an object of plain values a row") from None
    return {name: _one_type([row.get(name) for _, row in rows]) for name in names}


def lines(path: Path, texts: Collection[str]) -> list[int]:
    """Return the line of every row, or the number of its object in an array. Raises as `read` does."""
    return [number for number, _ in _rows(text_files.read(path)[0], texts)]


def _rows(text: str, texts: Collection[str]) -> list[Row]:
    if text.lstrip()[:1] == "[":
        return _objects(_parsed(text, 0))
    lines = [(number, line) for number, line in enumerate(text_files.split_lines(text), 1) if line.strip()]
    try:
        rows = [(number, _object(_parsed(line, number), number)) for number, line in lines]
    except Malformed as error:
        try:
            content = _parsed(text, 0)
        except Malformed:
            raise error from None
        rows = [(1, _object(content, 1))]
    return _unfolded(rows[0], texts) if len(rows) == 1 else rows


def _unfolded(row: Row, texts: Collection[str]) -> list[Row]:
    """Return the rows of a file of one object: its array or columns, or the object itself."""
    line, content = row
    if squad_json.is_nested(content):
        return list(enumerate(squad_json.rows(content), 1))
    lists = [value for value in content.values() if isinstance(value, list)]
    of_objects = [values != [] and all(isinstance(value, dict) for value in values) for values in lists]
    if len(lists) == len(content) == 1 and all(of_objects):
        return _objects(lists[0])
    if lists and len(lists) == len(content) and not any(of_objects) and len({len(values) for values in lists}) == 1:
        return [(n, dict(zip(content, values, strict=True))) for n, values in enumerate(zip(*lists, strict=True), 1)]
    nested = [name for name, value in content.items() if isinstance(value, list | dict)]
    if nested and not any(isinstance(content.get(name), str) for name in texts):
        raise Malformed(f"one object whose {nested[0]!r} is not a plain value; expected rows: {LAYOUTS}", line)
    return [row]


def _parsed(text: str, line: int) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_paired)
    except json.JSONDecodeError as error:
        raise Malformed(
            f"not JSON ({error.msg} at character {error.colno}); expected an object", line or error.lineno
        ) from None
    except ValueError:  # Python limits the digits of a number: sys.get_int_max_str_digits()
        raise Malformed("a number of thousands of digits; expected plain values", line or None) from None


def _paired(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    duplicate = Twice(fields)
    duplicate.key = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return duplicate


def _objects(values: list[Any]) -> list[Row]:
    return [(number, _object(value, number)) for number, value in enumerate(values, 1)]


def _object(value: Any, number: int) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Malformed(f"a {type(value).__name__}; expected an object with one value for each column", number)
    if isinstance(value, Twice):
        raise Malformed(f"{value.key!r} occurs twice; expected one value for each column", number)
    return value


def _check_values(row: Mapping[str, Any], number: int) -> None:
    """Raise Malformed for a value that no table can hold: half of a surrogate pair, an integer over 64 bits."""
    for name, value in row.items():
        for part in (name, *_parts(value)):
            if isinstance(part, str) and SURROGATE.search(part):
                raise Malformed(f"{name!r} holds {part[:60]!r}, half of a surrogate pair; expected a letter", number)
            if isinstance(part, int) and not -(2**63) <= part < 2**63:
                shown = str(part) if len(str(part)) <= 40 else f"{str(part)[:40]}..."
                raise Malformed(f"{name!r} is {shown}, which exceeds 64 bits; expected a smaller one or text", number)


def _parts(value: Any) -> Iterator[Any]:
    """Yield a value, or all values and keys inside it."""
    if isinstance(value, list | dict):
        for part in value if isinstance(value, list) else (*value, *value.values()):
            yield from _parts(part)
    else:
        yield value


def _check_texts(rows: list[Row], name: str) -> None:
    kinds = {type(row.get(name)) for _, row in rows}
    if len(kinds - {type(None)}) > 1:
        number, value = next((n, row[name]) for n, row in rows if not isinstance(row.get(name), str | None))
        raise Malformed(f"{name!r} is {value!r}, a {type(value).__name__}; expected text in every row", number)


def _one_type(values: list[Any]) -> list[Any]:
    """Return the values, converted to JSON text if one column cannot hold their types."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) < 2 or kinds == {int, float}:
        return values
    return [v if isinstance(v, str) or v is None else json.dumps(v) for v in values]
