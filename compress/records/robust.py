"""Robust location of the rounds of a session: one stalled window must not decide a figure.

    below 8 rounds    mean                                      trimming would cost a fifth of the precision
    8 to 14           mean without the smallest and largest     Winsorized variance (Tukey and McLaughlin 1963)
    15 and more       Tukey's biweight                          its own variance (Mosteller and Tukey 1977)

The trimmed mean is precise on few rounds, but two stalls are enough to widen it. The biweight needs 15 rounds to
estimate the scale of the noise; then it rejects stalls in up to about a third of the rounds. A 20 % trimmed mean stays
as precise on a quiet machine, but its intervals grow 1.7 to 4.8 times if one window in six stalls. Functions take
arrays [..., rounds], in any order of the rounds.
"""

from typing import NamedTuple

import numpy as np

TRIMMED_FROM, BIWEIGHT_FROM = 8, 15
REJECTED = 4.5  # median absolute deviations: three standard deviations of normal noise
ITERATIONS = 20
DEGREES_PER_ROUND = 0.3
MOST_REJECTED = 0.45  # of the rounds: more are no stalls but a second mode of the runner


class Location(NamedTuple):
    """Location, its standard error, and the degrees of freedom of the error."""

    value: np.ndarray
    error: np.ndarray
    degrees: int


def location(values: np.ndarray) -> Location:
    """Return the location of the rounds, with its standard error for independent rounds. [..., rounds], 2 or more."""
    n = values.shape[-1]
    if n >= BIWEIGHT_FROM:
        return biweight(values)
    return trimmed(values, 1 if n >= TRIMMED_FROM else 0)


def trimmed(values: np.ndarray, each: int) -> Location:
    """Return the mean without the `each` smallest and largest values. [..., rounds]

    The error follows from the Winsorized variance, with h - 1 degrees of freedom for h values kept: Tukey and
    McLaughlin 1963; Yuen 1974, Biometrika 61(1). Without trimming it is the textbook standard error.
    """
    n = values.shape[-1]
    kept = n - 2 * each
    ordered = np.sort(values, axis=-1)
    low, high = ordered[..., each, None], ordered[..., n - each - 1, None]
    squares = (n - 1) * np.clip(values, low, high).var(axis=-1, ddof=1)
    return Location(
        ordered[..., each : n - each].mean(axis=-1), np.sqrt(squares / (kept * (kept - 1))), max(1, kept - 1)
    )


def biweight(values: np.ndarray) -> Location:
    """Return Tukey's biweight location: weights fall smoothly to 0 at `REJECTED` median absolute deviations.

    Mosteller and Tukey 1977, chapter 10; Kafadar 1982, JASA 77(378), who tunes it to 6 deviations and 0.7 (n - 1)
    degrees of freedom for milder outliers. Here 4.5, and 0.3 (n - 1) degrees: 0.36 (n - 1) gives nominal coverage for
    a fixed number of rounds from 15 on, the rest allows for a session that stops once its interval is narrow. Where
    more than half of the values are equal, or more than 45 % would be rejected, it is the plain mean.
    """
    n = values.shape[-1]
    centre = np.median(values, axis=-1, keepdims=True)
    reach = REJECTED * np.median(np.abs(values - centre), axis=-1, keepdims=True)
    known = np.where(reach > 0, reach, 1.0)
    for _ in range(ITERATIONS):
        weights = np.clip(1 - ((values - centre) / known) ** 2, 0, None) ** 2
        centre = (weights * values).sum(axis=-1, keepdims=True) / weights.sum(axis=-1, keepdims=True)
    u2 = ((values - centre) / known) ** 2
    inside = u2 < 1
    numerator = np.where(inside, (values - centre) ** 2 * (1 - u2) ** 4, 0.0).sum(axis=-1)
    slope = np.where(inside, (1 - u2) * (1 - 5 * u2), 0.0).sum(axis=-1)
    error = np.sqrt(numerator / (np.maximum(1, slope) * np.maximum(1, slope - 1)))
    plain, spread = trimmed(values, 0), (reach[..., 0] > 0) & (inside.mean(axis=-1) >= 1 - MOST_REJECTED)
    return Location(
        np.where(spread, centre[..., 0], plain.value),
        np.where(spread, error, plain.error),
        degrees(n),
    )


def degrees(n: int) -> int:
    """Return the degrees of freedom of the biweight's error for so many rounds."""
    return int(DEGREES_PER_ROUND * (n - 1) + 0.5)


def outliers(values: np.ndarray) -> int:
    """Return the number of rounds that lie beyond the reach of the biweight; 0 with too few rounds for it. [rounds]"""
    deviations = np.abs(values - np.median(values))
    reach = REJECTED * float(np.median(deviations))
    return int((deviations >= reach).sum()) if len(values) >= BIWEIGHT_FROM and reach > 0 else 0
