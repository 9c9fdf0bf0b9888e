"""An operating point: the batches that a measurement runs."""

from typing import Annotated

from pydantic import Field, model_validator

from compress.base.config import Config
from compress.records.natural import Order

MOST_TOKENS = 10_000_000
MOST_EXAMPLES = 1_000_000


class OperatingPoint(Config):
    """Batch size x sequence length, or batches of the test split's own texts."""

    batch_size: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)]
    """Examples per batch."""
    sequence_length: Annotated[int, Field(ge=4, le=MOST_TOKENS)] | None = None
    """Tokens per example; unset for images and natural points."""
    generate: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    """Language models: single-token steps to measure after each text, with its cache; unset: the text itself."""
    natural: Order | None = None
    """Batches of the test split's own texts in their own lengths: as_they_come or sorted; unset: packed tokens."""

    @model_validator(mode="after")
    def _texts_have_one_length(self) -> "OperatingPoint":
        if self.natural is not None and (self.sequence_length is not None or self.generate is not None):
            raise ValueError(
                f"natural {self.natural}: texts keep their own lengths, and nothing is generated; expected only "
                "batch_size beside it"
            )
        return self

    def fitted(self, examples: int | None) -> "OperatingPoint":
        """Return the point; a natural one has no larger batches than the test split has examples (None: unknown)."""
        if self.natural is None or examples is None or self.batch_size <= examples:
            return self
        return self.model_copy(update={"batch_size": examples})
