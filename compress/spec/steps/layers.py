"""Selection of the layers that a step changes, and overrides for some of them."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from compress.base.config import Config

Fraction = Annotated[float, Field(gt=0, lt=1)]
Patterns = tuple[str, ...]

HEADS: Patterns = ("*classifier*", "*score*", "*lm_head*", "*pooler*", "*embed*")
"""Layers excluded by default: they are small and sensitive, and some kernels do not support their shapes."""


class Layers(Config):
    """Linear layers that a step changes, by shell patterns on their names."""

    include: Patterns = ("*",)
    """Change layers whose name matches one of these patterns."""
    exclude: Patterns = HEADS
    """Leave layers whose name matches one of these patterns."""
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Other settings for layers that match a pattern, also for layers that `include` leaves out:
    {"*.attention.*": {bits: 8}}. The first match counts."""

    @property
    def calibrates(self) -> bool:
        """Whether the step needs training examples."""
        return False

    @property
    def parts(self) -> tuple[Self, ...]:
        """This step for the layers without an override, then one step per override."""
        patterns = tuple(self.overrides)
        if not patterns:
            return (self,)
        parts = [self.model_copy(update={"exclude": (*self.exclude, *patterns), "overrides": {}})]
        for index, (pattern, fields) in enumerate(self.overrides.items()):
            scope = {"include": (pattern,), "exclude": (*self.exclude, *patterns[:index]), "overrides": {}}
            parts.append(type(self).model_validate({**self.model_dump(), **fields, **scope}))
        return tuple(parts)

    @model_validator(mode="after")
    def _overrides_are_settings(self) -> Self:
        for pattern, fields in self.overrides.items():
            fixed = [name for name in fields if name in ("method", "structure", *Layers.model_fields)]
            if fixed:
                raise ValueError(f"overrides {pattern}: {fixed[0]} applies to the whole step; remove it from overrides")
        try:
            assert self.parts
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"overrides: {where + ': ' if where else ''}{first['msg']}") from None
        return self


@dataclass(frozen=True)
class Sample:
    """Choice of the training examples for calibration."""

    count: int
    length: int | None = None
    """Maximum tokens of a text; None leaves texts as they are."""
    seed: int | None = None
    """Seed of the choice; None takes the recipe's."""


class Calibrated(Layers):
    """A step that may use training examples before it changes layers."""

    calibration_examples: Annotated[int, Field(ge=1, le=10**8)] = 256
    """Number of training examples for calibration."""
    calibration_length: Annotated[int, Field(ge=4, le=10**7)] | None = None
    """Maximum tokens of a calibration example; unset: the length of the workload."""
    calibration_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed for choosing the calibration examples; unset takes the recipe's."""

    @property
    def sample(self) -> Sample:
        """Choice of the calibration examples."""
        return Sample(self.calibration_examples, self.calibration_length, self.calibration_seed)
