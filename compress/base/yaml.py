"""YAML 1.2 texts as plain mappings with the line of every path. Texts that expand or nest too far are refused."""

import math
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compress.base import reading
from compress.base.errors import InputError
from compress.base.reading import shortened

MAX_BYTES = 64 * 1024  # a recipe is a page of text
MAX_DEPTH = 32
MAX_NODES = 5000  # a second of parsing


@dataclass(frozen=True)
class Source:
    """Origin of a configuration: a name to print and the line of every dotted path."""

    name: str
    lines: Mapping[str, int]
    assigned: Mapping[str, Any] = field(default_factory=dict)
    """Paths and values from `--set`."""

    def at(self, path: str) -> str:
        """Return `--set path=value` for an assigned path, or `file:line path` with the line of the nearest parent."""
        name = self._assignment(path)
        if name is not None:
            return f"--set {name}={shortened(typed(self.assigned[name]))}" + (f" {path}" if path != name else "")
        probe = path
        while probe and probe not in self.lines:
            probe = probe.rpartition(".")[0]
        line = self.lines.get(probe)
        place = f"{self.name}:{line}" if line else self.name
        return f"{place} {path}" if path else place

    def assigned_below(self, path: str, fields: Collection[str]) -> list[str]:
        """Return `--set path=value` for each assigned one of these fields of the mapping at a path."""
        places = {f"{path}.{name}" if path else name for name in fields}
        return [f"--set {name}={typed(value)}" for name, value in self.assigned.items() if name in places]

    def shows(self, path: str, value: Any) -> bool:
        """Return whether `at(path)` already contains this value."""
        name = self._assignment(path)
        return name is not None and bool(self.assigned[name] == value)

    def _assignment(self, path: str) -> str | None:
        """Return the `--set` path that assigned this path or a parent of it; None if there is none."""
        return next((name for name in self.assigned if path == name or path.startswith(f"{name}.")), None)


def read_text(path: Path, what: str) -> str:
    """Return the text of a small file. Raises InputError with the reason if it cannot be read."""
    try:
        return reading.content(path, what, MAX_BYTES).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def parse_yaml(text: str, name: str) -> tuple[dict[str, Any], Source]:
    """Return the mapping in a YAML 1.2 text, and the line of every path in it.

    Raises InputError for aliases: a few nested ones expand to gigabytes.
    """
    data = _load(text, name)
    if data is None:
        raise InputError(f"{name}: the file is empty; expected a mapping of fields")
    if not isinstance(data, dict):
        what = "a list" if isinstance(data, list) else "one value"
        raise InputError(f"{name}: {what}; expected a mapping of fields, such as name: value")
    lines: dict[str, int] = {}
    return _to_plain(data, "", lines), Source(name, lines)


def parse_value(text: str, name: str) -> Any:
    """Return the plain value that a YAML text holds. Raises InputError as `parse_yaml` does."""
    return _to_plain(_load(text, name), "", {})


def _load(text: str, name: str) -> Any:
    """Return the ruamel tree of a YAML text. Raises InputError, one sentence, if it is invalid or too large."""
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        _refuse_bombs(text, name)
        return _yaml().load(text)
    except InputError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}:{mark.line + 1}" if mark else name
        reason = shortened(" ".join(str(error.problem or error.context or "unreadable").split()))
        raise InputError(f"{place}: not valid YAML ({reason})") from None
    except (YAMLError, ValueError) as error:  # ValueError: an integer of 5000 digits, a code point beyond Unicode
        if "integer string conversion" in str(error):
            raise InputError(
                f"{name}: not valid YAML (an integer of over {sys.get_int_max_str_digits()} digits)"
            ) from None
        raise InputError(f"{name}: not valid YAML ({shortened(' '.join(str(error).split()))})") from None


def _yaml() -> Any:
    """Return a reader of YAML 1.2, whose core schema has no dates: 2020-13-45 is text."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import RoundTripConstructor

    class Constructor(RoundTripConstructor):
        """The round-trip constructor, without dates."""

    Constructor.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))
    yaml = YAML(typ="rt")
    yaml.Constructor = Constructor
    return yaml


def _refuse_bombs(text: str, name: str) -> None:
    """Raise InputError for a YAML text with aliases or tags, too many levels, or too many values."""
    from ruamel.yaml.events import AliasEvent

    if len(text) > MAX_BYTES:
        raise InputError(f"{name}: {len(text)} letters; expected {MAX_BYTES} at most")
    depth = 0
    for count, event in enumerate(_yaml().parse(text)):
        place = f"{name}:{event.start_mark.line + 1}"
        if isinstance(event, AliasEvent):
            raise InputError(f"{place}: a YAML alias (*name); write the value out")
        if getattr(event, "ctag", None) is not None:
            raise InputError(f"{place}: a YAML tag ({shortened(str(event.tag))}); remove it, and put text in quotes")
        if count > MAX_NODES:
            raise InputError(f"{place}: too many values; expected {MAX_NODES} at most")
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MAX_DEPTH:
            raise InputError(f"{place}: nested deeper than {MAX_DEPTH} levels")


def _to_plain(node: Any, path: str, lines: dict[str, int]) -> Any:
    """Return a ruamel tree as plain dicts and lists; fills `lines` with dotted path -> line."""
    if isinstance(node, dict):
        marks = getattr(getattr(node, "lc", None), "data", None) or {}
        for key in node:
            if key in marks:
                lines[join(path, key)] = marks[key][0] + 1
        return {str(key): _to_plain(value, join(path, key), lines) for key, value in node.items()}
    if isinstance(node, list):
        marks = getattr(getattr(node, "lc", None), "data", None) or {}
        for index in range(len(node)):
            if index in marks:
                lines[join(path, index)] = marks[index][0] + 1
        return [_to_plain(value, join(path, index), lines) for index, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for plain in (int, float, str):  # ruamel's ScalarFloat and similar types carry formatting that is not needed
        if isinstance(node, plain):
            return plain(node)
    return node


def typed(value: Any) -> str:
    """Return a plain value as people write it in YAML: null, true, .inf, [1, 2], {a: b}."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else "-.inf" if value < 0 else ".inf"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {typed(item)}' for key, item in value.items())}}}"
    return f"[{', '.join(map(typed, value))}]" if isinstance(value, list) else str(value)


def join(path: str, key: object) -> str:
    """Return the dotted path of a key below a path."""
    return f"{path}.{key}" if path else str(key)
