"""Greedy text of a language model after fixed prompts, compared with that of the verdict reference."""

from dataclasses import dataclass

from compress.records.fields import Name, Quantity, Several
from compress.records.rules import Ordered


@dataclass(frozen=True)
class Generation:
    """Figures of the greedy continuations of fixed prompts, which are texts of the test split."""

    prompts: Several
    new_tokens: Several
    """Tokens that continue each prompt."""
    repetition: Quantity
    """Mean share of 4-grams of a continuation that occurred in it before."""
    reference: Name | None = None
    """None for the verdict reference itself."""
    changed: Ordered | None = None
    """Share of prompts whose continuation differs from the reference's, with Wilson's interval."""
    first_changed: Quantity | None = None
    """Median position, from 1, of the first different token of changed continuations; None if none changed."""
    reference_repetition: Quantity | None = None
