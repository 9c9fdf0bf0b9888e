"""Meter readings while compressing, as plain values of artifacts and traces; `compress.analysis.price` uses them."""

from typing import Annotated, Any, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from compress.records.fields import STRICT, Count, Name, Positive, Quantity
from compress.records.sample import EnergySource

CLOSED: Any = {**STRICT, "extra": "forbid"}
OPEN: Any = {**STRICT, "extra": "allow"}


@with_config(CLOSED)
class Attempt(TypedDict):
    """The fields of `compress.analysis.price.Span`."""

    source: EnergySource | None
    measured: bool
    step_s: Positive | None
    start_uj: Count | None
    boundary: NotRequired[str | None]
    uuid: NotRequired[str | None]
    end_uj: NotRequired[Count | None]
    seconds: NotRequired[Annotated[Quantity, Field(ge=0)]]
    fault: NotRequired[str | None]
    later_uj: NotRequired[Count | None]


@with_config(OPEN)
class Step(TypedDict):
    """One step of a recipe; `shares` are plain values, absent in older artifacts."""

    method: Name
    changed_layers: Count
    span: Attempt
    shares: NotRequired[Any]


@with_config(OPEN)
class Compressing(TypedDict):
    """All attempts at compressing, and the steps of the last attempt."""

    attempts: Annotated[list[Attempt], Field(min_length=1)]
    steps: list[Step]
