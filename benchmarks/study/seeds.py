"""Rows on training seeds: whether the interval of an accuracy contains that of another training by the same recipe."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.study import SEED, Bound
from compress.analysis.seeds import over_seeds
from compress.records import stats
from compress.records.accuracy import SeedAccuracy
from tests import factory

EXAMPLES = 872
TRUE = 0.9


def rows(recipes: int) -> Iterator[Bound]:
    """Yield coverage for 2, 3 and 5 seeds, and without further seeds."""
    for shared in (True, False):
        kind = "shared difficulty" if shared else "independent errors"
        for seeds, deviation in ((2, 0.01), (3, 0.003), (3, 0.01), (5, 0.01)):
            generator = np.random.default_rng(SEED)
            found, alone = covered(generator, recipes, seeds, EXAMPLES, deviation, shared)
            label = f"seeds differ by {100 * deviation:g} points, {kind}"
            yield Bound(f"coverage with {seeds} seeds, {label}", found, 0.95)
            if (seeds, deviation) == (3, 0.01):
                yield Bound(f"coverage of the interval over examples only, {label}", alone)


def covered(
    generator: np.random.Generator, recipes: int, seeds: int, examples: int, deviation: float, shared: bool
) -> tuple[float, float]:
    """Return the shares of intervals that contain another training's true accuracy: over seeds, and over examples only.

    True accuracies scatter by seed around 90 %. `shared`: trainings find the same examples difficult.
    """
    true = np.clip(TRUE + deviation * generator.standard_normal((recipes, seeds + 1)), 0, 1)
    made = true[:, :-1]  # [recipes, seeds]
    right = _nested(generator, made, examples) if shared else generator.binomial(examples, made) / examples
    covered = without = 0
    for values, another in zip(right.tolist(), true[:, -1].tolist(), strict=True):
        over_examples = stats.wilson(round(values[0] * examples), examples)
        own = replace(factory.accuracy(values[0], None), estimate=over_examples)
        estimate = over_seeds(own, 0, [SeedAccuracy(n, v) for n, v in enumerate(values[1:], 1)]).estimate
        covered += estimate.low <= another <= estimate.high
        without += over_examples.low <= another <= over_examples.high
    return covered / recipes, without / recipes


def _nested(generator: np.random.Generator, made: np.ndarray, examples: int) -> np.ndarray:
    """Return measured accuracies of trainings with these true ones, which differ on as few examples as possible.

    An example of difficulty u, even within 0 to 1, is answered correctly by every training whose accuracy exceeds u.
    """
    order = np.argsort(made, axis=1)
    rising = np.take_along_axis(made, order, axis=1)
    right, count, reached = np.empty_like(made), np.zeros(len(made), dtype=int), np.zeros(len(made))
    for column in range(made.shape[1]):
        count = count + generator.binomial(examples - count, (rising[:, column] - reached) / (1 - reached))
        reached = rising[:, column]
        np.put_along_axis(right, order[:, [column]], count[:, None] / examples, axis=1)
    return right
