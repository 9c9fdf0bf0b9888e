"""Estimates with intervals: locations over rounds, paired log-ratios, and paired comparisons of accuracy.

The independent unit of a timing is the round, that of an accuracy is the example. Pure functions of plain numbers,
without torch or scipy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from compress.records import robust, serial
from compress.records.fields import STRICT, Edge, Several
from compress.records.proportions import NORMAL, tango

CONFIDENCE = 0.95
LARGEST = 709.0  # exp(710) overflows a double
SESSION_SPREAD = 0.02
"""Assumed standard deviation of a log cost ratio between sessions, where one session cannot estimate it."""
FEW = 10  # differing pairs: with fewer, a bootstrap interval is too narrow
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Values, lower ends and upper ends of many 95 % intervals."""


Degrees = Annotated[int, Field(ge=1, le=20_000)]
"""Degrees of freedom over the rounds of all sessions; the quantile takes a sum of so many terms."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and its number of independent observations."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {**STRICT, "ser_json_inf_nan": "strings"}  # JSON has no infinity

    value: Edge
    low: Edge
    high: Edge
    n: Several
    degrees: Annotated[Degrees | None, Field(exclude_if=lambda value: value is None)] = None
    """Degrees of freedom of the t interval over rounds; None: n - 1."""

    @property
    def t_degrees(self) -> int:
        """Degrees of freedom of the t interval over rounds."""
        return self.n - 1 if self.degrees is None else self.degrees

    @property
    def bounded(self) -> bool:
        """Whether the interval is finite; for a single observation, for example, it is not."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@cache
def t_quantile(n: int, confidence: float = CONFIDENCE) -> float:
    """Return the two-sided Student t quantile for `n` observations (n - 1 degrees of freedom), by bisection."""
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        angle = (low + high) / 2
        low, high = (angle, high) if _within_angle(angle, n - 1) < confidence else (low, angle)
    return math.sqrt(n - 1) * math.tan(low)


def within_t(value: float, degrees: int) -> float:
    """Return the probability that Student's t lies between -`value` and `value`, for integer degrees of freedom."""
    return _within_angle(math.atan(abs(value) / math.sqrt(degrees)), degrees)


def _within_angle(angle: float, degrees: int) -> float:
    """Return the probability of `within_t` for the angle with tangent value / sqrt(degrees), as a finite sum.

    Abramowitz and Stegun, 26.7.3 and 26.7.4. Implemented here because importing scipy takes half a second.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees - 1, 2):  # 2/3 cos^3, 2*4/(3*5) cos^5 ...; 1/2 cos^2, 1*3/(2*4) cos^4 ...
        term *= (k - 1) / k * cosine**2
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def mean_estimate(values: Sequence[float], correlation: float = 0.0) -> Estimate:
    """Return the robust location of rounds with a t interval; the interval of a single observation is infinite.

    `correlation` is that from one round to the next, which widens the interval: `serial.Correlation.upper`.
    """
    n = len(values)
    if n == 0:
        raise ValueError("no observations")
    if n == 1:
        return Estimate(values[0], -math.inf, math.inf, 1)
    value, error, degrees = located(np.asarray(values, dtype=np.float64), correlation)
    half = t_quantile(degrees + 1) * float(error)
    return Estimate(float(value), float(value) - half, float(value) + half, n, degrees if degrees != n - 1 else None)


def located(values: np.ndarray, correlation: float) -> robust.Location:
    """Return the robust location of rounds [..., rounds], with an error for rounds of this correlation.

    The error of a single round is infinite.
    """
    if values.shape[-1] == 1:
        return robust.Location(values[..., 0], np.full(values.shape[:-1], math.inf), 0)
    value, error, degrees = robust.location(values)
    return robust.Location(value, error * math.sqrt(serial.inflation(values.shape[-1], correlation)), degrees)


def log_mean_estimate(values: Sequence[float], correlation: float = 0.0) -> Estimate:
    """Return the robust location of logarithms, for positive values with multiplicative noise: never 0 or below.

    Below 8 rounds it is the geometric mean.
    """
    logs = mean_estimate([math.log(v) for v in values], correlation)
    return replace(logs, value=math.exp(logs.value), low=math.exp(logs.low), high=exp_or_inf(logs.high))


def exp_or_inf(value: float) -> float:
    """Return the exponential, or infinity if it overflows a double."""
    return math.exp(value) if value < LARGEST else math.inf


def paired_ratio(ours: Sequence[float], reference: Sequence[float], correlation: float = 0.0) -> Estimate:
    """Return the ratio ours / reference of paired rounds: robust location and t interval of the log-ratios.

    `correlation` is that of the rounds, which widens the interval: `serial.Correlation.upper`.
    """
    if len(ours) != len(reference):
        raise ValueError(f"{len(ours)} rounds against {len(reference)}: ratios need the same rounds")
    return log_mean_estimate([a / b for a, b in zip(ours, reference, strict=True)], correlation)


def paired_ratios(logs: np.ndarray, correlation: float = 0.0) -> Arrays:
    """Return values, lows and highs of many pairs' log-ratios [..., rounds], as logarithms. [...]

    The exponential of each is that of `paired_ratio`. The interval of a single round is infinite.
    """
    value, error, degrees = located(logs, correlation)
    half = t_quantile(degrees + 1) * error if degrees else error
    return value, value - half, value + half


def quotient(one: Estimate, other: Estimate) -> Estimate:
    """Return the quotient of two independent positive estimates; relative errors add in quadrature, per side.

    The interval is 0 to infinity if one of their intervals reaches 0 or is infinite. Raises ValueError if a value is
    not finite and positive.
    """
    if not (0 < one.value < math.inf and 0 < other.value < math.inf):
        raise ValueError(f"{one.value} over {other.value}: expected positive numbers")
    value = one.value / other.value
    if min(one.low, other.low) <= 0 or not (one.bounded and other.bounded):
        return Estimate(value, 0.0, math.inf, min(one.n, other.n))
    down = math.hypot(math.log(one.value / one.low), math.log(other.high / other.value))
    up = math.hypot(math.log(one.high / one.value), math.log(other.value / other.low))
    return Estimate(value, value * math.exp(-down), value * math.exp(up), min(one.n, other.n))


def widened(estimate: Estimate, gain: float) -> Estimate:
    """Widen an interval for an instrument with a relative error of up to `gain`, so that it covers the true value."""
    return replace(estimate, low=estimate.low / (1 + gain), high=estimate.high / (1 - gain))


def ratio_p(ratio: Estimate) -> float:
    """Return the two-sided p-value of a paired ratio against 1, from its t interval; 1 without an interval."""
    error = _log_error(ratio)
    if error is None:
        return 1.0
    if error == 0:
        return 1.0 if ratio.value == 1 else 0.0
    return 1 - within_t(math.log(ratio.value) / error, ratio.t_degrees)


def at_confidence(ratio: Estimate, confidence: float) -> Estimate:
    """Return a paired ratio with its interval at another confidence level."""
    error = _log_error(ratio)
    if error is None:
        return ratio
    half = t_quantile(ratio.t_degrees + 1, confidence) * error
    return replace(ratio, low=ratio.value * math.exp(-half), high=ratio.value * exp_or_inf(half))


def _log_error(ratio: Estimate) -> float | None:
    """Return the standard error of the located logarithm, from the 95 % interval; None without an interval."""
    if ratio.n < 2 or not (0 < ratio.low <= ratio.high < math.inf and 0 < ratio.value < math.inf):
        return None
    return (math.log(ratio.high) - math.log(ratio.low)) / 2 / t_quantile(ratio.t_degrees + 1)


def holm(p_values: Sequence[float], alpha: float = 1 - CONFIDENCE) -> list[float]:
    """Return the significance level of each comparison in a family by Holm (1979): alpha / m for the smallest p, etc.

    After the first p-value above its level, all larger ones get the same level.
    """
    m = len(p_values)
    levels = [alpha] * m
    stopped: float | None = None
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        level = alpha / (m - rank)
        levels[index] = level if stopped is None else stopped
        if stopped is None and p_values[index] > level:
            stopped = level
    return levels


def joint_factor(comparisons: int) -> float:
    """Return the factor from a normal 95 % interval's half-width to that of one valid jointly for all (Bonferroni)."""
    normal = NormalDist()
    return normal.inv_cdf(1 - (1 - CONFIDENCE) / 2 / max(1, comparisons)) / normal.inv_cdf(0.5 + CONFIDENCE / 2)


def min_detectable(
    ours: Sequence[float], reference: Sequence[float], correlation: float = 0.0, power: float = 0.8
) -> float | None:
    """Return the smallest relative difference that these rounds detect with this power; not used in verdicts."""
    if len(ours) < 2:
        return None
    logs = np.array([math.log(a / b) for a, b in zip(ours, reference, strict=True)])
    _, error, degrees = located(logs, correlation)
    # two-sided for significance, one-sided for power
    quantiles = t_quantile(degrees + 1) + t_quantile(degrees + 1, 2 * power - 1)
    return math.expm1(quantiles * float(error))


def wilson(successes: int, n: int) -> Estimate:
    """Return a proportion with Wilson's score interval (Wilson 1927), which stays within 0 to 1."""
    if n == 0:
        raise ValueError("no examples")
    z = NORMAL
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    # centre + half may round to less than p = 1
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)


def discordant(ours: Sequence[bool], reference: Sequence[bool]) -> tuple[int, int]:
    """Return the numbers of examples of which only ours is right, and of which only the reference's is."""
    pairs = list(zip(ours, reference, strict=True))
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)


def sign_p(more: int, fewer: int) -> float:
    """Return the exact two-sided p-value of the sign test: `more` pairs differ one way, `fewer` the other way.

    For right and wrong answers it is McNemar's exact test.
    """
    if more + fewer == 0:
        return 1.0
    tail = sum(math.comb(more + fewer, k) for k in range(min(more, fewer) + 1))
    return min(1.0, 2 * tail / 2 ** (more + fewer))  # integers: exact before the one division


def no_surer(difference: Estimate, more: int, fewer: int, ties: int = 0, confidence: float = CONFIDENCE) -> Estimate:
    """Extend the interval of a paired difference to 0 if few pairs differ and their sign test is not significant.

    `ties` pairs differ but count as neither `more` nor `fewer`. Resampling few pairs of one sign never reaches 0, and a
    score interval leaves it out from 4 pairs on, whose sign test has a p-value of 0.125.
    """
    if more + fewer + ties >= FEW or sign_p(more, fewer) <= 1 - confidence:
        return difference
    return Estimate(difference.value, min(difference.low, 0.0), max(difference.high, 0.0), difference.n)


def paired_difference(more: int, fewer: int, n: int, confidence: float = CONFIDENCE) -> Estimate:
    """Return the difference of two shares of right answers to the same n examples, with Tango's score interval.

    `more` and `fewer` are the counts of `discordant`. The interval contains 0 where few answers changed and McNemar's
    exact test is not significant.
    """
    if n == 0:
        raise ValueError("no examples")
    low, high = tango(np.array(more), np.array(fewer), n, confidence)
    return no_surer(Estimate((more - fewer) / n, float(low), float(high), n), more, fewer, confidence=confidence)


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the `fraction` quantile (0 to 1) with linear interpolation."""
    return float(np.quantile(np.asarray(values, dtype=np.float64), fraction))
