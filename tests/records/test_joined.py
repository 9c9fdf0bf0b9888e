"""Estimates over several sessions, against brute force, scipy and simulated sessions."""

import math
import statistics

import numpy as np
import pytest
from scipy.stats import t as student

from compress.records.joined import (
    joined_mean,
    joined_ratio,
    least_detectable,
    session_spread,
    widened_between,
)
from compress.records.stats import Estimate, mean_estimate, paired_ratio

SESSIONS = ((0.50, 0.52, 0.51), (0.55, 0.54, 0.56), (0.48, 0.49, 0.50))


def ratios(sessions=SESSIONS):
    return [paired_ratio(rounds, [1.0] * len(rounds)) for rounds in sessions]


def test_sessions_that_differ_are_joined_by_students_t_over_their_means():
    logs = [statistics.fmean(map(math.log, rounds)) for rounds in SESSIONS]
    low, high = student.interval(0.95, 2, statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(3))
    found = joined_ratio(ratios())
    assert (found.value, found.low, found.high) == pytest.approx(
        (math.exp(statistics.fmean(logs)), math.exp(low), math.exp(high)), rel=1e-9
    )
    assert found.n == 3
    means = [statistics.fmean(rounds) for rounds in SESSIONS]
    low, high = student.interval(0.95, 2, statistics.fmean(means), statistics.stdev(means) / math.sqrt(3))
    found = joined_mean([mean_estimate(rounds) for rounds in SESSIONS])
    assert (found.value, found.low, found.high) == pytest.approx((statistics.fmean(means), low, high), rel=1e-9)


def test_the_interval_is_never_narrower_than_the_rounds_within_the_sessions_allow():
    rounds = [0.45, 0.55, 0.5]
    alike = [[r * factor for r in rounds] for factor in (1.0, 1.0001, 0.9999)]
    logs = [statistics.stdev(map(math.log, each)) / math.sqrt(3) for each in alike]
    half = student.ppf(0.975, 6) * math.sqrt(sum(error**2 for error in logs)) / 3
    found = joined_ratio(ratios(alike))
    assert math.log(found.high / found.value) == pytest.approx(half, rel=1e-9)
    assert math.log(found.value / found.low) == pytest.approx(half, rel=1e-9)
    assert session_spread(ratios(alike)) == 0.0


def test_a_single_session_is_unchanged_and_has_no_spread():
    (only,) = ratios(SESSIONS[:1])
    assert joined_ratio([only]) == only == joined_mean([only])
    assert session_spread([only]) is None
    assert session_spread([paired_ratio([0.5], [1.0])] * 2) is None  # without intervals


def test_the_spread_is_the_variance_of_the_sessions_without_that_of_their_rounds():
    logs = [[math.log(r) for r in rounds] for rounds in SESSIONS]
    between = statistics.variance([statistics.fmean(each) for each in logs])
    within = statistics.fmean(statistics.variance(each) / 3 for each in logs)
    assert session_spread(ratios()) == pytest.approx(math.sqrt(between - within), rel=1e-9)


def simulated(generator, k, spread, cv=0.02, rounds=6, true=0.5):
    """Return the ratios of k sessions whose effects and rounds are normal on the log scale."""
    effects = spread * generator.standard_normal(k)
    logs = math.log(true) + effects[:, None] + cv * generator.standard_normal((k, rounds))
    return [paired_ratio(np.exp(each).tolist(), [1.0] * rounds) for each in logs]


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_intervals_over_three_sessions_cover_the_true_ratio(spread):
    generator, covered = np.random.default_rng(3), 0
    for _ in range(1500):
        found = joined_ratio(simulated(generator, 3, spread))
        covered += found.low <= 0.5 <= found.high
    assert covered / 1500 >= 0.935


def test_the_estimated_spread_is_unbiased_in_its_square_before_it_is_cut_at_0():
    generator = np.random.default_rng(4)
    squares = [(session_spread(simulated(generator, 10, 0.02)) or 0.0) ** 2 for _ in range(400)]
    assert math.sqrt(statistics.fmean(squares)) == pytest.approx(0.02, rel=0.05)


def test_a_single_session_widened_by_the_true_spread_covers_what_other_sessions_measure():
    generator, covered = np.random.default_rng(5), 0
    for _ in range(1500):
        (one,) = simulated(generator, 1, 0.02)
        wide = widened_between(one, 0.02)
        covered += wide.low <= 0.5 <= wide.high
    assert 0.935 <= covered / 1500 <= 0.975


def test_widening_adds_variances_on_the_log_scale():
    wide = widened_between(Estimate(0.5, 0.5 / 1.03, 0.5 * 1.03, 6), 0.02)
    half = math.hypot(math.log(1.03), 1.959964 * 0.02)
    assert (wide.low, wide.high) == pytest.approx((0.5 * math.exp(-half), 0.5 * math.exp(half)))
    assert (wide.value, wide.n) == (0.5, 6)
    unknown = Estimate(0.5, 0.0, math.inf, 1)
    assert widened_between(unknown, 0.02) == unknown


def test_the_least_detectable_difference_of_sessions_uses_their_degrees_of_freedom():
    found = joined_ratio(ratios())
    error = math.log(found.high / found.value) / student.ppf(0.975, 2)
    expected = math.expm1((student.ppf(0.975, 2) + student.ppf(0.8, 2)) * error)
    assert least_detectable(found) == pytest.approx(expected, rel=1e-6)
    assert least_detectable(Estimate(0.5, 0.0, math.inf, 1)) is None
