"""The natural operating point: the test split's own texts in their own lengths, as a deployed model receives them.

Texts are batched in the order of the split or sorted by length, and padded by the runtime. Batches therefore differ in
cost. Every window runs whole passes over one fixed sample of batches, so that all windows do the same work.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from compress.records.fields import Positive, Several
from compress.records.rules import OfRounds

Order = Literal["as_they_come", "sorted"]
WORDS: dict[Order, str] = {"as_they_come": "own lengths", "sorted": "own lengths, sorted"}
"""Order of the texts -> the point's length in words."""


@dataclass(frozen=True)
class Texts:
    """The texts that every window of a natural point runs."""

    batches: Annotated[Several, Field(le=1000)]
    """Batches in one pass."""
    tokens_per_example: Positive
    """Mean number of tokens of a text, without padding."""


@dataclass(frozen=True)
class Natural:
    """Figures of a natural point beside its joules per example: the texts, and costs per example and correct answer."""

    order: Order
    texts: Texts
    latency_per_example_s: OfRounds
    latency_per_correct_s: OfRounds | None
    """None if the metric does not count correct answers."""
    energy_per_correct_j: OfRounds | None
    """None if, in addition, no meter measured the energy."""
