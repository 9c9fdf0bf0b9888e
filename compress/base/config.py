"""Values that people write: frozen pydantic models, YAML with line numbers, and one error for everything wrong.

A mistake in a file is reported as `file:line path: what came; what was expected`. All mistakes of a file
are reported together, in one `InputError`; the command line turns it into exit code 2.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from compress.base import reading
from compress.base.errors import InputError as InputError  # noqa: PLC0414  offered here too
from compress.base.reading import shortened

MAX_YAML_BYTES = 64 * 1024  # a recipe is a page of text; anything larger is not one
MAX_YAML_DEPTH = 32
MAX_YAML_NODES = 5000  # a second of parsing
MAX_LETTERS = 4096  # of one value: the longest path that Linux takes
MAX_INTEGER = 2**53
MAX_PROBLEMS = 20
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Config(BaseModel):
    """Base of every configuration: frozen, no unknown fields; constructing one touches nothing."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )


C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Source:
    """Where a configuration came from: a name to print and the line of every dotted path."""

    name: str
    lines: Mapping[str, int]
    assigned: Mapping[str, Any] = field(default_factory=dict)
    """Paths and values that came from `--set`."""

    def at(self, path: str) -> str:
        """Return `--set path=value` for what was assigned, else `file:line path` by the nearest known parent."""
        for name, value in self.assigned.items():
            if path == name or path.startswith(f"{name}."):
                return f"--set {name}={shortened(str(value))}" + (f" {path}" if path != name else "")
        probe = path
        while probe and probe not in self.lines:
            probe = probe.rpartition(".")[0]
        line = self.lines.get(probe)
        place = f"{self.name}:{line}" if line else self.name
        return f"{place} {path}" if path else place


def read_text(path: Path, what: str) -> str:
    """The text of a small file, or an `InputError` that says why it cannot be read."""
    try:
        return reading.content(path, what, MAX_YAML_BYTES).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def parse_yaml(text: str, name: str) -> tuple[dict[str, Any], Source]:
    """The mapping in a YAML 1.2 text, and the line of every path in it. Aliases are refused: they make bombs."""
    data = _loaded(text, name)
    if data is None:
        raise InputError(f"{name}: the file is empty; expected a mapping of fields")
    if not isinstance(data, dict):
        raise InputError(f"{name}: a {type(data).__name__}; expected a mapping of fields")
    lines: dict[str, int] = {}
    return _plain(data, "", lines), Source(name, lines)


def _loaded(text: str, name: str) -> Any:
    """The ruamel tree of a YAML text. Raises InputError, one sentence, where it is none or more than a page of text."""
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
    except (YAMLError, ValueError) as error:  # ValueError: an integer of 5000 digits, a letter beyond Unicode
        raise InputError(f"{name}: not valid YAML ({shortened(' '.join(str(error).split()))})") from None


def _yaml() -> Any:
    """A reader of YAML 1.2, whose core schema has no dates: 2020-13-45 is text."""
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import RoundTripConstructor

    class Constructor(RoundTripConstructor):
        """The reader's, without dates."""

    Constructor.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))
    yaml = YAML(typ="rt")
    yaml.Constructor = Constructor
    return yaml


def _refuse_bombs(text: str, name: str) -> None:
    """Raises InputError for a YAML text with aliases or tags, nested too deep, or of too many values."""
    from ruamel.yaml.events import AliasEvent

    if len(text) > MAX_YAML_BYTES:
        raise InputError(f"{name}: {len(text)} letters; expected {MAX_YAML_BYTES} at most")
    depth = 0
    for count, event in enumerate(_yaml().parse(text)):
        place = f"{name}:{event.start_mark.line + 1}"
        if isinstance(event, AliasEvent):
            raise InputError(f"{place}: a YAML alias (*name); write the value out")
        if getattr(event, "ctag", None) is not None:
            raise InputError(f"{place}: a YAML tag ({shortened(str(event.tag))}); leave it out, and quote what is text")
        if count > MAX_YAML_NODES:
            raise InputError(f"{place}: over {MAX_YAML_NODES} values; expected a page of text")
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MAX_YAML_DEPTH:
            raise InputError(f"{place}: nested deeper than {MAX_YAML_DEPTH} levels")


def _plain(node: Any, path: str, lines: dict[str, int]) -> Any:
    """Plain dicts and lists of a ruamel tree; fills `lines` with dotted path -> line."""
    if isinstance(node, dict):
        marks = getattr(getattr(node, "lc", None), "data", None) or {}
        for key in node:
            if key in marks:
                lines[_join(path, key)] = marks[key][0] + 1
        return {str(key): _plain(value, _join(path, key), lines) for key, value in node.items()}
    if isinstance(node, list):
        marks = getattr(getattr(node, "lc", None), "data", None) or {}
        for index in range(len(node)):
            if index in marks:
                lines[_join(path, index)] = marks[index][0] + 1
        return [_plain(value, _join(path, index), lines) for index, value in enumerate(node)]
    if isinstance(node, bool) or node is None:
        return node
    for plain in (int, float, str):  # ruamel's ScalarFloat and friends carry formatting that nobody here needs
        if isinstance(node, plain):
            return plain(node)
    return node


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def validate(kind: type[C], data: Mapping[str, Any], source: Source) -> C:
    """`data` as a `kind`, or one `InputError` naming every problem with its file, line, path and received value."""
    unusable = [f"{source.at(path)}: {why}" for path, why in _unusable(data, "")]
    if unusable:
        raise InputError(_first(unusable))
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        said = [_sentence(item, data, source, kind) for item in found[:MAX_PROBLEMS]]
        raise InputError(_first(said, len(found))) from None


def _first(problems: list[str], count: int = 0) -> list[str]:
    """The first problems, and how many more there are."""
    more = max(len(problems), count) - MAX_PROBLEMS
    return problems if more <= 0 else [*problems[:MAX_PROBLEMS], f"and {more} more problems"]


def _unusable(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Path and reason of everything that no field can take: control characters, texts and integers without measure."""
    if isinstance(node, Mapping | list):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _unusable(key, path)
            yield from _unusable(value, _join(path, key))
    elif isinstance(node, str):
        if len(node) > MAX_LETTERS:
            yield path, f"{_short(node)}: {len(node)} letters; expected {MAX_LETTERS} at most"
        elif CONTROL.search(node):
            yield path, f"{_short(node)}: has control characters; expected one line of text"
    elif isinstance(node, int) and abs(node) > MAX_INTEGER:
        yield path, f"{_short(node)}: expected an integer of at most {MAX_INTEGER}"


def _sentence(item: Any, data: Any, source: Source, kind: type[BaseModel]) -> str:
    """One pydantic error in our words: the tags of unions removed from the path, close names suggested."""
    parts: list[str] = []
    node = data
    for key in item["loc"]:
        if (isinstance(node, Mapping) and key in node) or (
            isinstance(node, list) and isinstance(key, int) and key < len(node)
        ):
            node = node[key]
        elif key is item["loc"][-1] and item["type"] == "missing":
            node = None
        else:
            continue  # the tag of a union: no such key in what was written
        parts.append(str(key))
    place = shortened(source.at(".".join(parts)), 400)
    received = "" if item["type"] == "missing" else f"{_short(item['input'])}: "
    if item["type"] == "extra_forbidden":
        owners = _owners(kind, str(item["loc"][-1]))
        if owners:
            return f"{place}: no field here; it belongs to {' and '.join(owners)}"
        return f"{place}: unknown field{did_you_mean(str(item['loc'][-1]), _field_names(kind))}"
    if item["type"] == "missing":
        return f"{place}: missing; this field is required"
    if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        context = item.get("ctx", {})
        wanted = context.get("expected_tags", "")
        return (
            f"{place}: {_short(context.get('tag', item['input']))}: unknown method; expected one of {wanted}".rstrip()
        )
    if item["type"] == "tuple_type":
        return f"{place}: {received}expected a list (lines that begin with -, or [ ])"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return f"{place}: {received}{message[:1].lower()}{message[1:]}"


@cache
def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    from pydantic.json_schema import model_json_schema

    return model_json_schema(kind)


def _field_names(kind: type[BaseModel]) -> set[str]:
    """All names of fields in a model and the models inside it: the pool for suggestions."""
    schema = _schema(kind)
    names = set(schema.get("properties", ()))
    for part in schema.get("$defs", {}).values():
        names |= set(part.get("properties", ()))
    return names


def _owners(kind: type[BaseModel], field: str) -> list[str]:
    """Which of the parts of a model have a field of this name."""
    schema = _schema(kind)
    parts = {**schema.get("$defs", {}), kind.__name__: schema}
    owners = [part.get("title", name) for name, part in parts.items() if field in part.get("properties", ())]
    return sorted(name.lower() for name in owners)


def _short(value: object, limit: int = 60) -> str:
    if isinstance(value, int) and value.bit_length() > 256:  # Python writes 4300 digits at most
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def is_index(text: str) -> bool:
    """Whether this text is a place in a list: ASCII digits, few enough to be one."""
    return text.isascii() and text.isdecimal() and len(text) < 10


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` with the closest known name, or nothing if none is close."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def set_path(data: dict[str, Any], path: str, value: Any) -> None:
    """Sets `steps.0.bits` in nested dicts and lists, in place; missing mappings on the way are made."""
    node: Any = data
    keys = path.split(".")
    if len(keys) > MAX_YAML_DEPTH:
        raise InputError(f"--set {shortened(path)}: {len(keys)} levels; expected {MAX_YAML_DEPTH} at most")
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list):
            if not is_index(key) or int(key) >= len(node):
                raise InputError(f"--set {shortened(path)}: no item {key!r} in a list of {len(node)}")
            index: Any = int(key)
        elif isinstance(node, dict):
            index = key
        else:
            raise InputError(f"--set {shortened(path)}: {'.'.join(keys[:depth])} is not a mapping or a list")
        if last:
            node[index] = value
        elif isinstance(node, dict):
            node = node.setdefault(index, {})
            if isinstance(node, str):  # `measure: quick` becomes {profile: quick} where one of its fields is set
                owner = ".".join(keys[: depth + 1])
                way_out = "; the file that --workload names holds its fields: change them there" * (owner == "workload")
                raise InputError(f"--set {shortened(path)}: {owner} is {_short(node)}, which has no fields{way_out}")
        else:
            node = node[index]


def parse_assignment(text: str) -> tuple[str, Any]:
    """`path=value` with the value read as YAML: `steps.0.bits=4`."""
    path, equals, value = text.partition("=")
    said = shortened(text if text.isprintable() else repr(text))
    if not equals or not path.strip() or not path.isprintable():
        raise InputError(f"--set {said}: expected path=value, for example steps.0.bits=4")
    return path.strip(), _plain(_loaded(value, f"--set {said}"), "", {})


def check_name(name: str, what: str) -> str:
    """`name`, or an `InputError` when it could leave its folder or carry markup."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{what} name {_short(name)}: expected letters, digits, '.', '_' and '-', starting with a letter or digit, "
            "100 at most"
        )
    return name


def digest(value: Any) -> str:
    """16 hex digits that change whenever the plain value does."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
