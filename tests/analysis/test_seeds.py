"""Intervals that cover the seed: the formula, its coverage by simulation, and every statement that uses them."""

import math
from dataclasses import replace
from statistics import stdev
from typing import Any

import numpy as np
import pytest

from benchmarks.study.seeds import covered
from compress.analysis import gate, loss, odds, seeds
from compress.analysis.pareto import group
from compress.analysis.seeds import Spread, jointly, over_seeds
from compress.analysis.sentence import accuracy_words
from compress.records import proportions, stats
from compress.records.accuracy import Accuracy, SeedAccuracy
from compress.records.stats import Estimate
from tests import factory

T2 = {p: math.sqrt(2 * p**2 / (1 - p**2)) for p in (0.95, 1 - 0.05 / 14)}
"""Probability -> Student's two-sided quantile for 2 degrees of freedom, in closed form."""


def further(*deltas: float | None, base: float = 0.89) -> list[SeedAccuracy]:
    return [SeedAccuracy(n + 1, None if d is None else base + d, d) for n, d in enumerate(deltas)]


def several(*deltas: float, half: float = 0.01, **fields: Any) -> Accuracy:
    """An accuracy over several seeds; `deltas` are those of every seed."""
    return over_seeds(factory.accuracy(0.89 + deltas[0], deltas[0], half, **fields), 0, further(*deltas[1:]))


def test_the_half_width_adds_the_seed_in_quadrature() -> None:
    own, made = factory.accuracy(0.88, -0.01, 0.012), several(-0.01, 0.0, -0.02, half=0.012)
    assert made.delta is not None
    assert made.seed_spread == pytest.approx(0.01)
    seed = T2[0.95] * math.sqrt(2) * 0.01
    assert made.estimate.value == own.estimate.value
    assert made.estimate.low == pytest.approx(0.88 - math.hypot(0.02, seed))
    assert made.estimate.high == pytest.approx(0.88 + math.hypot(0.02, seed))
    assert made.delta.value == -0.01
    assert made.delta.low == pytest.approx(-0.01 - math.hypot(0.012, seed))
    assert made.delta.high == pytest.approx(-0.01 + math.hypot(0.012, seed))
    assert [(entry.seed, entry.delta) for entry in made.seeds] == [(0, -0.01), (1, 0.0), (2, -0.02)]


def test_one_seed_changes_nothing_and_equal_trainings_widen_nothing() -> None:
    own = factory.accuracy(0.88, -0.01)
    assert over_seeds(own, 0, []) == own
    same = several(-0.01, -0.01, -0.01)
    assert same.seed_spread == 0
    assert same.delta == own.delta


def test_intervals_stay_within_the_range_of_the_metric() -> None:
    made = over_seeds(factory.accuracy(0.98, 0.09), 0, further(-0.2, -0.1))
    assert made.estimate.high == 1.0
    assert made.estimate.low >= 0.0
    assert made.delta is not None
    assert made.delta.high > 0.5  # differences are not clipped


def test_relative_differences_have_a_spread_of_their_own() -> None:
    own = factory.accuracy(21.0, 0.05, 0.02, metric="perplexity")
    made = over_seeds(own, 0, [SeedAccuracy(1, 22.0, 0.1), SeedAccuracy(2, 20.0, 0.0)])
    assert made.delta is not None
    assert made.seed_spread == pytest.approx(1.0)
    assert made.delta.high == pytest.approx(0.05 + math.hypot(0.02, T2[0.95] * math.sqrt(2) * 0.05))


def test_a_seed_without_a_metric_leaves_no_interval_and_is_named() -> None:
    made = over_seeds(factory.accuracy(0.88, -0.01), 0, further(-0.01, None))
    assert not made.estimate.bounded
    assert made.delta is not None
    assert not made.delta.bounded
    assert made.seed_spread is None
    why = "no interval: accuracy is unknown or outputs are not finite with seed 2"
    assert made.reasons == {"interval": why, "delta_interval": why}
    assert why in accuracy_words(made, 0.005)


@pytest.mark.parametrize("seeds_count", [2, 3, 5, 10, 20])
@pytest.mark.parametrize("examples", [872, 2800])
@pytest.mark.parametrize("deviation", [0.003, 0.01])
@pytest.mark.parametrize("shared", [True, False], ids=["same examples", "independent examples"])
def test_the_interval_covers_the_accuracy_of_another_training(
    seeds_count: int, examples: int, deviation: float, shared: bool
) -> None:
    found, over_examples = covered(np.random.default_rng(0), 4000, seeds_count, examples, deviation, shared)
    assert found >= 0.95
    if deviation == 0.01 and shared:
        assert over_examples < 0.9


def test_jointly_valid_intervals_take_students_quantile_for_the_seed() -> None:
    half, spread = 0.012, Spread(0.01, 3)
    wide = Estimate(0.02, 0.02 - math.hypot(half, spread.half()), 0.02 + math.hypot(half, spread.half()), 872)
    joint = jointly(wide, [spread], 14)
    expected = math.hypot(stats.joint_factor(14) * half, T2[1 - 0.05 / 14] * math.sqrt(2) * 0.01)
    assert joint.high - 0.02 == pytest.approx(expected, rel=1e-4)
    plain = Estimate(0.02, 0.01, 0.035, 872)
    factor = stats.joint_factor(14)
    assert jointly(plain, [], 14) == Estimate(0.02, 0.02 - factor * (0.02 - 0.01), 0.02 + factor * (0.035 - 0.02), 872)


def bits(right: int, n: int = 872) -> str:
    """The first `right` examples are correct."""
    return format((1 << right) - 1 if right <= n else 0, "x")


def test_a_loss_since_a_baseline_covers_the_seeds_of_both_even_where_examples_are_paired() -> None:
    before = several(0.0, 0.004, -0.004, right=bits(780))
    after = several(-0.01, 0.0, -0.02, right=bits(770))
    alone = loss.lost_since(replace(after, seeds=()), replace(before, seeds=()))
    both = loss.lost_since(after, before)
    assert isinstance(alone, Estimate)
    assert isinstance(both, Estimate)
    assert both.value == alone.value
    seed = T2[0.95] * math.sqrt(2) * math.hypot(0.01, 0.004)
    assert both.high - both.value == pytest.approx(math.hypot(alone.high - alone.value, seed))


def test_the_gate_is_undecided_where_only_the_artifact_of_the_first_seed_is_sure() -> None:
    def checked(deltas: tuple[float, ...]) -> gate.Check:
        now = several(*deltas, right=bits(775)) if len(deltas) > 1 else factory.accuracy(right=bits(775))
        after = factory.result(accuracy=now)
        before = factory.result(accuracy=factory.accuracy(right=bits(776)), created="2025-05-04T10:00:00+00:00")
        (found,) = gate.check([after], [before], gate.Limits(loss=(0.01, "points")))
        return found

    assert checked((0.0,)).state == "passed"
    found = checked((0.0, 0.01, -0.01))
    assert found.state == "undecided"
    assert found.detail.endswith("more seeds or more test examples could decide it")


def test_the_front_resamples_the_seed_too() -> None:
    n, right = 2800, 2500
    base = {"estimate": stats.wilson(right, n)}
    reference = factory.reference(accuracy=replace(factory.accuracy(right / n, None, right=bits(right, n)), **base))
    own = replace(factory.accuracy(right / n, -0.008, right=bits(right - 22, n)), **base)

    def odds_of(accuracy: Accuracy) -> dict[str, float]:
        slower = factory.result("student", cost=1.2, accuracy=accuracy, references=(reference,))
        (table,) = group([slower])
        return odds.front_odds(table)

    assert odds_of(own)["student"] == 0.0
    scattered = over_seeds(own, 0, further(0.004, -0.02, base=right / n))
    chance = odds_of(scattered)["student"]
    spread = math.sqrt(2) * stdev([-0.008, 0.004, -0.02])
    surely = float(proportions.tango(np.array(22), np.array(0), n)[0])
    lead = 22 / n - math.hypot(22 / n - surely, T2[0.95] * spread)  # lower end of the reference's lead
    t = (-0.005 - lead) / spread  # it dominates where this end moves above minus the margin
    dominated = 0.5 - t / (2 * math.sqrt(2 + t * t))  # P(t_2 > t)
    assert dominated == pytest.approx(0.035, abs=0.005)
    assert chance == pytest.approx(1 - dominated, abs=0.03)


def test_the_cheapest_recipe_within_a_loss_is_only_sure_with_its_seed() -> None:
    sure = factory.result("one", cost=0.4, accuracy=factory.accuracy(0.89, 0.0, 0.005))
    unsure = factory.result("many", cost=0.3, accuracy=several(0.0, 0.004, -0.004, half=0.005))
    (table,) = group([sure, unsure])
    within = odds.cheapest_within(table, 0.01, "points")
    assert within.estimated is not None
    assert within.confident is not None
    assert (within.estimated.name, within.confident.name) == ("many", "one")


def test_draws_follow_the_distribution_of_the_interval() -> None:
    spread = Spread(0.01, 5)
    drawn = spread.draws(np.random.default_rng(0), 200_000)
    assert float(np.mean(np.abs(drawn) > spread.half())) == pytest.approx(0.05, abs=0.003)
    assert seeds.spread(factory.accuracy()) is None
