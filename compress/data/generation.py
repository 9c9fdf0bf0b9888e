"""Settings with which a model generates texts, as a workload states them."""

from typing import Annotated

from pydantic import Field

from compress.base.config import Config

MOST_BEAMS = 64
MOST_TOKENS = 100_000


class Generation(Config):
    """Settings of the search for a text; unset ones are the model's own, of its generation_config.json."""

    num_beams: Annotated[int, Field(ge=1, le=MOST_BEAMS)] | None = None
    """Beams of the search; 1 takes the likeliest token at every step."""
    max_new_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = None
    """Longest text in tokens, its end token included; targets of training are cut there. Unset: 128 if the model states
    no length."""
    length_penalty: Annotated[float, Field(ge=-100, le=100)] | None = None
    """Exponent of the length by which the score of a beam is divided."""
    no_repeat_ngram_size: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Length of the sequences of tokens that occur at most once in a text; 0 allows repetitions."""
    forced_bos_token: str | None = None
    """Token with which every text begins, such as the code of its language."""
