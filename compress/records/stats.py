"""Estimates with intervals: means over rounds, paired log-ratios, and paired comparisons of accuracy.

The independent unit of a timing is the round; the unit of an accuracy is the example. Pure functions over
plain numbers, without torch or scipy.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np

from compress.records.fields import STRICT, Edge, Several

CONFIDENCE = 0.95
LARGEST = 709.0  # exp(710) overflows a double
FEW = 10  # pairs that differ: below, resampling them says too little


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval and the number of independent observations behind it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {**STRICT, "ser_json_inf_nan": "strings"}  # JSON has no infinity

    value: Edge
    low: Edge
    high: Edge
    n: Several

    @property
    def bounded(self) -> bool:
        """Whether the interval is known: without spread, or of one observation, it is infinite."""
        return math.isfinite(self.low) and math.isfinite(self.high)


@cache
def t_quantile(n: int, confidence: float = CONFIDENCE) -> float:
    """Two-sided Student t quantile for `n` observations (n - 1 degrees of freedom), by bisection of `within_t`."""
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        angle = (low + high) / 2
        low, high = (angle, high) if _within_angle(angle, n - 1) < confidence else (low, angle)
    return math.sqrt(n - 1) * math.tan(low)


def within_t(value: float, degrees: int) -> float:
    """Probability that Student's t lies within plus and minus `value`, for whole degrees of freedom."""
    return _within_angle(math.atan(abs(value) / math.sqrt(degrees)), degrees)


def _within_angle(angle: float, degrees: int) -> float:
    """The same by the angle whose tangent is value / sqrt(degrees): finite sums (Abramowitz, Stegun 26.7.3 and 26.7.4).

    Written out because reading results should not take the half second in which scipy is imported.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = cosine if odd else 1.0
    total = term if degrees > 1 else 0.0
    for k in range(2 + odd, degrees - 1, 2):  # 2/3 cos^3, 2*4/(3*5) cos^5 ...; 1/2 cos^2, 1*3/(2*4) cos^4 ...
        term *= (k - 1) / k * cosine**2
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def mean_estimate(values: Sequence[float]) -> Estimate:
    """Mean with a t interval; the interval is infinite when one observation says nothing about spread."""
    n = len(values)
    if n == 0:
        raise ValueError("no observations")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, -math.inf, math.inf, 1)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1))
    half = t_quantile(n) * spread / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def log_mean_estimate(values: Sequence[float]) -> Estimate:
    """Geometric mean with a t interval on the logarithms: right for positive, multiplicative noise."""
    logs = mean_estimate([math.log(v) for v in values])
    return Estimate(math.exp(logs.value), math.exp(logs.low), _exp(logs.high), logs.n)


def _exp(value: float) -> float:
    """The exponential, infinite beyond a double."""
    return math.exp(value) if value < LARGEST else math.inf


def paired_ratio(ours: Sequence[float], reference: Sequence[float]) -> Estimate:
    """Ratio ours / reference from paired rounds: geometric mean of the ratios, t interval on their logarithms."""
    if len(ours) != len(reference):
        raise ValueError(f"{len(ours)} rounds against {len(reference)}: ratios need the same rounds")
    return log_mean_estimate([a / b for a, b in zip(ours, reference, strict=True)])


def quotient(one: Estimate, other: Estimate) -> Estimate:
    """One positive estimate divided by an independent other: their relative errors add up in quadrature, side by side.

    The interval is infinite where one of theirs reaches 0. Raises ValueError where a value does, or is not finite.
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
    """An estimate by an instrument that reads up to `gain` too much or too little, as an interval of the true value."""
    return Estimate(estimate.value, estimate.low / (1 + gain), estimate.high / (1 - gain), estimate.n)


def ratio_p(ratio: Estimate) -> float:
    """Two-sided p-value of a paired ratio against 1, from its t interval; 1 where there is no interval."""
    error = _log_error(ratio)
    if error is None:
        return 1.0
    if error == 0:
        return 1.0 if ratio.value == 1 else 0.0
    return 1 - within_t(math.log(ratio.value) / error, ratio.n - 1)


def at_confidence(ratio: Estimate, confidence: float) -> Estimate:
    """A paired ratio with its interval at another confidence."""
    error = _log_error(ratio)
    if error is None:
        return ratio
    half = t_quantile(ratio.n, confidence) * error
    return Estimate(ratio.value, ratio.value * math.exp(-half), ratio.value * _exp(half), ratio.n)


def _log_error(ratio: Estimate) -> float | None:
    """Standard error of the mean logarithm, read back from the 95 % interval."""
    if ratio.n < 2 or not (0 < ratio.low <= ratio.high < math.inf and 0 < ratio.value < math.inf):
        return None
    return (math.log(ratio.high) - math.log(ratio.low)) / 2 / t_quantile(ratio.n)


def holm(p_values: Sequence[float], alpha: float = 1 - CONFIDENCE) -> list[float]:
    """The level at which each comparison of a family is judged: Holm 1979, the smallest p at alpha / m, and so on.

    Once one is not below its level, all later ones are judged at that level.
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


def min_detectable(ours: Sequence[float], reference: Sequence[float], power: float = 0.8) -> float | None:
    """Smallest relative difference that these rounds would have found with 80 % power; information, never a verdict."""
    n = len(ours)
    if n < 2:
        return None
    logs = [math.log(a / b) for a, b in zip(ours, reference, strict=True)]
    mean = math.fsum(logs) / n
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in logs) / (n - 1))
    needed = t_quantile(n) + t_quantile(n, 2 * power - 1)  # the second one-sided
    return math.expm1(needed * spread / math.sqrt(n))


def wilson(successes: int, n: int) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927), which stays inside 0 to 1."""
    if n == 0:
        raise ValueError("no examples")
    z = 1.959963984540054
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)  # p = 1 rounds past high


def mcnemar_p(ours: Sequence[bool], reference: Sequence[bool]) -> float:
    """Exact two-sided McNemar p-value of two paired right/wrong sequences (binomial on the discordant pairs)."""
    gained = sum(a and not b for a, b in zip(ours, reference, strict=True))
    lost = sum(b and not a for a, b in zip(ours, reference, strict=True))
    return sign_p(gained, lost)


def sign_p(more: int, fewer: int) -> float:
    """Exact two-sided p-value of so many pairs that differ one way, and so many that differ the other way."""
    if more + fewer == 0:
        return 1.0
    tail = sum(math.comb(more + fewer, k) for k in range(min(more, fewer) + 1))
    return min(1.0, 2 * tail / 2 ** (more + fewer))  # integers: exact before the one division


def no_surer(difference: Estimate, more: int, fewer: int, ties: int = 0) -> Estimate:
    """A difference of paired examples whose interval holds 0 where few pairs differ and their sign test shows none.

    `ties` differ and are neither `more` nor `fewer`. Resampling pairs that happen to agree would never give 0.
    """
    if more + fewer + ties >= FEW or sign_p(more, fewer) <= 1 - CONFIDENCE:
        return difference
    return Estimate(difference.value, min(difference.low, 0.0), max(difference.high, 0.0), difference.n)


def paired_difference(ours: Sequence[float], reference: Sequence[float], seed: int, resamples: int = 2000) -> Estimate:
    """Mean of ours - reference over the same examples, with a percentile bootstrap interval over examples."""
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    n = len(differences)
    if n == 0:
        raise ValueError("no examples")
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        means[i] = differences[generator.integers(0, n, n)].mean()
    low, high = (float(edge) for edge in np.quantile(means, [0.025, 0.975]))
    if np.count_nonzero(differences) < FEW and set(differences.tolist()) <= {-1.0, 0.0, 1.0}:
        least, most = _few_discordant(int((differences > 0).sum()), int((differences < 0).sum()), n)
        low, high = min(low, least), max(high, most)
    elif n == 1:
        low, high = -math.inf, math.inf
    mean = float(differences.mean())
    return Estimate(mean, min(low, mean), max(high, mean), n)  # few large ones may be in none of the middle resamples


def _few_discordant(more: int, fewer: int, n: int) -> tuple[float, float]:
    """Agresti and Min's interval (2005) of a difference of paired proportions: half a pair more of each kind.

    Resampling cannot see what has not happened: with no pair that differs it would be sure that none ever will.
    """
    pairs, differ = n + 2, more - fewer
    half = 1.959963984540054 * math.sqrt(more + fewer + 1 - differ * differ / pairs) / pairs
    return max(-1.0, differ / pairs - half), min(1.0, differ / pairs + half)


def percentile(values: Sequence[float], fraction: float) -> float:
    """The `fraction` quantile (0 to 1) by linear interpolation."""
    return float(np.quantile(np.asarray(values, dtype=np.float64), fraction))
