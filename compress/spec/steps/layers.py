"""Which layers a step changes, and settings of their own for some of them."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from compress.base.config import Config

Fraction = Annotated[float, Field(gt=0, lt=1)]
Patterns = tuple[str, ...]

HEADS: Patterns = ("*classifier*", "*score*", "*lm_head*", "*pooler*", "*embed*")
"""Layers left alone unless asked for: small, sensitive, and some kernels refuse their shapes."""


class Layers(Config):
    """Which linear layers a step changes, by shell patterns on their names."""

    include: Patterns = ("*",)
    """Change layers whose name matches one of these."""
    exclude: Patterns = HEADS
    """But not those that match one of these."""
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Other settings for layers that match a pattern, included or not: {"*.attention.*": {bits: 8}}. The first that
    matches counts."""

    @property
    def calibrates(self) -> bool:
        """Whether training examples are needed."""
        return False

    @property
    def parts(self) -> tuple[Self, ...]:
        """This step for the layers without an override, then one for those of each override."""
        patterns = tuple(self.overrides)
        if not patterns:
            return (self,)
        made = [self.model_copy(update={"exclude": (*self.exclude, *patterns), "overrides": {}})]
        for index, (pattern, fields) in enumerate(self.overrides.items()):
            own = {"include": (pattern,), "exclude": (*self.exclude, *patterns[:index]), "overrides": {}}
            made.append(type(self).model_validate({**self.model_dump(), **fields, **own}))
        return tuple(made)

    @model_validator(mode="after")
    def _overrides_are_settings(self) -> Self:
        for pattern, fields in self.overrides.items():
            fixed = [name for name in fields if name in ("method", "structure", *Layers.model_fields)]
            if fixed:
                raise ValueError(f"overrides {pattern}: {fixed[0]} is one for the whole step; leave it out")
        try:
            assert self.parts
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(f"overrides: {where + ': ' if where else ''}{first['msg']}") from None
        return self


@dataclass(frozen=True)
class Sample:
    """Which training examples calibrate."""

    count: int
    length: int | None = None
    """Tokens that texts are cut to; None leaves them."""
    seed: int | None = None
    """Of drawing them; None for the recipe's."""


class Calibrated(Layers):
    """A step that may look at training examples before it changes layers."""

    calibration_examples: Annotated[int, Field(ge=1, le=10**8)] = 256
    """Training examples behind what is calibrated."""
    calibration_length: Annotated[int, Field(ge=4, le=10**7)] | None = None
    """Cut them to so many tokens; unset leaves them as long as the workload has them."""
    calibration_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Draw them by this seed; unset takes the recipe's."""

    @property
    def sample(self) -> Sample:
        """The examples that it looks at."""
        return Sample(self.calibration_examples, self.calibration_length, self.calibration_seed)
