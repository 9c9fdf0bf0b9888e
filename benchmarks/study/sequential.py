"""Rows on the sequential stop: coverage of sessions that end when their ratio is precise enough."""

from collections.abc import Iterator

import numpy as np

from benchmarks.study import SEED, Bound
from benchmarks.study.rounds import ratios, simulated
from compress.records.sequential import LOOK_EVERY
from compress.spec.measure import LEAST_ROUNDS

MOST_ROUNDS = 200
PRECISION = 0.03
RUNNERS = 3


def rows(sessions: int) -> Iterator[Bound]:
    """Yield coverage at the stop, and the rounds that it takes."""
    generator = np.random.default_rng(SEED + 2)
    for cv in (0.03, 0.04, 0.06, 0.12):
        covered, rounds = stopped(simulated(generator, sessions, RUNNERS, MOST_ROUNDS, cv))
        label = f"cv {100 * cv:g} %"
        yield Bound(
            f"coverage of the ratio at the stop, {label} (after {np.median(rounds):.0f} rounds, median)", covered, 0.94
        )
    for runners, rho in ((7, 0.0), (3, 0.6), (7, 0.6)):
        covered, rounds = stopped(simulated(generator, sessions // 2, runners, MOST_ROUNDS, 0.06, rho))
        label = f"cv 6 %, {runners} runners, correlation {rho:g}"
        yield Bound(
            f"coverage of the ratio at the stop, {label} (after {np.median(rounds):.0f} rounds, median)", covered, 0.94
        )


def stopped(logs: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the share of sessions whose first ratio is covered when they stop, and their rounds. [sessions]

    They stop once the ratio of every runner to the reference is precise.
    """
    running, covered = np.arange(len(logs)), 0
    rounds = np.full(len(logs), MOST_ROUNDS)
    for n in range(LEAST_ROUNDS, MOST_ROUNDS + 1, LOOK_EVERY):
        seen = logs[running, :, :n]
        found = ratios(seen)
        precise = [ratios(seen, ours).half <= PRECISION for ours in range(1, logs.shape[1])]
        done = np.all(precise, axis=0) | (n == MOST_ROUNDS)  # `sequential.enough`, for many sessions at once
        covered += int((np.abs(found.value) <= found.half)[done].sum())
        rounds[running[done]] = n
        running = running[~done]
        if not len(running):
            break
    return covered / len(logs), rounds
