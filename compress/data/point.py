"""An operating point: the batches that a measurement runs."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from compress.base.config import Config
from compress.records.natural import Order
from compress.records.phase import Phase

FEWEST_TOKENS = 4
MOST_TOKENS = 10_000_000
MOST_EXAMPLES = 1_000_000
MOST_AUDIO_S = 3600
NEW_TOKENS = 16
"""Tokens generated at a point that does not state their number."""


class OperatingPoint(Config):
    """Batch size x sequence length, or batches of the test split's own texts."""

    batch_size: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)]
    """Examples per batch."""
    sequence_length: Annotated[int, Field(ge=FEWEST_TOKENS, le=MOST_TOKENS)] | None = None
    """Tokens per example, also called context: those in the cache of a decode point; unset for images and natural
    points."""
    audio_s: Annotated[int, Field(ge=1, le=MOST_AUDIO_S)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    """Speech: seconds of sound per example."""
    phase: Phase | None = None
    """Language models: prefill (the prompt, up to its first new token), decode (single tokens after a filled cache) or
    generate (both, as one request); unset: a forward pass over the text."""
    new_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    """Tokens generated at a point of phase decode or generate; unset: 16."""
    stop: bool = False
    """Phase generate only: a text ends with its end token, and the request when all texts have ended; `new_tokens` is
    then the largest number. Requests of different models differ in length, so verdicts are never of such a point."""
    natural: Order | None = None
    """Batches of the test split's own texts in their own lengths: as_they_come or sorted; unset: packed tokens."""

    @model_validator(mode="before")
    @classmethod
    def _other_names(cls, data: Any) -> Any:
        """Read `context: N` as the length, and `generate: N` as phase decode with so many new tokens."""
        if not isinstance(data, Mapping):
            return data
        read = dict(data)
        for name, written in (("sequence_length", "context"), ("new_tokens", "generate")):
            if written not in read:
                continue
            if name in read:
                raise ValueError(f"{written} and {name} are the same; expected one of them")
            read[name] = read.pop(written)
            if written == "generate":
                read.setdefault("phase", "decode")
        if read.get("phase") in ("decode", "generate"):
            read.setdefault("new_tokens", NEW_TOKENS)
        return read

    @model_validator(mode="after")
    def _is_consistent(self) -> "OperatingPoint":
        if self.natural is not None and (self.sequence_length, self.phase, self.audio_s) != (None,) * 3:
            raise ValueError(
                f"natural {self.natural}: texts keep their own lengths, and nothing is generated; expected only "
                "batch_size beside it"
            )
        if self.phase is not None and self.sequence_length is None and self.audio_s is None:
            raise ValueError(f"phase {self.phase}: the context is missing; expected its number of tokens")
        if self.new_tokens is not None and not self.generates:
            raise ValueError(f"new_tokens {self.new_tokens}: expected phase decode or generate beside it")
        if self.stop and self.phase != "generate":
            raise ValueError(f"stop with phase {self.phase}: expected phase generate, whose requests can end")
        return self

    def in_phase(self, phase: Phase) -> "OperatingPoint":
        """Return the point, in this phase if it states none."""
        if self.phase is not None:
            return self
        new_tokens = None if phase == "prefill" else NEW_TOKENS
        return self.model_copy(update={"phase": phase, "new_tokens": new_tokens})

    @property
    def generates(self) -> bool:
        """Whether new tokens follow the text."""
        return self.phase in ("decode", "generate")

    @property
    def longest(self) -> int:
        """Tokens of a text at its end, with the new ones; 0 without a length."""
        return (self.sequence_length or 0) + (self.new_tokens or 0)

    def fitted(self, examples: int | None) -> "OperatingPoint":
        """Return the point; a natural one has no larger batches than the test split has examples (None: unknown)."""
        if self.natural is None or examples is None or self.batch_size <= examples:
            return self
        return self.model_copy(update={"batch_size": examples})
