"""Rows on the noise of published sessions, and on the differences that rounds of such noise detect."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.study import SEED, Bound
from benchmarks.study.rounds import ratios, simulated
from compress.analysis.costs import costs, from_trace
from compress.records import trace

REFERENCE = Path(__file__).parents[2] / "results" / "reference"
RUNNERS = 3


def published(_: int) -> Iterator[Bound]:
    """Yield the noise of every published session, which is measured."""
    for folder in sorted(REFERENCE.rglob("traces/*")):
        logs = measured(folder)
        label = f"{_name(folder)}: {logs.shape[0]} runners, {logs.shape[1]} rounds"
        yield Bound(f"cv of latency, {label}", _median_cv(logs))
        yield Bound(f"cv relative to the mean of the round, {label}", _median_cv(logs - logs.mean(axis=0)))


def rows(sessions: int) -> Iterator[Bound]:
    """Yield false alarms and power at noise like that of the published sessions."""
    generator = np.random.default_rng(SEED + 3)
    for cv in (0.05, 0.08, 0.12):
        same = ratios(simulated(generator, sessions, RUNNERS, 10, cv))
        label = f"cv {100 * cv:g} %"
        yield Bound(f"A against A called different, {label}, 10 rounds", 1 - same.cover(), 0, 0.065)
        for rounds, gap in ((6, 0.2), (10, 0.1), (10, 0.2), (40, 0.05)):
            found = ratios(simulated(generator, sessions, RUNNERS, rounds, cv))
            share = float((found.value + found.half < -math.log1p(-gap)).mean())
            yield Bound(f"a true difference of {100 * gap:g} % found, {label}, {rounds} rounds", share)


def measured(folder: Path) -> np.ndarray:
    """Return the log latency of every runner of a trace at its headline point. [runners, rounds]"""
    raw = from_trace(trace.read(folder))
    found = [costs(raw, runner.name, 0) for runner in raw.session.runners]
    return np.log(np.array([one.latency_s for one in found if one is not None]))


def _median_cv(logs: np.ndarray) -> float:
    return float(np.median(logs.std(axis=1, ddof=1)))


def _name(folder: Path) -> str:
    """Return a short name of a published session: the folders above its traces."""
    parts: Sequence[str] = folder.relative_to(REFERENCE).parts[:-2]
    return "/".join(parts)
