"""Map class labels of examples to the ids of a model's head. The meaning of a label is never guessed.

All labels of a split have one meaning, independent of their type (1, 1.0, "1", "01"):

    names    each is the name of one class of the model, or some of its synonyms ("tench" of "tench, Tinca tinca"), and
             nothing else; case, spaces, `_` and `-` are ignored
    ids      each is a number below the model's number of classes; true and false are 1 and 0 if the model's classes
             have no names, or numbers as names

If both fit and differ, `dataset.labels` decides. It also decides if every class name contains one number ("1 star")
that is not its id, and all labels are such numbers. The data set's names for its ids, and class folders, are read as
names first. A model without class names (LABEL_0, LABEL_1) takes the order of the data's names, if the data has one.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from compress.base.config import InputError
from compress.base.errors import some
from compress.data.bad_rows import shown
from compress.data.formats.image_folders import CLASS_FOLDERS
from compress.data.look_alike import look_alike
from compress.data.tasks.class_names import class_names

if TYPE_CHECKING:
    import datasets

Reading = Literal["ids", "names"]
NUMBER = re.compile(r"([+-]?)0*([0-9]{1,18})(?:\.0*)?", re.ASCII)
NUMBER_IN_NAME = re.compile(r"(?:(?<!\w)[+-])?\d+(?:\.\d+)?", re.ASCII)
TRUTH = {"true": "1", "false": "0"}
NAME_THEM = "name the classes in the model's config.json (id2label and label2id)"


@dataclass(frozen=True)
class Labels:
    """One id per example, below the model's number of classes."""

    ids: list[int]
    note: str = ""
    """Note for readers of the results on the mapping; empty if there is none."""


class Unmapped(InputError):
    """Labels that are neither names nor ids of the model."""

    def __init__(self, problem: str, label: str):
        super().__init__(problem)
        self.label = label
        """The first of them, as `text_of` returns it."""


@dataclass(frozen=True)
class Classes:
    """The model's classes, and the place of the labels for errors."""

    place: str
    names: Sequence[str]
    """Class names of the model, by id."""
    name_them: str = NAME_THEM
    """How classes get other names, for errors."""

    @property
    def unnamed(self) -> bool:
        """Whether all names are transformers' defaults."""
        return all(name == f"LABEL_{number}" for number, name in enumerate(self.names))

    @property
    def listed(self) -> str:
        """The names as text for an error."""
        return some(self.names)


def read(
    raw: "datasets.Dataset", column: str, config: Any, reading: Reading | None = None, name_them: str = NAME_THEM
) -> Labels:
    """Return the labels of a column. Raises InputError if their meaning is ambiguous; `name_them` is its remedy."""
    require_column(raw, column, "label")
    names = getattr(raw.features[column], "names", None)
    return mapped(list(raw[column]), names, column, config, reading, raw.info.builder_name == CLASS_FOLDERS, name_them)


def mapped(
    values: Sequence[Any],
    names: Sequence[str] | None,
    column: str,
    config: Any,
    reading: Reading | None = None,
    named: bool = False,
    name_them: str = NAME_THEM,
) -> Labels:
    """Return the ids of labels; `names` are the data's own names of its ids. `named`: prefer names over ids.

    Raises Unmapped for a label that the model does not have, and InputError if their meaning is ambiguous.
    """
    model = Classes(f"label column {column!r}", class_names(config), name_them)
    _refuse_contradiction(model, config, reading)
    for row, value in enumerate(values):
        if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            raise InputError(f"{model.place}, row {row}: {shown(value)} is neither a number nor a label of the model")
    if names is None:
        written: dict[str, str] = {}
        for value in values:
            written.setdefault(text_of(value), repr(value))
        ids = _meaning(written, written, model, reading, named=named)
        truth = model.unnamed and {label.casefold() for label in written} <= set(TRUTH)
        note = "the model does not name its classes; true is read as class 1, false as class 0" if truth else ""
        return Labels([ids[text_of(value)] for value in values], note)
    if values and min(values) < 0:
        raise InputError(_hidden_label(model.place, min(values)))
    if values and max(values) >= len(names):
        raise InputError(
            f"{model.place}, row {values.index(max(values))}: id {max(values)}, but the data's metadata names "
            f"{len(names)} classes ({some(names)}); correct the metadata, or write the data again without it"
        )
    order, note = _order([str(name) for name in names], sorted(set(values)), model, reading)
    return Labels([order[value] for value in values], note)


def _order(
    names: Sequence[str], present: Sequence[int], model: Classes, reading: Reading | None
) -> tuple[Mapping[int, int], str]:
    """Return data id -> model id for a column with named ids, and a note if only the order of names decides."""
    as_given = {value: value for value in present}
    if list(map(_key, names)) == list(map(_key, model.names)):
        return as_given, ""
    if reading == "ids":
        _meaning([str(value) for value in present], {}, model, "ids")
        return as_given, ""
    numbered = all(name == str(number) for number, name in enumerate(names))  # such names are only ids
    if model.unnamed and reading is None and not numbered and not _by_name(names, model, names)[0]:
        if len(names) != len(model.names) or all(_number(name) is not None for name in names):
            raise InputError(
                f"{model.place}: the data's classes are {some(names)}, the model's {model.listed}; {model.name_them}, "
                "or set dataset.labels to ids if both have the same order"
            )
        return as_given, f"the model does not name its classes; the data's classes are used in order: {some(names)}"
    labels = {names[value]: repr(names[value]) for value in present}
    ids = _meaning(labels, labels, model, reading if numbered else "names", context=names)
    return {value: ids[names[value]] for value in present}, ""


def _meaning(
    labels: Iterable[str],
    shown: Mapping[str, str],
    model: Classes,
    reading: Reading | None,
    named: bool = False,
    context: Sequence[str] = (),
) -> Mapping[str, int]:
    """Return label -> id of all distinct labels of a split. `named`: prefer names over ids."""
    labels = list(labels)
    by_name, ambiguous = ({}, {}) if reading == "ids" else _by_name(labels, model, context or labels)
    by_id = {} if reading == "names" else _by_id(labels, len(model.names))
    names_fit, ids_fit = len(by_name) == len(labels), len(by_id) == len(labels)
    if names_fit and (named or not ids_fit or by_name == by_id):
        return by_name
    if ids_fit and not names_fit and not ambiguous:
        if reading is None and _called_by_numbers(labels, model.names):
            raise InputError(
                f"{model.place}: {some(labels)} are ids of the model and also numbers in names of its classes with "
                f"other ids ({model.listed}); set dataset.labels to ids, or write the names into the data"
            )
        return by_id
    if names_fit:
        raise InputError(
            f"{model.place}: {some(labels)} are ids of the model and also names of its classes with other ids "
            f"({model.listed}); set dataset.labels to ids or names"
        )
    if not by_name and len(model.names) == 2 and {label.casefold() for label in labels} <= set(TRUTH):
        if reading != "ids" and not model.unnamed and any(_number(name) is None for name in model.names):
            raise InputError(
                f"{model.place}: {some(labels)} match none of the model's classes ({model.listed}); set "
                f"dataset.labels to ids if true is {model.names[1]} and false is {model.names[0]}, or write the names "
                "into the data"
            )
        numbers = _meaning(sorted({TRUTH[label.casefold()] for label in labels}), {}, model, reading)
        return {label: numbers[TRUTH[label.casefold()]] for label in labels}
    if ambiguous:
        label, several = next(iter(ambiguous.items()))
        raise InputError(
            f"{model.place}: {label!r} names several classes of the model: {' and '.join(several)}; write ids or whole "
            f"names into the data, or {model.name_them}"
        )
    known = by_name or by_id
    unknown = [label for label in labels if label not in known] or labels
    are_ids = all(_number(label) is not None for label in labels) and reading != "names"
    first = max(unknown, key=lambda label: _number(label) or 0) if are_ids else unknown[0]
    raise Unmapped(_unmapped(labels, first, shown, model, reading, context), first)


def _called_by_numbers(labels: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether each class name has one number, not always its id, and each label is one of these numbers."""
    numbers_in = [NUMBER_IN_NAME.findall(name) for name in names]
    if any(len(numbers) != 1 for numbers in numbers_in):
        return False
    keys = [_key(numbers[0]) for numbers in numbers_in]
    return keys != [str(number) for number in range(len(names))] and {_key(label) for label in labels} <= set(keys)


def _refuse_contradiction(model: Classes, config: Any, reading: Reading | None) -> None:
    """Raise InputError if the model's label2id maps a class name to an id with another name."""
    names = {str(number): name for number, name in enumerate(model.names)}
    for name, number in (getattr(config, "label2id", None) or {}).items():
        other = names.get(str(number))
        if reading != "ids" and str(name) in model.names and other != str(name):
            raise InputError(
                f"{model.place}: the model's config.json contradicts itself: label2id has {name!r} as class "
                f"{number}, id2label names it {other!r}; correct config.json, or set dataset.labels to ids"
            )


def _by_name(
    labels: Sequence[str], model: Classes, context: Sequence[str]
) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Return label -> id for labels that name one class, and label -> class names for labels that name several.

    `context` holds all names of the data: a synonym does not stand for a class that another one names in full.
    """
    wholes: dict[str, set[int]] = {}
    synonyms: dict[str, set[int]] = {}
    for number, name in enumerate(model.names):
        wholes.setdefault(_key(name), set()).add(number)
        for key in {_key(name), *_parts(name)}:
            synonyms.setdefault(key, set()).add(number)
    taken = {number for name in context for number in _only(wholes.get(_key(name), set()))}
    unique: dict[str, int] = {}
    ambiguous: dict[str, list[str]] = {}
    for label in labels:
        whole = wholes.get(_key(label), set())
        keys = {_key(label)} if whole else _parts(label)
        matches = set.intersection(*(synonyms.get(key, set()) for key in keys)) if keys else set()
        exact = {number for number in whole if model.names[number].strip() == label}
        match = _only(matches) or _only(exact if len(whole) > 1 else whole)
        if match and not matches - match - taken - whole:
            (unique[label],) = match
        elif matches:
            ambiguous[label] = [f"{model.names[number]} ({number})" for number in sorted(matches)]
    return unique, ambiguous


def _only(numbers: set[int]) -> set[int]:
    return numbers if len(numbers) == 1 else set()


def _by_id(labels: Sequence[str], count: int) -> dict[str, int]:
    """Return label -> id of the labels that are numbers below `count`."""
    numbers = {label: _number(label) for label in labels}
    return {label: number for label, number in numbers.items() if number is not None and 0 <= number < count}


def _unmapped(
    labels: Sequence[str],
    first: str,
    shown: Mapping[str, str],
    model: Classes,
    reading: Reading | None,
    context: Sequence[str],
) -> str:
    """Return the error text for labels of which `first` is neither a name nor an id of the model."""
    numbers = [number for label in labels if (number := _number(label)) is not None]
    if len(numbers) == len(labels) and reading != "names":
        if min(numbers) < 0:
            return _hidden_label(model.place, min(numbers))
        count = len(model.names)
        return (
            f"{model.place}: label {max(numbers)}, but the model has {count} labels (0 to {count - 1}), "
            f"which are {model.listed}"
        )
    remedy = "write numbers"
    if len(context) == len(model.names):  # the data's ids have names
        pairs = some([f"{own} is {name}" for own, name in zip(context, model.names, strict=True)])
        remedy = f"set dataset.labels to ids if both have the same order ({pairs})"
    return (
        f"{model.place}: {shown.get(first, first)} is neither a number nor a label of the model; the data has "
        f"{some(labels)}, the model {model.listed}{look_alike(first, model.names)}; {remedy}, or {model.name_them}"
    )


def _hidden_label(place: str, lowest: int) -> str:
    return f"{place}: label {lowest} (hidden labels); expected a split with labels"


def text_of(value: str | float) -> str:
    """Return a label as text, independent of its type."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()


def _number(label: str) -> int | None:
    match = NUMBER.fullmatch(label)
    return int(f"{match[1]}{match[2]}") if match else None


def _key(name: str) -> str:
    """Return the normalised name: numbers by value; words without case, joined by single spaces."""
    number = _number(name.strip())
    return str(number) if number is not None else " ".join(re.split(r"[\s_-]+", name.casefold().strip()))


def _parts(name: str) -> set[str]:
    """Return the keys of a name's comma-separated parts: ImageNet writes synonyms like this."""
    return {_key(part) for part in name.split(",") if part.strip()}


def require_column(raw: "datasets.Dataset", column: str, what: str) -> None:
    """Raise InputError if the examples have no such column."""
    if column not in raw.column_names:
        raise InputError(
            f"no {what} column {column!r}; the data has {some(raw.column_names)}"
            f"{look_alike(column, raw.column_names)}; set dataset.{what} to one of them"
        )
