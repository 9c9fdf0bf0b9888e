"""Numeric fields of configurations refuse booleans, which Python and pydantic count as the integers 0 and 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

NUMBERS = {"int": "an integer", "float": "a number"}
NESTED = frozenset({"schema", "fields", "items_schema", "choices", "keys_schema", "values_schema", "definitions"})
"""Keys of a schema that hold further schemas: of fields, items, members of unions, keys and values."""


@dataclass(frozen=True)
class Refusal:
    """A validator that refuses true and false, and passes every other value on."""

    expected: str

    def __call__(self, value: Any) -> Any:
        """Return the value. Raises pydantic's error if it is a boolean."""
        if isinstance(value, bool):
            reason = "a boolean; expected {expected}, in digits"
            raise PydanticCustomError("boolean", reason, {"expected": self.expected})
        return value


def refuse_booleans(schema: CoreSchema) -> CoreSchema:
    """Return a pydantic schema whose numbers and literal numbers, at any depth, refuse booleans."""
    return cast(CoreSchema, _refusing(schema))


def _refusing(node: Any) -> Any:
    """Return a part of a schema with a validator before each number. A nested model keeps those that it has."""
    if isinstance(node, list | tuple):
        return type(node)(_refusing(item) for item in node)
    if not isinstance(node, dict) or isinstance(node.get("function", {}).get("function"), Refusal):
        return node
    if expected := _expected(node):
        return core_schema.no_info_before_validator_function(Refusal(expected), cast(CoreSchema, node))
    is_schema = isinstance(node.get("type"), str)  # otherwise it maps names to the schemas of fields or tags
    return {key: _refusing(value) if key in NESTED or not is_schema else value for key, value in node.items()}


def _expected(node: Mapping[str, Any]) -> str:
    """Return what a number's schema accepts; empty for other schemas."""
    if node.get("type") == "literal" and any(type(value) is int for value in node["expected"]):
        return f"one of {', '.join(map(str, node['expected']))}"
    return NUMBERS.get(str(node.get("type")), "")
