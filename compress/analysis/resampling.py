"""Resampled deviations of the rows of a table from their measured costs and accuracies, for the odds of the front.

Rounds, or whole sessions, are resampled jointly for the rows that share them, examples jointly for all rows. The first
resample is the measured sample itself, without deviations. What is not recorded (the answers behind a perplexity or F1)
is drawn from the normal distribution of its interval.
"""

import math
from collections.abc import Sequence

import numpy as np

from compress.analysis.pairs import Row, answered, log_ratio, together
from compress.records import proportions, serial, stats
from compress.records.stats import Estimate

RESAMPLES = 400
BLOCK = 100_000
"""Examples drawn at a time, over several resamples."""
ROWS = 16
"""Rows whose rounds are drawn at a time."""


def cost_deviations(rows: Sequence[Row], generator: np.random.Generator) -> np.ndarray:
    """Return the deviations of the log cost ratios to the reference. [resamples, rows]"""
    deviations = np.zeros((RESAMPLES, len(rows)))
    for index, row in enumerate(rows):
        if not row.baseline and row.logs is None:
            deviations[1:, index] = _normal(log_ratio(row.candidate.cost), generator)
    for members in together(rows):
        row, logs = rows[members[0]], np.array([rows[i].logs for i in members])  # [members, rounds]
        if len(set(row.sessions)) > 1:
            deviations[1:, members] = _over_sessions(logs, np.array(row.sessions), generator)
            continue
        n, measured = logs.shape[1], stats.paired_ratios(logs)[0]
        chosen = generator.integers(0, n, (RESAMPLES - 1, n))
        # resampled means vary by (n - 1) / n of the variance of a mean, and lose the correlation of the rounds
        rescaled = math.sqrt(n / max(1, n - 1) * serial.inflation(n, row.correlation))
        for place in range(0, len(members), ROWS):
            part = slice(place, place + ROWS)
            drawn = stats.paired_ratios(logs[part][:, chosen])[0]  # [rows, resamples]
            deviations[1:, members[part]] = rescaled * (drawn - measured[part, None]).T
    return deviations


def _over_sessions(logs: np.ndarray, numbers: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Draw deviations of means over sessions, jointly for all rows. [rows, rounds] -> [resamples - 1, rows]

    They are too few to resample: their deviations from the mean get random normal weights, the same for all rows
    (the wild bootstrap of Liu 1988, Annals of Statistics 16(4)), which keeps the variance of the mean.
    """
    values = np.array([stats.paired_ratios(logs[:, numbers == number])[0] for number in np.unique(numbers)])
    k = len(values)
    weights = generator.standard_normal((RESAMPLES - 1, k)) / math.sqrt(k * (k - 1))
    drawn: np.ndarray = weights @ (values - values.mean(axis=0))
    return drawn


def session_effects(rows: Sequence[Row], generator: np.random.Generator) -> np.ndarray:
    """Return the deviation of each row's session, with the spread that its interval lacks. [resamples, rows]"""
    sessions = {name: index for index, name in enumerate(dict.fromkeys(row.session for row in rows))}
    drawn = generator.standard_normal((RESAMPLES, len(sessions)))
    drawn[0] = 0
    effects: np.ndarray = drawn[:, [sessions[row.session] for row in rows]]
    return effects * np.array([row.lacking for row in rows])


def quality_deviations(rows: Sequence[Row], generator: np.random.Generator) -> np.ndarray:
    """Return the deviations of the metric. [resamples, rows]"""
    deviations = np.zeros((RESAMPLES, len(rows)))
    for index, row in enumerate(rows):
        if row.right is None and not row.baseline:
            deviations[1:, index] = _normal(row.candidate.quality, generator)
    for members in answered(rows):
        right = np.array([rows[i].right for i in members])  # [members, examples]
        n = right.shape[1]
        size = max(1, BLOCK // n)
        for start in range(1, RESAMPLES, size):
            count = min(size, RESAMPLES - start)
            drawn = generator.integers(0, n, (count, n)) + n * np.arange(count)[:, None]
            times = np.bincount(drawn.ravel(), minlength=count * n).reshape(count, n)  # each example is drawn
            deviations[start : start + count, members] = times.astype(np.float32) @ right.T / n
        deviations[1:, members] -= right.mean(axis=1)
        for index in members:
            for spread in rows[index].spreads:
                deviations[1:, index] += spread.draws(generator, RESAMPLES - 1)
        baseline = [index for index in members if rows[index].baseline]
        if baseline:  # the other rows' metric is known as a difference to the reference's
            deviations[:, members] -= deviations[:, baseline]
    return deviations


def _normal(estimate: Estimate, generator: np.random.Generator) -> np.ndarray:
    """Draw deviations from the normal distribution of a 95 % interval; 0 without an interval. [resamples - 1]"""
    spread = (estimate.high - estimate.low) / (2 * proportions.NORMAL) if estimate.bounded else 0.0
    return spread * generator.standard_normal(RESAMPLES - 1)
