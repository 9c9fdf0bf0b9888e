"""Estimates against brute force and known values."""

import math
import random

import numpy as np
import pytest

from compress.records.stats import (
    Estimate,
    at_confidence,
    discordant,
    log_mean_estimate,
    mean_estimate,
    min_detectable,
    paired_difference,
    paired_ratio,
    paired_ratios,
    percentile,
    quotient,
    ratio_p,
    sign_p,
    t_quantile,
    widened,
    wilson,
)


def test_t_quantile_is_the_tables_value():
    assert t_quantile(5) == pytest.approx(2.776, abs=1e-3)  # 4 degrees of freedom
    assert t_quantile(100_000) == pytest.approx(1.96, abs=1e-3)


def test_mean_estimate_is_the_textbook_interval():
    # mean 3, standard deviation sqrt(2.5), n 5: half-width 2.776 * 1.581 / 2.236 = 1.963
    estimate = mean_estimate([1, 2, 3, 4, 5])
    assert (estimate.value, estimate.n) == (3, 5)
    assert estimate.high - estimate.value == pytest.approx(1.963, abs=1e-3)
    assert estimate.value - estimate.low == pytest.approx(1.963, abs=1e-3)


def test_mean_interval_covers_the_truth_about_95_times_in_100():
    noise = random.Random(1)
    inside = 0
    for _ in range(400):
        estimate = mean_estimate([noise.gauss(10, 2) for _ in range(5)])
        inside += estimate.low <= 10 <= estimate.high
    assert 0.91 <= inside / 400 <= 0.985


def test_one_observation_has_an_infinite_interval():
    estimate = mean_estimate([7.0])
    assert (estimate.value, estimate.low, estimate.high) == (7.0, -math.inf, math.inf)
    ratio = log_mean_estimate([0.5])
    assert ratio.value == pytest.approx(0.5)
    assert ratio.low == 0 and ratio.high > 1e300


def test_no_observation_is_an_error():
    with pytest.raises(ValueError, match="no observations"):
        mean_estimate([])
    with pytest.raises(ValueError, match="no examples"):
        wilson(0, 0)


def test_paired_ratio_is_the_geometric_mean_and_its_inverse_swaps_the_interval():
    ours, theirs = [1.0, 2.0, 4.0], [2.0, 2.5, 7.0]
    ratio, inverse = paired_ratio(ours, theirs), paired_ratio(theirs, ours)
    assert ratio.value == pytest.approx((0.5 * 0.8 * 4 / 7) ** (1 / 3))
    assert (1 / ratio.low, 1 / ratio.high) == pytest.approx((inverse.high, inverse.low))


def test_paired_ratio_is_blind_to_drift_that_both_share():
    drift = [1.0, 1.5, 2.0, 3.0]
    ratio = paired_ratio([0.4 * d for d in drift], drift)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((0.4, 0.4, 0.4))


def test_paired_ratio_refuses_unequal_rounds():
    with pytest.raises(ValueError, match="same rounds"):
        paired_ratio([1.0, 2.0], [1.0])


def test_min_detectable_grows_with_noise_and_shrinks_with_rounds():
    def noisy(spread: float, n: int) -> float:
        found = min_detectable([1 + spread * (-1) ** i for i in range(n)], [1.0] * n)
        assert found is not None
        return found

    assert noisy(0.01, 6) < noisy(0.05, 6)
    assert noisy(0.05, 20) < noisy(0.05, 6)
    assert min_detectable([1.0], [1.0]) is None


def test_wilson_is_the_published_example_and_stays_inside_0_to_1():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662
    estimate = wilson(81, 263)
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == 1


def test_mcnemar_is_the_binomial_on_the_discordant_pairs():
    ours = [True] * 8 + [False] * 2 + [True] * 50
    theirs = [False] * 8 + [True] * 2 + [True] * 50
    # two-sided binomial of 8 in 10 at 1/2: 2 * (45 + 10 + 1) / 1024
    assert sign_p(*discordant(ours, theirs)) == pytest.approx(2 * 56 / 1024)
    assert sign_p(*discordant(theirs, ours)) == pytest.approx(2 * 56 / 1024)
    assert sign_p(*discordant(ours, ours)) == 1.0


def test_a_paired_difference_counts_the_answers_that_changed():
    ours, theirs = [True, False, True, True] * 50, [True, True, False, False] * 50
    assert discordant(ours, theirs) == (100, 50)
    estimate = paired_difference(100, 50, 200)
    assert (estimate.value, estimate.n) == (0.25, 200)
    assert estimate.low < 0.25 < estimate.high
    # standard deviation of the differences is sqrt(11)/4 = 0.829: 1.96 * 0.829 / sqrt(200) = 0.115
    assert estimate.high - estimate.low == pytest.approx(0.23, abs=0.01)


@pytest.mark.parametrize("n", [20, 200, 872])
def test_without_a_changed_answer_a_difference_is_as_uncertain_as_the_exact_bound(n):
    found = paired_difference(0, 0, n)
    assert (found.value, found.n) == (0.0, n)
    assert found.high == -found.low == pytest.approx(1 - 0.025 ** (1 / n), rel=0.06)


@pytest.mark.parametrize(("more", "fewer"), [(0, 4), (4, 0), (1, 7), (0, 5)])
def test_few_changed_answers_are_no_difference_unless_mcnemar_says_so(more, fewer):
    found = paired_difference(more, fewer, 400)
    assert found.low <= 0 <= found.high
    assert paired_difference(0, 6, 400).high < 0
    assert paired_difference(0, 4, 400, 0.9).high == 0 < paired_difference(0, 6, 400, 0.99).high


def test_a_quotient_is_uncertain_of_both():
    found = quotient(Estimate(2.0, 1.8, 2.2, 6), Estimate(0.9, 0.88, 0.92, 872))
    assert found.value == pytest.approx(2 / 0.9)
    assert found.low < 1.8 / 0.9
    assert found.high > 2.2 / 0.9
    assert quotient(Estimate(2.0, 0.0, 4.0, 6), Estimate(0.9, 0.88, 0.92, 872)).high == math.inf


def test_widening_covers_every_true_value_that_an_instrument_can_have_read():
    found = widened(Estimate(100.0, 95.0, 105.0, 6), 0.05)
    assert found.low * 1.05 == pytest.approx(95.0)
    assert found.high * 0.95 == pytest.approx(105.0)


def test_percentile_interpolates():
    assert percentile([1, 2, 3, 4], 0.5) == 2.5
    assert percentile([1, 2, 3, 4], 1.0) == 4


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 10, 11, 30, 101])
@pytest.mark.parametrize("confidence", [0.1, 0.6, 0.95, 0.99, 0.9999])
def test_t_quantiles_and_probabilities_are_scipys(n: int, confidence: float) -> None:
    from scipy.stats import t

    from compress.records.stats import t_quantile, within_t

    wanted = float(t.ppf(0.5 + confidence / 2, n - 1))
    assert t_quantile(n, confidence) == pytest.approx(wanted, rel=1e-10)
    assert within_t(wanted, n - 1) == pytest.approx(confidence, rel=1e-12)
    assert within_t(-wanted, n - 1) == pytest.approx(confidence, rel=1e-12)


@pytest.mark.parametrize("n", [4, 7, 8, 10, 30])
def test_p_values_and_levels_use_the_degrees_of_freedom_of_the_interval(n: int) -> None:
    noise = random.Random(n)
    ours = [math.exp(noise.gauss(0.02, 0.05)) for _ in range(n)]
    ratio = paired_ratio(ours, [1.0] * n, correlation=0.3)
    assert ratio.t_degrees == {4: 3, 7: 6, 8: 5, 10: 7, 30: 9}[n]  # n - 1; one trimmed from each end; 0.3 x 29, rounded
    touching = at_confidence(ratio, 1 - ratio_p(ratio))
    assert min(abs(touching.low - 1), abs(touching.high - 1)) == pytest.approx(0, abs=1e-9)
    again = at_confidence(ratio, 0.95)
    assert (again.low, again.high) == pytest.approx((ratio.low, ratio.high))


@pytest.mark.parametrize("n", [2, 8, 25])
def test_ratios_of_many_pairs_are_those_of_each(n: int) -> None:
    noise = random.Random(n)
    logs = [[noise.gauss(0, 0.1) for _ in range(n)] for _ in range(3)]
    values, lows, highs = paired_ratios(np.array(logs), 0.2)
    for i, one in enumerate(logs):
        alone = paired_ratio([math.exp(v) for v in one], [1.0] * n, 0.2)
        found = [math.exp(edge[i]) for edge in (values, lows, highs)]
        assert found == pytest.approx([alone.value, alone.low, alone.high])


def test_the_detectable_difference_is_that_of_the_interval() -> None:
    from scipy.stats import t

    ours = [1.0, 1.1, 0.95, 1.02, 1.07, 0.9, 1.01, 0.99]
    half = math.log(paired_ratio(ours, [1.0] * 8, 0.4).high / paired_ratio(ours, [1.0] * 8, 0.4).low) / 2
    error = half / t.ppf(0.975, 5)
    found = min_detectable(ours, [1.0] * 8, 0.4)
    assert found == pytest.approx(math.expm1((t.ppf(0.975, 5) + t.ppf(0.8, 5)) * error))
