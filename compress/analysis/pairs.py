"""Paired differences of every two rows of a table: of cost on the same rounds, of accuracy on the same examples.

cost      rows of one session     mean log-ratio of their own rounds
          of two sessions         quotient of their ratios to the reference, with the spread between sessions
accuracy  answers are recorded    discordant examples (Tango 1998)
          otherwise               difference of their differences to the reference
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from compress.analysis import loss, seeds
from compress.analysis.between import lacking
from compress.analysis.candidates import Candidate
from compress.analysis.dominance import Differences
from compress.analysis.verdict import Axis
from compress.records import proportions, stats
from compress.records.joined import joined_arrays
from compress.records.result import Accuracy, Point, Reference, Result
from compress.records.stats import Estimate


@dataclass(frozen=True)
class Row:
    """A row that may be on a front, with the raw figures that it is compared by."""

    candidate: Candidate
    baseline: bool = False
    """Whether this is the reference of verdicts, which every session measured."""
    session: str = ""
    rounds: tuple[int, ...] = ()
    """Rounds in which this row and the reference were measured."""
    logs: np.ndarray | None = None
    """Logarithm of the cost ratio to the reference in each of these rounds; None if unknown."""
    sessions: tuple[int, ...] = ()
    """Number of the session of each of these rounds."""
    correlation: float = 0.0
    """Correlation of the session's rounds, which widens intervals."""
    lacking: float = 0.0
    """Spread between sessions that the cost of a single session lacks."""
    spreads: tuple[seeds.Spread, ...] = ()
    """Spread of the accuracy over the recipe's seeds: another training would answer differently."""
    right: np.ndarray | None = None
    """Whether each example was answered correctly, as 0 and 1; None if not recorded."""


def paired_rows(field: Sequence[Candidate], results: Iterable[Result], axis: Axis, reference: str | None) -> list[Row]:
    """Return the candidates with their rounds and answers. A reference's are those of the newest result that has it."""
    owners: dict[str, tuple[Result, Result | Reference]] = {}
    by_age = sorted(results, key=lambda r: r.moment)
    for result in by_age:
        owners |= {row.name: (result, row) for row in result.references}
    owners |= {result.name: (result, result) for result in by_age}
    return [_row(candidate, *owners[candidate.name], axis, reference) for candidate in field]


def _row(candidate: Candidate, owner: Result, row: Result | Reference, axis: Axis, reference: str | None) -> Row:
    accuracy, baseline = row.accuracy, next((r for r in owner.references if r.name == reference), None)
    bare = Row(candidate, candidate.name == reference, owner.session, **_answers(accuracy))
    if bare.baseline:
        return bare
    bare = replace(bare, lacking=lacking(row.headline, axis, reference, owner.session_spread))
    ours, theirs = (_per_batch(each.headline if each else None, axis) for each in (row, baseline))
    rounds = tuple(sorted(ours.keys() & theirs.keys()))
    if not rounds or row.headline is None:
        return bare
    number = {r.index: r.session for r in row.headline.rounds}
    return replace(
        bare,
        rounds=rounds,
        logs=np.array([math.log(ours[index] / theirs[index]) for index in rounds]),
        sessions=tuple(number[index] for index in rounds),
        correlation=_correlation(row.headline, axis, reference),
    )


def _answers(accuracy: Accuracy | None) -> dict[str, Any]:
    """Return the fields of a row that hold its answers and the spread of its accuracy over seeds."""
    if accuracy is None or accuracy.right is None:
        return {}
    right = loss.unpacked(accuracy.right, accuracy.estimate.n).astype(np.float32)
    return {"right": right, "spreads": tuple(loss.spreads(accuracy))}


def _correlation(point: Point, axis: Axis, reference: str | None) -> float:
    """Return the correlation that widens the ratio of a point to the reference."""
    ratio = point.ratio(reference or "")
    known = None if ratio is None else ratio.correlation if axis == "latency" else ratio.correlation_energy
    return 0.0 if known is None else known.upper


def _per_batch(point: Point | None, axis: Axis) -> dict[int, float]:
    """Return the cost per batch of every round, by the round's index; empty if a round lacks it."""
    rounds = point.rounds if point is not None else ()
    costs = {r.index: r.duration_s if axis == "latency" else r.energy_j or 0.0 for r in rounds}
    return {r.index: costs[r.index] / r.batches for r in rounds} if min(costs.values(), default=0.0) > 0 else {}


def cost_differences(rows: Sequence[Row]) -> Differences:
    """Return the differences of the log costs of all pairs of rows."""
    value, down, up = _sides([log_ratio(row.candidate.cost) for row in rows])
    lacks = np.array([row.lacking for row in rows])
    between = proportions.NORMAL * np.hypot(lacks[:, None], lacks[None, :]) * across(rows)
    found = _quadrature(value, down, up, between)
    for members in together(rows):
        logs = np.array([rows[i].logs for i in members])  # [members, rounds]
        first, second = np.triu_indices(len(members), 1)
        a, b = np.array(members)[first], np.array(members)[second]
        low, high = _over_sessions(logs[first] - logs[second], rows[members[0]])
        found.low[a, b], found.high[a, b] = low, high
        found.low[b, a], found.high[b, a] = -high, -low
    return found


def _over_sessions(logs: np.ndarray, row: Row) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the intervals of pairs of rows with the rounds of `row`. [pairs, rounds] -> [pairs]

    Several sessions are joined by the rule of `records.joined`: t over sessions, at least as wide as within them.
    """
    numbers = np.array(row.sessions)
    each = [logs[:, numbers == number] for number in np.unique(numbers)]
    if len(each) == 1:
        return stats.paired_ratios(logs, row.correlation)[1:]
    return joined_arrays([stats.located(session, row.correlation) for session in each])[1:]


def across(rows: Sequence[Row]) -> np.ndarray:
    """Return whether two rows are of different sessions, as booleans [rows, rows]. Every session has the reference."""
    _, sessions = np.unique([row.session for row in rows], return_inverse=True)
    own = np.array([not row.baseline for row in rows])
    different: np.ndarray = (sessions[:, None] != sessions[None, :]) & own[:, None] & own[None, :]
    return different


def together(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Yield the indices of rows that were measured in the same rounds of one session."""
    groups: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for index, row in enumerate(rows):
        if row.logs is not None:
            groups.setdefault((row.session, row.rounds), []).append(index)
    yield from groups.values()


def quality_differences(rows: Sequence[Row]) -> Differences:
    """Return the differences of the negated losses of all pairs of rows, in the unit of the loss."""
    found = _quadrature(*_sides([row.candidate.quality for row in rows]), np.zeros(1))
    for members in answered(rows):
        right = np.array([rows[i].right for i in members])  # [members, examples]
        more = np.rint(right @ (1 - right).T).astype(np.float64)  # only a is right; up to 16 million are exact
        pairs = np.ix_(members, members)
        low, high = proportions.tango(more, more.T, right.shape[1])
        value = (more - more.T) / right.shape[1]
        over_seeds = np.array([math.hypot(*(part.half() for part in rows[i].spreads)) for i in members])
        extra = np.hypot(over_seeds[:, None], over_seeds[None, :])  # the answers are those of one training
        found.low[pairs] = value - np.hypot(value - low, extra)
        found.high[pairs] = value + np.hypot(high - value, extra)
    return found


def answered(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Yield the indices of rows with recorded answers to the same number of examples."""
    groups: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        if row.right is not None:
            groups.setdefault(len(row.right), []).append(index)
    yield from groups.values()


def log_ratio(ratio: Estimate) -> Estimate:
    """Return the logarithm of a ratio and of its interval."""
    low, value, high = (math.log(edge) if edge > 0 else -math.inf for edge in (ratio.low, ratio.value, ratio.high))
    return Estimate(value, low, high, ratio.n)


def _sides(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the values, and the distances to their lower and upper ends. [rows]"""
    value, low, high = np.array([[e.value, e.low, e.high] for e in estimates]).T
    return value, value - low, high - value


def _quadrature(value: np.ndarray, down: np.ndarray, up: np.ndarray, between: np.ndarray) -> Differences:
    """Return the differences of all pairs of independent estimates; errors add in quadrature, per side."""
    lower, upper = (
        np.sqrt(ours[:, None] ** 2 + theirs[None, :] ** 2 + between**2) for ours, theirs in ((down, up), (up, down))
    )
    difference = value[:, None] - value[None, :]
    return Differences(difference - lower, difference + upper)
