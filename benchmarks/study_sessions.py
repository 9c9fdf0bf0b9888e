"""Rows of the study on several sessions: coverage of intervals over sessions, and gates between sessions.

Sessions have a normal effect on the log cost ratio of every recipe, beside the noise of their rounds.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.study import Bound
from compress.analysis import gate
from compress.analysis.over_sessions import joined_points, numbered
from compress.records.joined import joined_ratio
from compress.records.result import Point, Result
from compress.records.stats import Estimate, paired_ratio
from tests import factory

RECIPES = 14
ROUNDS = 6
CV = 0.02


def rows(generator: np.random.Generator, sessions: int) -> Iterator[Bound]:
    """Yield every property. `sessions` is the number of simulated results; gates are a quarter of it."""
    for spread in (0.0, 0.02):
        what = f"intervals over 3 sessions cover the true ratio, sessions differ by {100 * spread:g} %"
        yield Bound(what, coverage(generator, sessions, spread), 0.935, 1)
    gates = max(1, sessions // 4)
    for spread, most in ((0.01, 0.05), (0.02, 0.05), (0.03, 1.0)):
        shut, _ = gated(generator, gates, spread)
        what = f"gates of {RECIPES} equal recipes at +0 % that fail, sessions differ by {100 * spread:g} %"
        yield Bound(what, shut, 0, most)
    shut, _ = gated(generator, gates, 0.03, k=3)
    yield Bound("the same with 3 sessions on each side, sessions differ by 3 %", shut, 0, 0.05)
    for k in (1, 3):
        _, passed = gated(generator, gates, 0.02, limit=0.03, growth=0.05, k=k)
        each = "session" if k == 1 else "sessions"
        what = f"a growth of 5 % that passes +3 %, {k} {each} on each side, sessions differ by 2 %"
        yield Bound(what, passed, 0, 0.025)


def coverage(generator: np.random.Generator, results: int, spread: float, k: int = 3) -> float:
    """Return the share of results of `k` sessions whose interval covers the true ratio of 0.5."""
    covered = 0
    for _ in range(results):
        found = joined_ratio([_ratio(generator, 0.5, spread) for _ in range(k)])
        covered += found.low <= 0.5 <= found.high
    return covered / results


def gated(
    generator: np.random.Generator, gates: int, spread: float, limit: float = 0.0, growth: float = 0.0, k: int = 1
) -> tuple[float, float]:
    """Return the share of gates of equal recipes in which any fails, and the share of recipes that pass."""
    names = [f"r{index}" for index in range(RECIPES)]
    failed, passed = 0, 0
    for _ in range(gates):
        now, then = (
            [_result(generator, name, session, 0.5 * (1 + more), spread, k) for name in names]
            for session, more in (("now", growth), ("then", 0.0))
        )
        checks = gate.check(now, then, gate.Limits(latency=limit))
        failed += any(check.state == "FAILED" for check in checks)
        passed += sum(check.state == "passed" for check in checks)
    return failed / gates, passed / gates / RECIPES


def _result(generator: np.random.Generator, name: str, session: str, cost: float, spread: float, k: int) -> Result:
    """Return a result of `k` sessions with this true cost."""
    points = [_point(_ratio(generator, cost, spread), number) for number in range(k)]
    return replace(BASE, name=name, session=session, points=(joined_points(points),))


def _point(ratio: Estimate, session: int) -> Point:
    (point,) = BASE.points
    return numbered(replace(point, ratios=(replace(point.ratios[0], latency=ratio),)), session, 100 * session)


def _ratio(generator: np.random.Generator, cost: float, spread: float) -> Estimate:
    """Return the measured ratio of one session."""
    logs = math.log(cost) + spread * generator.standard_normal() + CV * generator.standard_normal(ROUNDS)
    return paired_ratio(np.exp(logs).tolist(), [1.0] * ROUNDS)


BASE = factory.result()
