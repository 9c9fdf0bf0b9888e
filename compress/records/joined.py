"""One estimate from those of several sessions, and the spread between sessions.

    session      1      2      3         value     mean of the sessions' values (of logarithms, for ratios)
    log ratio  -0.65  -0.70  -0.68       between   t(k - 1) x standard deviation of the values / sqrt(k)
    error       0.01   0.02   0.01       within    t(all rounds) x sqrt(sum of squared errors) / k
                                         interval  value +- the larger of both

A session is a fresh process, with its own memory layout, clocks and temperature. Rounds of one session share them, so
the independent unit across sessions is the session. Pure functions over estimates of `stats`.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from compress.records.robust import Location
from compress.records.stats import CONFIDENCE, LARGEST, Arrays, Estimate, exp_or_inf, t_quantile


def joined_mean(means: Sequence[Estimate]) -> Estimate:
    """Return the mean of the sessions' means, with `n` sessions; a single session's estimate is unchanged."""
    if len(means) == 1:
        return means[0]
    value, half = _joined([e.value for e in means], [_error(e.high - e.value, e) for e in means], _rounds(means))
    return Estimate(value, value - half, value + half, len(means))


def joined_ratio(ratios: Sequence[Estimate]) -> Estimate:
    """Return the geometric mean of the sessions' ratios, with an interval on the logarithms and `n` sessions.

    A single session's estimate is unchanged.
    """
    if len(ratios) == 1:
        return ratios[0]
    value, half = _joined([math.log(e.value) for e in ratios], [log_error(e) for e in ratios], _rounds(ratios))
    return Estimate(math.exp(value), math.exp(value - half), exp_or_inf(value + half), len(ratios))


def joined_arrays(sessions: Sequence[Location]) -> Arrays:
    """Return values, lows and highs of many estimates, each joined over the same sessions. [...]"""
    k, degrees = len(sessions), sum(each.degrees for each in sessions)
    values = np.array([each.value for each in sessions])
    between = t_quantile(k) * values.std(axis=0, ddof=1) / math.sqrt(k)
    pooled = np.sqrt(np.sum([each.error**2 for each in sessions], axis=0)) / k
    half = np.maximum(between, t_quantile(1 + degrees) * pooled if degrees else math.inf)
    mean = values.mean(axis=0)
    return mean, mean - half, mean + half


def _rounds(estimates: Sequence[Estimate]) -> int:
    """Return the number of observations whose t quantile has the pooled degrees of freedom of all sessions."""
    return 1 + sum(e.t_degrees for e in estimates)


def _joined(values: Sequence[float], errors: Sequence[float], rounds: int) -> tuple[float, float]:
    """Return the mean of several sessions' values and the half-width of its interval."""
    k = len(values)
    mean = math.fsum(values) / k
    between = t_quantile(k) * math.sqrt(_variance(values) / k)
    pooled = math.sqrt(math.fsum(error**2 for error in errors)) / k
    return mean, max(between, t_quantile(rounds) * pooled if rounds > 1 else math.inf)


def session_spread(ratios: Sequence[Estimate]) -> float | None:
    """Return the standard deviation of the log-ratio between sessions, without the noise of the rounds within them.

    It is the estimator of one-way random effects by the method of moments (Cochran 1937): the variance of the sessions'
    values minus the mean of their squared errors, at least 0. None for a single session, or without intervals.
    """
    if len(ratios) < 2:
        return None
    errors = [log_error(ratio) for ratio in ratios]
    if not all(map(math.isfinite, errors)):
        return None
    within = math.fsum(error**2 for error in errors) / len(errors)
    return math.sqrt(max(0.0, _variance([math.log(ratio.value) for ratio in ratios]) - within))


def _variance(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def log_error(ratio: Estimate) -> float:
    """Return the standard error of a ratio's logarithm, from its 95 % interval; infinite without an interval."""
    return _error(math.log(ratio.high / ratio.value) if ratio.high < math.inf else math.inf, ratio)


def _error(half: float, estimate: Estimate) -> float:
    """Return the standard error behind the half-width of an estimate's 95 % t interval."""
    return half / t_quantile(estimate.t_degrees + 1) if estimate.n > 1 and math.isfinite(half) else math.inf


def least_detectable(ratio: Estimate, power: float = 0.8) -> float | None:
    """Return the smallest relative difference that sessions like these detect with this power; None if unknown."""
    error = log_error(ratio)
    if not math.isfinite(error):
        return None
    # two-sided for significance, one-sided for power
    exponent = (t_quantile(ratio.t_degrees + 1) + t_quantile(ratio.t_degrees + 1, 2 * power - 1)) * error
    return math.expm1(exponent) if exponent < LARGEST else None


def widened_between(ratio: Estimate, spread: float, confidence: float = CONFIDENCE) -> Estimate:
    """Widen the interval of one session's ratio, so that it holds for other sessions too.

    `spread` is the assumed standard deviation of the log-ratio between sessions. `confidence` is the level of the
    interval that comes in. Variances add; the spread is not estimated, so its quantile is normal.
    """
    if not (ratio.bounded and ratio.low > 0):
        return ratio
    extra = NormalDist().inv_cdf(0.5 + confidence / 2) * spread
    down, up = math.log(ratio.value / ratio.low), math.log(ratio.high / ratio.value)
    low, high = math.exp(-math.hypot(down, extra)), exp_or_inf(math.hypot(up, extra))
    return Estimate(ratio.value, ratio.value * low, ratio.value * high, ratio.n, ratio.degrees)
