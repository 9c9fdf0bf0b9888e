"""The class names of a model's configuration."""

from collections.abc import Mapping
from typing import Any

from compress.base.config import InputError

EXPECTED = "expected a mapping of the numbers from 0 to class names"


def class_names(config: Any) -> list[str]:
    """Return the class names of a model by id. Raises InputError if id2label or label2id is not such a mapping."""
    names, ids = config.id2label, getattr(config, "label2id", None) or {}
    if not isinstance(ids, Mapping):
        raise InputError(f"config.json label2id: a {type(ids).__name__}; expected a mapping of class names to numbers")
    if not isinstance(names, Mapping):
        raise InputError(f"config.json id2label: a {type(names).__name__}; {EXPECTED}")
    by_number = {str(number): name for number, name in names.items()}
    for number in map(str, range(len(names))):
        if number not in by_number:
            raise InputError(f"config.json id2label: {len(names)} names, but none of number {number}; {EXPECTED}")
        if not isinstance(by_number[number], str | int | float):
            kind = type(by_number[number]).__name__
            raise InputError(f"config.json id2label: the name of number {number} is a {kind}; {EXPECTED}")
    return [str(by_number[str(number)]) for number in range(len(names))]
