"""Simulated log costs of rounds, and the intervals that a session would give them. [sessions, runners, rounds]"""

import math
from typing import NamedTuple

import numpy as np

from compress.records import robust, serial
from compress.records.stats import t_quantile

SHARED = 0.05  # noise that all runners of a round share, which cancels in ratios


class Intervals(NamedTuple):
    """Locations of log-ratios with half-widths, and the half-widths of plain t intervals. [sessions]"""

    value: np.ndarray
    half: np.ndarray
    plain_half: np.ndarray
    correlation: np.ndarray

    def cover(self, true: float = 0.0) -> float:
        """Return the share of intervals that contain the true value."""
        return float((np.abs(self.value - true) <= self.half).mean())


def simulated(
    generator: np.random.Generator, sessions: int, runners: int, rounds: int, cv: float, rho: float = 0.0
) -> np.ndarray:
    """Return log costs of equal runners: noise that they share, and noise of each runner's own."""
    shared = SHARED * generator.standard_normal((sessions, 1, rounds))
    return shared + wandering(generator, (sessions, runners, rounds), cv, rho)


def wandering(generator: np.random.Generator, shape: tuple[int, ...], cv: float, rho: float) -> np.ndarray:
    """Return stationary AR(1) noise of this spread and correlation from one round to the next. [..., rounds]"""
    noise = generator.standard_normal(shape)
    for i in range(1, shape[-1]):
        noise[..., i] = rho * noise[..., i - 1] + math.sqrt(1 - rho**2) * noise[..., i]
    return cv * noise


def stalled(generator: np.random.Generator, logs: np.ndarray, share: float = 1 / 6) -> np.ndarray:
    """Return log costs of which this share of windows takes 30 to 300 % longer."""
    hit = generator.random(logs.shape) < share
    return logs + np.where(hit, np.log1p(generator.uniform(0.3, 3.0, logs.shape)), 0.0)


def ratios(logs: np.ndarray, ours: int = 1, reference: int = 0) -> Intervals:
    """Return the intervals of one pair's log-ratio, widened by the correlation of all runners.

    The same arithmetic as `stats.paired_ratio` and `analysis.ratios`, for many sessions at once.
    """
    n = logs.shape[-1]
    pair = logs[:, ours] - logs[:, reference]
    value, error, degrees = robust.location(pair)
    correlation = serial.estimated(logs)
    widening = serial.allowed(correlation, n, logs.shape[1] - 1)
    half = t_quantile(degrees + 1) * error * np.sqrt(serial.inflation(n, widening))
    plain = t_quantile(n) * pair.std(axis=-1, ddof=1) / math.sqrt(n)
    return Intervals(value, half, plain, correlation)
