"""Types of fields in untrusted files: bounded numbers, short names, plain mappings with required keys.

Pydantic checks them from the annotations, in strict mode: text is not converted to a number. The bounds prevent
overflow in arithmetic; no measured second, joule or byte comes near them.
"""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Required, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, GetPydanticSchema
from typing_extensions import TypedDict

STRICT: dict[str, Any] = {"strict": True, "allow_inf_nan": False, "str_max_length": 100_000}
"""Pydantic configuration of a file's outermost dataclass, which also holds for nested ones."""
LARGE = 1e18
FARTHEST = 1e250
"""Bound of a metric's values and differences: 100 x value / smallest scale is still finite."""
MOST_LEVELS = 32
ENDLESS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}
"""Text for infinities and NaN in JSON -> value."""

Whole = Annotated[int, Field(gt=-(2**63), lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Several = Annotated[int, Field(ge=1, lt=2**63)]
Quantity = Annotated[float, Field(ge=-LARGE, le=LARGE)]
Positive = Annotated[float, Field(ge=1 / LARGE, le=LARGE)]
NonNegative = Annotated[float, Field(ge=0, le=LARGE)]
LogSpread = Annotated[float, Field(ge=0, le=10)]
"""An estimated standard deviation of logarithms."""
Spread = Annotated[float, Field(ge=0, le=1)]
"""A relative standard deviation."""
Edge = Annotated[
    float, Field(allow_inf_nan=True), BeforeValidator(lambda v: ENDLESS.get(v, v) if isinstance(v, str) else v)
]
"""A number that may be infinite, such as the edge of an interval over a single round."""
Name = Annotated[str, Field(max_length=300)]

T = TypeVar("T")


def moment(text: str) -> datetime:
    """Parse a date and time with its zone. Raises ValueError for any other text."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise ValueError(f"{text!r:.60} is not a date with a time zone; expected one such as 2025-05-05T10:00:00+00:00")
    return parsed


def _check_date(text: str) -> str:
    """Return the text if it is a date and time with its zone. Raises ValueError otherwise."""
    moment(text)
    return text


Date = Annotated[Name, AfterValidator(_check_date)]


def _check_plain(value: T, levels: int = MOST_LEVELS, place: str = "") -> T:
    """Return a plain value nested less than `levels` deep, of finite numbers. Raises ValueError for any other one."""
    if levels == 0:
        raise ValueError(f"nested deeper than {MOST_LEVELS} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place.removesuffix('.')} is {value}; expected a finite number")
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        _check_plain(item, levels - 1, f"{place}{key}.")
    return value


def is_none(value: object) -> bool:
    """Return whether a field is left out of a file: it has no value."""
    return value is None


def is_empty(value: object) -> bool:
    """Return whether a field is left out of a file: it is empty or false."""
    return not value


class _DatasetShape(TypedDict, total=False):
    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012

    path: str | None
    test: str | None


class _MappedShape(TypedDict, total=False):
    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012

    batch_size: Required[Several]
    sequence_length: Several | None
    phase: Literal["prefill", "decode", "generate"] | None
    new_tokens: Several | None


class _WorkloadShape(TypedDict, total=False):
    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012

    task: str | None
    model: str | None
    dataset: _DatasetShape
    resolved: dict[str, Any]
    mapped: list[_MappedShape]
    """Points of a map."""


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
    kv_cache: str
    padding: str
    seeds: list[int]


Plain = Annotated[dict[str, Any], AfterValidator(_check_plain)]
WorkloadFacts = Annotated[
    dict[str, Any], GetPydanticSchema(lambda _, schema: schema(_NamedWorkload)), AfterValidator(_check_plain)
]
RecipeFacts = Annotated[
    dict[str, Any], GetPydanticSchema(lambda _, schema: schema(_RecipeShape)), AfterValidator(_check_plain)
]
