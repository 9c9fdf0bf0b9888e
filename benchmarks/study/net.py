"""Rows on ratios of energy net of idle."""

from collections.abc import Iterator

import numpy as np

from benchmarks.study import SEED, Bound
from compress.analysis.drift import Series
from compress.analysis.net import net_j
from compress.records import stats


def rows(sessions: int) -> Iterator[Bound]:
    """Yield the coverage of net ratios: 6 rounds, seconds and watts vary independently by 3 % and 1 %."""
    generator = np.random.default_rng(SEED)
    idle_w, covered = 120.0, 0
    truth = (300 - idle_w) * 0.5 / (400 - idle_w)
    for _ in range(sessions):
        shared = 0.02 * generator.standard_normal(6)
        nets = []
        for watts, seconds in ((300.0, 0.5), (400.0, 1.0)):
            took = seconds * np.exp(shared + 0.03 * generator.standard_normal(6))
            drawn = watts * np.exp(0.01 * generator.standard_normal(6))
            nets.append(net_j(Series("", took.tolist(), (drawn * took).tolist()), idle_w))
        ratio = stats.paired_ratio(*nets)
        covered += ratio.low <= truth <= ratio.high
    yield Bound("coverage of the ratio of energy net of idle, 6 rounds", covered / sessions, 0.935)
