"""Percentiles with intervals from order statistics: right ranks, right floors, nominal coverage."""

import math
import random
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from compress.records.files import read, write
from compress.records.quantiles import FRACTIONS, least, quantile_estimate, ranks
from tests import factory


@pytest.mark.parametrize(("fraction", "needed"), [(0.5, 6), (0.9, 36), (0.99, 368)], ids=["p50", "p90", "p99"])
def test_an_interval_exists_from_this_number_of_values_on(fraction: float, needed: int) -> None:
    # all n values lie below the quantile with probability fraction^n: at most 2.5 %
    assert Fraction(fraction) ** needed <= Fraction(25, 1000) < Fraction(fraction) ** (needed - 1)
    assert least(fraction) == needed
    assert ranks(needed, fraction) is not None and ranks(needed - 1, fraction) is None
    assert quantile_estimate([range(needed - 1)], fraction) is None


@pytest.mark.parametrize("n", [6, 7, 36, 99, 368, 1000, 62_025])
@pytest.mark.parametrize("fraction", FRACTIONS.values(), ids=FRACTIONS)
def test_each_end_fails_with_at_most_2_5_percent_and_is_the_closest_that_does(n: int, fraction: float) -> None:
    found = ranks(n, fraction)
    if n < least(fraction):
        assert found is None
        return
    assert found is not None
    low, high = found
    below = scipy_stats.binom(n, fraction).cdf  # x_(r) exceeds the quantile if fewer than r values lie below it
    assert below(low - 1) <= 0.025 < below(low)
    assert below(high - 1) >= 0.975 > below(high - 2)


def test_the_value_lies_between_the_ranks_that_a_table_gives() -> None:
    values = [float(v) for v in random.Random(1).sample(range(100), 100)]
    found = quantile_estimate([values], 0.5)
    assert found is not None  # Conover 1999, table A3: ranks 40 and 61 of 100 for the median
    assert (found.value, found.low, found.high, found.n) == (49.5, 39.0, 60.0, 100)


def test_the_interval_of_p99_covers_the_true_value() -> None:
    draw, covered = random.Random(3), 0
    for _ in range(1500):
        found = quantile_estimate([[draw.expovariate(1.0) for _ in range(80)] for _ in range(5)], 0.99)
        assert found is not None
        covered += found.low <= -math.log(0.01) <= found.high
    assert covered / 1500 >= 0.94


def test_rounds_that_differ_widen_the_interval_as_woodruff_has_it() -> None:
    rounds = [[1.0] * 20 + [3.0] * 5, [2.0] * 10 + [4.0] * 15, [1.5] * 25, [5.0] * 20 + [6.0] * 5]
    found = quantile_estimate(rounds, 0.5)
    assert found is not None and found.value == 2.0
    ordered = sorted(v for values in rounds for v in values)

    def reach(value: float) -> float:
        below = [sum(v <= value for v in values) for values in rounds]
        return (
            float(scipy_stats.t.ppf(0.975, 3)) * math.sqrt(4 / 3 * sum((b - sum(below) / 4) ** 2 for b in below)) / 100
        )

    def low(reach: float) -> float:
        return ordered[max(1, math.floor(100 * (0.5 - reach))) - 1]

    def high(reach: float) -> float:
        return ordered[min(100, math.ceil(100 * (0.5 + reach)) + 1) - 1]

    own = reach(2.0)
    assert found.low == low(max(own, reach(low(own))))
    assert found.high == high(max(own, reach(high(own))))
    alone = quantile_estimate([ordered], 0.5)
    assert alone is not None and alone.high < found.high


def test_the_interval_covers_where_rounds_differ_by_5_percent() -> None:
    draw, covered = random.Random(5), 0
    for _ in range(600):
        shifts = [draw.gauss(0, 0.05) for _ in range(6)]
        found = quantile_estimate([[shift + draw.gauss(0, 0.03) for _ in range(60)] for shift in shifts], 0.5)
        assert found is not None
        covered += found.low <= 0 <= found.high
    assert covered / 600 >= 0.94  # order statistics of independent values: 26 %


def test_percentiles_of_many_batches_survive_the_file(tmp_path: Path) -> None:
    made = factory.result()
    many = quantile_estimate([[0.01 + i * 1e-7 for i in range(5000)]], 0.99)
    percentiles = replace(made.points[0].latency_percentiles_s, p99=many, n=5000)
    result = replace(made, points=(replace(made.points[0], latency_percentiles_s=percentiles),))
    assert read(write(tmp_path, result)) == result


def test_the_interval_of_p90_covers_where_rounds_differ_and_batches_have_a_long_tail() -> None:
    """With the variance at the quantile alone, coverage was 90 %. Two standard errors of 1,000 draws: 1.5 %."""
    generator = np.random.default_rng(5)
    draws = np.exp(0.05 * generator.standard_normal((1000, 10, 1))) * (
        1 + 0.03 * generator.exponential(size=(1000, 10, 100))
    )
    many = np.exp(0.05 * generator.standard_normal(10**6)) * (1 + 0.03 * generator.exponential(size=10**6))
    true, covered = np.quantile(many, 0.9), 0
    for rounds in draws:
        found = quantile_estimate(rounds, 0.9)
        assert found is not None
        covered += found.low <= true <= found.high
    assert covered / 1000 >= 0.94 - 0.015


def test_more_values_never_lose_the_interval() -> None:
    known = [ranks(n, 0.9) is not None for n in range(1, 200)]
    assert all(earlier <= later for earlier, later in pairwise(known))
