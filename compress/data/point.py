"""An operating point: the shape of the batches that a measurement runs."""

from typing import Annotated

from pydantic import Field

from compress.base.config import Config

MOST_TOKENS = 10_000_000
MOST_EXAMPLES = 1_000_000


class OperatingPoint(Config):
    """Batch size x sequence length."""

    batch_size: Annotated[int, Field(ge=1, le=MOST_EXAMPLES)]
    """Examples per batch."""
    sequence_length: Annotated[int, Field(ge=4, le=MOST_TOKENS)] | None = None
    """Tokens per example; unset for images."""
    generate: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    """Language models: single-token steps to measure after each text, with its cache; unset: the text itself."""
