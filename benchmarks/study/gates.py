"""Rows on gates between sessions: how often a gate decides wrongly, and how often it decides.

A gate compares the results of 14 recipes with those of earlier sessions (`compress.analysis.gate`). Sessions have a
normal effect on the log cost ratio of every recipe, beside the noise of their rounds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.study import SEED, Bound
from benchmarks.study.sessions import CV, ROUNDS, TRUE, measured
from compress.analysis import gate
from compress.analysis.over_sessions import joined_points, numbered
from compress.records.result import Point, Result
from compress.records.stats import Estimate
from tests import factory

RECIPES = 14
BASE = factory.result()


@dataclass(frozen=True)
class Outcome:
    """Shares of gates in which any recipe fails or passes, and shares of all recipes that do."""

    any_failed: float
    any_passed: float
    failed: float
    passed: float


def rows(gates: int) -> Iterator[Bound]:
    """Yield wrong failures, wrong passes, and the power to pass and to fail."""
    generator = np.random.default_rng(SEED)
    for k, spread, most in ((1, 0.01, 0.05), (1, 0.02, 0.05), (1, 0.03, 1.0), (3, 0.03, 0.05)):
        shut = gated(generator, gates, spread, k=k).any_failed
        yield Bound(f"any of 14 equal recipes fails +0 %, {_label(k, spread)}", shut, 0, most)
    for k in (1, 3):
        found = gated(generator, gates, 0.02, 0.03, 0.05, k).any_passed
        yield Bound(f"any of 14 recipes at a true +5 % passes +3 %, {_label(k, 0.02)}", found, 0, 0.05)
    for recipes in (14, 1):
        found = gated(generator, gates, 0.0, 0.03, 0.05, cv=0.05, rounds=5, recipes=recipes).any_passed
        which = "any of 14 recipes" if recipes > 1 else "a single recipe"
        yield Bound(f"{which} at a true +5 % passes +3 %, {_label(1, 0)}, cv 5 %, 5 rounds", found, 0, 0.05)
    for k in (1, 3):
        passed = gated(generator, gates, 0.02, 0.1, 0.0, k).passed
        yield Bound(f"equal recipes that pass +10 %, 14 at a time, {_label(k, 0.02)}", passed)
        failed = gated(generator, gates, 0.02, 0.03, 0.2, k).failed
        yield Bound(f"recipes at a true +20 % that fail +3 %, 14 at a time, {_label(k, 0.02)}", failed)


def _label(k: int, spread: float) -> str:
    return f"{k} session{'s' if k > 1 else ''} a side, spread {100 * spread:g} %"


def gated(
    generator: np.random.Generator,
    gates: int,
    spread: float,
    limit: float = 0.0,
    growth: float = 0.0,
    k: int = 1,
    *,
    cv: float = CV,
    rounds: int = ROUNDS,
    recipes: int = RECIPES,
) -> Outcome:
    """Return the outcome of gates whose recipes all grew by `growth`, with `k` sessions on each side."""
    names = [f"r{index}" for index in range(recipes)]
    failed: list[int] = []
    passed: list[int] = []
    for _ in range(gates):
        now, then = (
            [_result(name, side, [measured(generator, cost, spread, cv, rounds) for _ in range(k)]) for name in names]
            for side, cost in (("now", TRUE * (1 + growth)), ("then", TRUE))
        )
        states = [check.state for check in gate.check(now, then, gate.Limits(latency=limit))]
        failed.append(states.count("FAILED"))
        passed.append(states.count("passed"))
    wholes, each = (
        [np.mean(np.array(n) > 0) for n in (failed, passed)],
        [np.mean(n) / recipes for n in (failed, passed)],
    )
    return Outcome(*map(float, (*wholes, *each)))


def _result(name: str, session: str, ratios: list[Estimate]) -> Result:
    """Return the result of sessions that measured these ratios."""
    points = [_point(ratio, number) for number, ratio in enumerate(ratios)]
    return replace(BASE, name=name, session=session, points=(joined_points(points),))


def _point(ratio: Estimate, session: int) -> Point:
    (point,) = BASE.points
    return numbered(replace(point, ratios=(replace(point.ratios[0], latency=ratio),)), session, 100 * session)
