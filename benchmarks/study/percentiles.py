"""Rows on percentiles of the latency of a batch, whose intervals come from order statistics."""

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from benchmarks.study import SEED, Bound
from compress.records.quantiles import quantile_estimate


def independent(sessions: int) -> Iterator[Bound]:
    """Yield the coverage of percentile intervals: batches with a long tail, at the least numbers and at more."""
    generator = np.random.default_rng(SEED)
    for fraction, counts in ((0.5, (6, 50)), (0.9, (36, 200)), (0.99, (368, 2000))):
        true = -math.log(1 - fraction)  # of an exponential distribution
        for n in counts:
            draws = generator.exponential(size=(sessions, n))
            found = [quantile_estimate(np.array_split(row, 6), fraction) for row in draws]
            covered = sum(e is not None and e.low <= true <= e.high for e in found) / sessions
            yield Bound(f"coverage of p{100 * fraction:g}, {n} independent batches", covered, 0.94)


def uneven_rounds(sessions: int) -> Iterator[Bound]:
    """Yield the coverage of percentile intervals where rounds differ: 10 of 200 batches, 3 % noise within each."""
    for fraction, cv in ((0.5, 0.05), (0.9, 0.02), (0.9, 0.05)):
        generator = np.random.default_rng(SEED)
        true = NormalDist(0, math.hypot(cv, 0.03)).inv_cdf(fraction)
        covered = 0
        for _ in range(sessions):
            draws = cv * generator.standard_normal((10, 1)) + 0.03 * generator.standard_normal((10, 200))
            found = quantile_estimate(draws.tolist(), fraction)
            covered += found is not None and found.low <= true <= found.high
        what = f"coverage of p{100 * fraction:g}, 10 rounds of 200 batches, rounds differ by {100 * cv:g} %"
        yield Bound(what, covered / sessions, 0.94)
