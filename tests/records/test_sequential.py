"""The sequential stop: enough rounds, and every ratio precise."""

import math

from compress.records.sequential import enough
from compress.records.stats import Estimate
from compress.spec.measure import LEAST_ROUNDS


def ratio(half: float, n: int) -> Estimate:
    """Return a ratio with this half-width of its log interval."""
    return Estimate(0.5, 0.5 * math.exp(-half), 0.5 * math.exp(half), n)


def test_every_ratio_must_be_precise():
    assert enough([ratio(0.02, 20), ratio(0.0299, 20)], 0.03)
    assert not enough([ratio(0.02, 20), ratio(0.031, 20)], 0.03)


def test_fifteen_rounds_are_needed_however_narrow_the_intervals():
    assert not enough([ratio(0.001, LEAST_ROUNDS - 1)], 0.03)
    assert enough([ratio(0.001, LEAST_ROUNDS)], 0.03)


def test_between_looks_a_session_goes_on():
    assert [n for n in range(10, 31) if enough([ratio(0.02, n)], 0.03)] == [15, 20, 25, 30]


def test_a_ratio_without_an_interval_is_not_precise():
    assert not enough([Estimate(0.5, 0.0, math.inf, 20)], 0.03)
