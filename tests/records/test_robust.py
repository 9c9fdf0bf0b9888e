"""The robust location of rounds, against brute force, scipy and published values."""

import math
import random

import numpy as np
import pytest
from scipy import optimize, stats

from compress.records import robust
from compress.records.stats import log_mean_estimate, mean_estimate, paired_ratio

# Wilcox 2012, Introduction to Robust Estimation and Hypothesis Testing, table 3.2: self-awareness data
AWARENESS = [77, 87, 88, 114, 151, 210, 219, 246, 253, 262, 296, 299, 306, 376, 428, 515, 666, 1310, 2611]
STALLED = [0.34, 0.60, 0.41, 0.52, 0.47, 13.9, 0.38, 0.55]


def noisy(n: int, seed: int = 0) -> np.ndarray:
    """Return values with noise and one large outlier. [n]"""
    values = np.random.default_rng(seed).normal(3, 0.2, n)
    values[n // 2] += 40
    return values


@pytest.mark.parametrize(("n", "each"), [(6, 0), (6, 1), (10, 1), (14, 1), (19, 3)])
def test_the_trimmed_mean_and_its_error_are_brute_force(n: int, each: int):
    values = noisy(n)
    ordered = sorted(values)
    kept = ordered[each : n - each]
    winsorized = [kept[0]] * each + kept + [kept[-1]] * each
    found = robust.trimmed(values, each)
    assert found.value == pytest.approx(sum(kept) / len(kept))
    assert found.error == pytest.approx(math.sqrt((n - 1) * np.var(winsorized, ddof=1) / (len(kept) * (len(kept) - 1))))
    assert found.degrees == len(kept) - 1


@pytest.mark.parametrize("n", [8, 10, 14])
def test_the_trimmed_mean_and_its_error_are_scipys(n: int):
    values = noisy(n)
    found = robust.location(values)
    assert found.value == pytest.approx(stats.trim_mean(values, 1 / n + 1e-9))
    winsorized = np.asarray(stats.mstats.winsorize(values, limits=(1 / n + 1e-9, 1 / n + 1e-9)))
    assert found.error == pytest.approx((winsorized.std(ddof=1) / (1 - 2 / n) / math.sqrt(n)), rel=0.1)  # h - 1 for h


@pytest.mark.parametrize("n", [2, 6, 7])
def test_below_8_rounds_the_location_is_the_plain_mean_with_its_standard_error(n: int):
    values = noisy(n)
    found = robust.location(values)
    assert found.value == pytest.approx(sum(values) / n)
    assert found.error == pytest.approx(stats.sem(values))
    assert found.degrees == n - 1


def test_the_trimmed_mean_is_the_published_value():
    found = robust.trimmed(np.array(AWARENESS, dtype=float), 3)  # 20 % from each end
    assert found.value == pytest.approx(282.7, abs=0.05)
    # 56.1 is s_w / (0.6 sqrt(n)); Yuen's error, sqrt((n - 1) s_w^2 / (h (h - 1))), is larger by 2.7 %
    assert found.error == pytest.approx(56.1 * math.sqrt(18 * 0.6**2 * 19 / (13 * 12)), rel=2e-3)
    assert found.degrees == 12


@pytest.mark.parametrize("n", [15, 40])
def test_the_biweight_solves_its_estimating_equation(n: int):
    values = noisy(n)
    reach = 4.5 * np.median(np.abs(values - np.median(values)))

    def scores(centre: float) -> float:
        u = (values - centre) / reach
        return float(sum(x * (1 - x * x) ** 2 for x in u if abs(x) < 1))

    found = robust.biweight(values)
    centre = optimize.brentq(scores, 2.5, 3.5, xtol=1e-14)
    assert found.value == pytest.approx(centre, abs=1e-9)
    u = [x for x in (values - centre) / reach if abs(x) < 1]
    numerator = sum((reach * x) ** 2 * (1 - x * x) ** 4 for x in u)
    slope = sum((1 - x * x) * (1 - 5 * x * x) for x in u)
    assert found.error == pytest.approx(math.sqrt(numerator / (slope * (slope - 1))))


def test_the_size_of_an_outlier_does_not_change_the_biweight():
    values = noisy(20)
    far = np.where(values > 10, 1e6, values)
    assert robust.biweight(far) == robust.biweight(values)
    assert float(robust.biweight(values).value) == pytest.approx(3, abs=0.15)


def test_locations_of_many_series_are_those_of_each():
    values = np.random.default_rng(1).normal(size=(2, 3, 18))
    together = robust.location(values)
    for i in range(2):
        for j in range(3):
            alone = robust.location(values[i, j])
            assert together.value[i, j] == pytest.approx(float(alone.value), rel=1e-12)
            assert together.error[i, j] == pytest.approx(float(alone.error), rel=1e-12)


def test_equal_rounds_have_no_width_and_mostly_equal_rounds_keep_the_plain_interval():
    equal = robust.biweight(np.full(20, 0.4))
    assert (float(equal.value), float(equal.error)) == (pytest.approx(0.4), pytest.approx(0, abs=1e-15))
    mostly = np.array([1.0] * 12 + [1.1, 1.2, 0.9, 1.3])
    assert float(robust.biweight(mostly).value) == pytest.approx(mostly.mean())
    assert float(robust.biweight(mostly).error) == pytest.approx(mostly.std(ddof=1) / 4)


@pytest.mark.parametrize(
    ("n", "least", "most"),
    [(6, 0.93, 0.955), (10, 0.935, 0.96), (15, 0.94, 0.965), (16, 0.94, 0.965), (20, 0.94, 0.965), (50, 0.94, 0.96)],
)
def test_intervals_of_normal_noise_have_nominal_coverage(n: int, least: float, most: float):
    value, error, degrees = robust.location(np.random.default_rng(n).normal(size=(8000, n)))
    covered = float((np.abs(value) <= stats.t.ppf(0.975, degrees) * error).mean())
    assert least <= covered <= most


def test_one_stalled_round_of_eight_leaves_a_usable_ratio():
    ratio = paired_ratio(STALLED, [1.0] * 8)
    assert 0.4 < ratio.value < 0.55
    assert 0.35 < ratio.low < ratio.high < 0.7
    plain = stats.t.interval(0.95, 7, np.mean(np.log(STALLED)), stats.sem(np.log(STALLED)))
    assert plain[1] - plain[0] > 2  # the mean of the logarithms: 0.3 to 2.1 times


def test_one_stalled_round_of_eight_leaves_a_usable_latency():
    seconds = [0.040 * value / 0.47 for value in STALLED]
    latency = log_mean_estimate(seconds)
    assert 0.03 < latency.low < latency.value < latency.high < 0.06
    assert mean_estimate(seconds).value < 0.06


def test_no_interval_of_a_positive_quantity_reaches_zero():
    noise = random.Random(3)
    for n in (2, 3, 6, 8, 15, 30):
        found = log_mean_estimate([math.exp(noise.gauss(0, 1)) for _ in range(n)])
        assert 0 < found.low < found.value < found.high
