"""Configuration files: frozen pydantic models, YAML with line numbers, and one error for all mistakes of a file.

A mistake in a file is reported as `file:line path: what came; what was expected`. All mistakes of a file
are reported together, in one `InputError`; the command line turns it into exit code 2.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from compress.base.errors import InputError as InputError  # noqa: PLC0414  exported here too
from compress.base.numeric import refuse_booleans
from compress.base.reading import shortened
from compress.base.yaml import MAX_DEPTH, Source, join, parse_value, typed

MAX_LETTERS = 4096  # of one value: the longest path that Linux accepts
MAX_INTEGER = 2**53
MAX_PROBLEMS = 20
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Config(BaseModel):
    """Base of every configuration: frozen, no unknown fields; constructing one touches nothing."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return pydantic's schema with numbers that refuse booleans."""
        return refuse_booleans(handler(source))

    several_lines: ClassVar[tuple[str, ...]] = ()
    """Paths of fields whose text may have several lines; other texts are one line."""

    if not TYPE_CHECKING:  # type checkers see the constructor with the fields

        def __init__(self, **fields: Any) -> None:
            """Check the fields of a call from Python. Raises InputError with one sentence per problem."""
            try:
                super().__init__(**fields)
            except ValidationError as error:
                kind = type(self)
                raise _problems(kind, fields, Source(kind.__name__, {}), error) from None

        __init__.__pydantic_base_init__ = True  # files are validated without it: their problems have lines


C = TypeVar("C", bound=Config)


def validate(kind: type[C], data: Mapping[str, Any], source: Source) -> C:
    """Return `data` as a `kind`. Raises one InputError with the file, line, path and value of every problem."""
    unusable = [f"{source.at(path)}: {why}" for path, why in _unusable_values(data, "", kind.several_lines)]
    if unusable:
        raise InputError(_first_problems(unusable))
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise _problems(kind, data, source, error) from None


def _problems(kind: type[BaseModel], data: Mapping[str, Any], source: Source, error: ValidationError) -> InputError:
    """Return pydantic's errors as one InputError with a sentence each."""
    errors = error.errors()
    sentences = [_describe_error(item, data, source, kind) for item in errors[:MAX_PROBLEMS]]
    return InputError(_first_problems(sentences, len(errors)))


def _first_problems(problems: list[str], count: int = 0) -> list[str]:
    """Return the first problems, and a line with the number of further ones.

    `count` is the number of all problems, if `problems` has been cut already.
    """
    more = max(len(problems), count) - MAX_PROBLEMS
    return problems if more <= 0 else [*problems[:MAX_PROBLEMS], f"and {more} more problems"]


def _unusable_values(node: Any, path: str, several_lines: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield path and reason of every value that no field accepts: control characters, huge texts and integers."""
    if isinstance(node, Mapping | list):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _unusable_values(key, path, ())
            yield from _unusable_values(value, join(path, key), several_lines)
    elif isinstance(node, str):
        if len(node) > MAX_LETTERS:
            yield path, f"{_short(node)}: {len(node)} letters; expected {MAX_LETTERS} at most"
        elif CONTROL.search(node.replace("\n", "") if path in several_lines else node):
            yield path, f"{_short(node)}: has control characters; expected one line of text"
    elif isinstance(node, int) and abs(node) > MAX_INTEGER:
        yield path, f"{_short(node)}: expected an integer of at most {MAX_INTEGER}"


def _describe_error(item: Any, data: Any, source: Source, kind: type[BaseModel]) -> str:
    """Return one pydantic error as a sentence: without the tags of unions in the path, with close names suggested."""
    parts: list[str] = []
    node = data
    for key in item["loc"]:
        if (isinstance(node, Mapping) and key in node) or (
            isinstance(node, list | tuple) and isinstance(key, int) and key < len(node)
        ):
            node = node[key]
        elif key is item["loc"][-1] and item["type"] == "missing":
            node = None
        else:
            continue  # the tag of a union, which is no key of the data
        parts.append(str(key))
    path = ".".join(parts)
    place = shortened(source.at(path), 400)
    is_shown = item["type"] == "missing" or source.shows(path, item["input"])
    received = "" if is_shown else f"{_short(item['input'])}: "
    if item["type"] == "extra_forbidden":
        owners = _parts_with(kind, str(item["loc"][-1]))
        if owners:
            return f"{place}: unknown field here; it belongs to {', '.join(owners)}"
        return f"{place}: unknown field{did_you_mean(str(item['loc'][-1]), _field_names(kind))}"
    if item["type"] == "missing":
        return f"{place}: missing; this field is required"
    if item["type"] in ("union_tag_invalid", "union_tag_not_found"):
        context = item.get("ctx", {})
        field = str(context["discriminator"]).strip("'")
        given = item["input"].get(field) if isinstance(item["input"], Mapping) else None
        problem = f"{field} is missing" if given is None else f"{_short(given)}: unknown {field}"
        return f"{place}: {problem}; expected one of {', '.join(_tags(kind, field))}"
    if item["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{place}: {received}expected a mapping of fields (lines of name: value, or {{ }})"
    if item["type"] == "tuple_type":
        return f"{place}: {received}expected a list (lines that begin with -, or [ ])"
    message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if item["type"] == "value_error" and isinstance(item["input"], Mapping | list | tuple | BaseModel):
        inner, _, reason = message.partition(": ")
        if path and inner.startswith(f"{path}."):
            return f"{shortened(source.at(inner), 400)}: {reason}"
        assigned = source.assigned_below(path, set(re.findall(r"\w+", message)))
        place = shortened(", ".join(assigned), 400) if assigned else place
        return f"{place}: {message}"  # a rule for several fields, whose sentence names their values
    message = f"{message[:1].lower()}{message[1:]}"
    if item["type"] == "literal_error" and isinstance(item["input"], str):
        message += did_you_mean(item["input"], re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    return f"{place}: {received}{message}"


@cache
def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    from pydantic.json_schema import model_json_schema

    return model_json_schema(kind)


def _field_names(kind: type[BaseModel]) -> set[str]:
    """Return the names of all fields of a model and its nested models: the candidates for suggestions."""
    schema = _schema(kind)
    names = set(schema.get("properties", ()))
    for part in schema.get("$defs", {}).values():
        names |= set(part.get("properties", ()))
    return names


def _parts_with(kind: type[BaseModel], field: str) -> list[str]:
    """Return where a field of this name is known: methods of steps, and fields that hold it."""
    schema = _schema(kind)
    parts = {**schema.get("$defs", {}), kind.__name__: schema}
    places = {
        place for name, part in parts.items() if field in part.get("properties", ()) for place in _users(name, parts)
    }
    return sorted(places)


def _users(name: str, parts: Mapping[str, Any]) -> list[str]:
    """Return the fields for users whose value is the part of this name; the name itself for a method of a step."""
    properties = [entry for part in parts.values() for entry in part.get("properties", {}).items()]
    shown = {field: json.dumps(shape) for field, shape in properties if not shape.get("internal")}
    using = [field for field, text in shown.items() if f'"#/$defs/{name}"' in text and "propertyName" not in text]
    return using or [str(parts[name].get("title", name)).lower()]


def _tags(kind: type[BaseModel], field: str) -> list[str]:
    """Return the values that tell the parts of a union apart, such as the methods of steps."""
    shapes = [part.get("properties", {}).get(field, {}) for part in _schema(kind).get("$defs", {}).values()]
    return [str(shape["const"]) for shape in shapes if "const" in shape]


def _short(value: object, limit: int = 60) -> str:
    if isinstance(value, int) and value.bit_length() > 256:  # Python prints 4300 digits at most
        return f"an integer of {value.bit_length()} bits"
    text = typed(value) if value is None or isinstance(value, float) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def is_index(text: str) -> bool:
    """Return whether a text is an index into a list: ASCII digits, fewer than 10."""
    return text.isascii() and text.isdecimal() and len(text) < 10


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` with the closest known name, or an empty text if none is close."""
    by_lower = {each.lower(): each for each in sorted(known, reverse=True)}
    near = difflib.get_close_matches(name.lower(), sorted(by_lower), n=1)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def suggestion_or_list(name: str, shipped: Sequence[str]) -> str:
    """Return `; did you mean X?` with the closest shipped name, or a list of all if none is close."""
    return did_you_mean(name, shipped) or f"; shipped are: {', '.join(shipped)}"


def set_path(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a path such as `steps.0.bits` in nested dicts and lists, in place; missing mappings are created."""
    node: Any = data
    keys = path.split(".")
    if len(keys) > MAX_DEPTH:
        raise InputError(f"--set {shortened(path)}: {len(keys)} levels; expected {MAX_DEPTH} at most")
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list):
            if not is_index(key) or int(key) >= len(node):
                owner = ".".join(keys[:depth])
                first = f"; {owner} count from 0" if node else ""
                raise InputError(f"--set {shortened(path)}: no item {key!r} in a list of {len(node)}{first}")
            index: Any = int(key)
        elif isinstance(node, dict):
            index = key
        else:
            raise InputError(f"--set {shortened(path)}: {'.'.join(keys[:depth])} is not a mapping or a list")
        if last:
            node[index] = value
        elif isinstance(node, dict):
            node = node.setdefault(index, {})
            if isinstance(node, str):  # the caller has turned `measure: quick` into {profile: quick}
                owner = ".".join(keys[: depth + 1])
                way_out = "; change its fields in the workload file that --workload names" * (owner == "workload")
                raise InputError(f"--set {shortened(path)}: {owner} is {_short(node)}, which has no fields{way_out}")
        else:
            node = node[index]


def check_replaced(overrides: Sequence[tuple[str, Any]]) -> None:
    """Raise InputError if one override sets the same path as an earlier one with another value, or a parent of it."""
    problems = []
    for position, (path, value) in enumerate(overrides):
        for earlier, before in overrides[:position]:
            if (path == earlier and value != before) or earlier.startswith(f"{path}."):
                one, other = (
                    shortened(f"--set {name}={typed(given)}") for name, given in ((earlier, before), (path, value))
                )
                problems.append(f"{other}: replaces {one}; keep one of them")
    if problems:
        raise InputError(dict.fromkeys(problems))


def parse_assignment(text: str) -> tuple[str, Any]:
    """Return path and value of an assignment such as `steps.0.bits=4`; the value is read as YAML."""
    path, equals, value = text.partition("=")
    shown = shortened(text if text.isprintable() else repr(text))
    if not equals or not path.strip() or not path.isprintable():
        raise InputError(f"--set {shown}: expected path=value, for example steps.0.bits=4")
    if not value.strip():
        raise InputError(f"--set {shown}: no value after =; expected one, or null for none")
    return path.strip(), parse_value(value, f"--set {shown}")


def check_name(name: str, what: str) -> str:
    """Return `name`. Raises InputError if it could lead out of its folder or contain markup."""
    if not NAME.fullmatch(name):
        raise InputError(
            f"{what} name {_short(name)}: expected letters, digits, '.', '_' and '-', starting with a letter or digit, "
            "100 at most"
        )
    return name


def digest(value: Any) -> str:
    """Return a digest of a plain value: 16 hex digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
