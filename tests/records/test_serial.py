"""Correlation between rounds, against brute force and simulated series."""

import math

import numpy as np
import pytest

from compress.records import serial
from compress.records.stats import log_mean_estimate, paired_ratio


def series(rho: float, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return stationary AR(1) series of unit variance. [..., rounds]"""
    values = np.random.default_rng(seed).standard_normal(shape)
    for i in range(1, shape[-1]):
        values[..., i] = rho * values[..., i - 1] + math.sqrt(1 - rho**2) * values[..., i]
    return values


def covariance(rho: float, n: int) -> np.ndarray:
    """Return the covariance matrix of `n` rounds. [n, n]"""
    return np.array([[rho ** abs(i - j) for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("n", [6, 10, 40])
@pytest.mark.parametrize("rho", [-0.4, 0.0, 0.3, 0.8])
def test_expectations_follow_from_the_covariance_matrix(n: int, rho: float):
    matrix = covariance(rho, n)
    assert serial.variance_of_mean(rho, n) == pytest.approx(matrix.mean())
    centred = (np.eye(n) - 1 / n) @ matrix @ (np.eye(n) - 1 / n)
    assert serial.inflation(n, rho) == pytest.approx(matrix.mean() * n / (np.trace(centred) / (n - 1)))


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_inflation_is_the_variance_of_simulated_means_over_their_squared_errors(rho: float):
    values = series(rho, (40_000, 10))
    errors = values.var(axis=1, ddof=1) / 10
    assert serial.inflation(10, rho) == pytest.approx(values.mean(axis=1).var() / errors.mean(), rel=0.03)


@pytest.mark.parametrize("rho", [-0.3, 0.0, 0.3, 0.6])
def test_the_estimate_is_nearly_unbiased(rho: float):
    found = serial.estimated(series(rho, (3000, 7, 10)))
    assert float(found.mean()) == pytest.approx(rho, abs=0.04)


def test_the_estimate_of_one_series_is_the_published_correction_of_its_lag_1_correlation():
    values = series(0.4, (1, 12), seed=7)
    d = values[0] - values[0].mean()
    lag_1 = sum(a * b for a, b in zip(d[1:], d[:-1], strict=True)) / sum(a * a for a in d)
    assert float(serial.estimated(values, shared=False)) == pytest.approx((12 * lag_1 + 1) / 8)


def test_a_factor_shared_by_all_runners_leaves_the_estimate_unchanged():
    logs = series(0.3, (4, 12))
    shared = np.cumsum(np.random.default_rng(5).normal(size=12))
    alone, together = serial.pooled(logs), serial.pooled(logs + shared)
    assert alone is not None and together is not None
    assert together.value == pytest.approx(alone.value)
    absolute = serial.pooled(logs + shared, shared=False)
    assert absolute is not None
    assert absolute.value > together.value
    assert (together.series, absolute.series) == (3, 1)


def test_the_upper_value_adds_an_allowance_and_stays_from_0_to_its_limit():
    logs = series(0.4, (3, 30), seed=2)
    found = serial.pooled(logs)
    assert found is not None and 0 < found.value < 0.5
    assert found.upper == pytest.approx(found.value * (1 + 2 / math.sqrt(60)))
    pair = serial.pooled(logs[:2])
    assert pair is not None
    assert pair.upper == pytest.approx(pair.value + 1 / math.sqrt(30))
    wandering = serial.pooled(np.cumsum(series(0.0, (3, 30)), axis=1))
    assert wandering is not None
    assert wandering.flagged and not found.flagged
    assert wandering.upper == serial.LARGEST
    alternating = serial.pooled(np.tile([1.0, -1.0], (3, 5)) * [[1.0], [2.0], [-3.0]])
    assert alternating is not None
    assert alternating.upper == 0


def test_one_stall_does_not_hide_a_correlation():
    logs = 0.05 * series(0.6, (7, 40), seed=4)
    stalled = logs.copy()
    stalled[2, 11] += 3
    quiet, busy = serial.pooled(logs), serial.pooled(stalled)
    assert quiet is not None and busy is not None
    assert busy.value == pytest.approx(quiet.value, abs=0.15)


def test_too_few_rounds_or_runners_have_no_estimate():
    assert serial.pooled(series(0.0, (5, 5))) is None
    assert serial.pooled(series(0.0, (1, 10))) is None
    assert serial.pooled(series(0.0, (1, 10)), shared=False) is not None


def test_correlation_widens_intervals_around_the_same_value():
    ours = np.exp(0.05 * series(0.0, (10,))).tolist()
    narrow, wide = paired_ratio(ours, [1.0] * 10), paired_ratio(ours, [1.0] * 10, 0.6)
    assert wide.value == narrow.value
    factor = math.log(wide.high / wide.low) / math.log(narrow.high / narrow.low)
    matrix = covariance(0.6, 10)
    lost = np.trace((np.eye(10) - 0.1) @ matrix) / 9
    assert factor == pytest.approx(math.sqrt(10 * matrix.mean() / lost))
    assert log_mean_estimate(ours, 0.6) == wide
