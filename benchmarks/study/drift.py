"""Rows on slow wandering of each runner's own: AR(1) noise, which pairing does not remove."""

from collections.abc import Iterator

import numpy as np

from benchmarks.study import SEED, Bound
from benchmarks.study.rounds import ratios, simulated, wandering
from compress.records import serial

CV = 0.05
ROUNDS = 10


def rows(sessions: int) -> Iterator[Bound]:
    """Yield coverage and width of ratios for sessions of 2, 3 and 7 runners."""
    generator = np.random.default_rng(SEED)
    for runners in (2, 3, 7):
        label = f"{runners} runners, {ROUNDS} rounds"
        for rho in (0.0, 0.3, 0.6, 0.9):
            found = ratios(simulated(generator, sessions, runners, ROUNDS, CV, rho))
            within = rho <= serial.FLAGGED
            what = f"coverage at correlation {rho:g}, {label}"
            yield Bound(what, found.cover(), 0.93 if within else 0)
            if rho == 0:
                width = float(found.half.mean() / found.plain_half.mean())
                limit = 1.5 if runners > 2 else 2.0  # two runners have one series to estimate the correlation from
                yield Bound(
                    f"half-width over the plain t interval's at correlation 0, {label}", width, 0, limit, "times"
                )
            if not within:
                flagged = float((found.correlation > serial.FLAGGED).mean())
                yield Bound(f"sessions flagged at correlation {rho:g}, {label}", flagged)
    for rho in (0.0, 0.3, 0.6):  # grade B needs 6 rounds only
        found = ratios(simulated(generator, sessions, 3, 6, CV, rho))
        yield Bound(f"coverage at correlation {rho:g}, 3 runners, 6 rounds", found.cover())
    for runners in (3, 7):
        logs = wandering(generator, (sessions, runners, ROUNDS), CV, 0.0)
        logs[:, 1] = wandering(generator, (sessions, ROUNDS), CV, 0.6)
        what = f"coverage at correlation 0.6 of this runner only, {runners} runners, {ROUNDS} rounds"
        yield Bound(what, ratios(logs).cover())
