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


def rows(models: int) -> Iterator[Bound]:
    """Yield the share of models that are shown to be within the margin, at losses of the margin and of nothing."""
    shown = f"called within 0.5 points, {EXAMPLES:,} examples"
    yield Bound(f"a true loss of 0.5 points {shown}", share_within(models, MARGIN), 0, 0.05)
    yield Bound(f"a true loss of 0 points {shown}", share_within(models, 0.0))


def share_within(models: int, loss: float) -> float:
    """Return the share of models with this true loss that are shown to be within the margin."""
    generator = np.random.default_rng(SEED)
    found = 0
    for seed in range(models):
        dense = (generator.random(EXAMPLES) < 0.9).astype(np.float32)
        right = answers(generator, dense, loss, FLIPPED)
        delta = paired_difference(right.tolist(), dense.tolist(), seed)
        accuracy = replace(factory.accuracy(float(right.mean())), delta=delta)
        found += within(accuracy, MARGIN) is True
    return found / models
