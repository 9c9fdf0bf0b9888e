"""Rows on the statement "within 0.5 points": how often it is shown wrongly, and how often it is shown."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.study import SEED, Bound
from benchmarks.study.front import answers
from compress.analysis.loss import MARGIN, within
from compress.records.stats import paired_difference
from tests import factory

EXAMPLES = 3000
FLIPPED = 0.003
FEW_CHANGES = (400, 800, 1600)
"""Numbers of examples at which a loss of 0.5 points is 2, 4 and 8 answers."""


def rows(models: int) -> Iterator[Bound]:
    """Yield the share of models that are shown to be within the margin, at losses of the margin and of nothing."""
    shown = f"called within 0.5 points, {EXAMPLES:,} examples"
    yield Bound(f"a true loss of 0.5 points {shown}", share_within(models, MARGIN), 0, 0.05)
    yield Bound(f"a true loss of 0 points {shown}", share_within(models, 0.0))
    for examples in FEW_CHANGES:
        shown = f"called within 0.5 points, {examples:,} examples, no answer gained"
        yield Bound(f"a true loss of 0.5 points {shown}", share_within(models, MARGIN, examples, 0.0), 0, 0.05)


def share_within(models: int, loss: float, examples: int = EXAMPLES, flipped: float = FLIPPED) -> float:
    """Return the share of models with this true loss that are shown to be within the margin.

    `flipped` is the share of answers that change in each direction beside the loss.
    """
    generator = np.random.default_rng(SEED)
    found = 0
    for _ in range(models):
        dense = (generator.random(examples) < 0.9).astype(np.float32)
        right = answers(generator, dense, loss, flipped)
        delta = paired_difference(int((right > dense).sum()), int((right < dense).sum()), examples)
        accuracy = replace(factory.accuracy(float(right.mean())), delta=delta)
        found += within(accuracy, MARGIN) is True
    return found / models
