"""Types of the fields of files that anyone may have written: bounded numbers, short names, plain mappings of a shape.

Reading checks them all in one place, from the annotations (pydantic, strict: no text counts as a number). Bounds keep
arithmetic from overflowing: no second, joule or byte that is measured comes near them.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, GetPydanticSchema
from typing_extensions import TypedDict

STRICT: dict[str, Any] = {"strict": True, "allow_inf_nan": False, "str_max_length": 100_000}
"""What holds for every field of a file's outermost dataclass, and of all that are inside it."""
LARGE = 1e18
FARTHEST = 1e250
"""Bound of a metric's values and differences: a hundredfold of one over the least scale is still a number."""
MOST_LEVELS = 32
ENDLESS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
"""How figures without an end stand in JSON, which has none."""

Whole = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Several = Annotated[int, Field(ge=1, lt=2**63)]
Quantity = Annotated[float, Field(ge=-LARGE, le=LARGE)]
Positive = Annotated[float, Field(ge=1 / LARGE, le=LARGE)]
Edge = Annotated[
    float, Field(allow_inf_nan=True), BeforeValidator(lambda v: ENDLESS.get(v, v) if isinstance(v, str) else v)
]
"""A figure that may have no end, such as the edge of an interval of a single round."""
Name = Annotated[str, Field(max_length=300)]

T = TypeVar("T")


def moment(text: str) -> datetime:
    """Return the moment of a date and time with its zone. Raises ValueError for another text."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(f"{text!r:.60} is no date with a zone; expected one such as 2025-05-05T10:00:00+00:00")
    return found


def _dated(text: str) -> str:
    """Return a text that is a date and a time with its zone. Raises ValueError for another."""
    moment(text)
    return text


Date = Annotated[Name, AfterValidator(_dated)]


def _shallow(value: T, levels: int = MOST_LEVELS) -> T:
    """Return a plain value that is nested less deep than so many levels. Raises ValueError for another."""
    if levels == 0:
        raise ValueError(f"nested deeper than {MOST_LEVELS} levels")
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _shallow(item, levels - 1)
    return value


class _DatasetShape(TypedDict, total=False):
    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012

    path: str | None
    test: str | None


class _WorkloadShape(TypedDict, total=False):
    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012

    task: str | None
    model: str | None
    dataset: _DatasetShape
    resolved: dict[str, Any]


class _NamedWorkload(_WorkloadShape):
    name: Name


class _StepShape(TypedDict):
    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012

    method: Name


class _RecipeShape(TypedDict, total=False):
    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012

    steps: list[_StepShape]
    runtime: str
    attention: str
    padding: str


Plain = Annotated[dict[str, Any], AfterValidator(_shallow)]
WorkloadFacts = Annotated[
    dict[str, Any], GetPydanticSchema(lambda _, schema: schema(_NamedWorkload)), AfterValidator(_shallow)
]
RecipeFacts = Annotated[
    dict[str, Any], GetPydanticSchema(lambda _, schema: schema(_RecipeShape)), AfterValidator(_shallow)
]
