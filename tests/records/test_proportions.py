"""Tango's score interval against a brute-force one, and its level where a widened interval fails."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize, stats

from compress.records.proportions import tango


def ends(more: int, fewer: int, n: int, confidence: float) -> tuple[float, float]:
    low, high = tango(np.array(more), np.array(fewer), n, confidence)
    return float(low), float(high)


def score(more: int, fewer: int, n: int, difference: float) -> float:
    """The score statistic, its nuisance parameter found by maximising the likelihood numerically."""

    def unlikely(fewer_share: float) -> float:
        more_share = fewer_share + difference
        rest = 1 - more_share - fewer_share
        shares = ((more, more_share), (fewer, fewer_share), (n - more - fewer, rest))
        if any(share < 0 or (share == 0 and count) for count, share in shares):
            return math.inf
        return -sum(count * math.log(share) for count, share in shares if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    best = optimize.minimize_scalar(unlikely, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    edge = min((low, float(best.x), high), key=unlikely)
    return (more - fewer - n * difference) / math.sqrt(n * (2 * edge + difference - difference**2))


@pytest.mark.parametrize(
    ("more", "fewer", "n"), [(12, 2, 50), (3, 3, 872), (0, 9, 300), (34, 53, 1821), (1, 0, 40), (0, 0, 200)]
)
@pytest.mark.parametrize("confidence", [0.95, 0.9964])
def test_the_interval_ends_where_the_score_reaches_its_limit(more: int, fewer: int, n: int, confidence: float) -> None:
    limit = NormalDist().inv_cdf(0.5 + confidence / 2)
    low, high = ends(more, fewer, n, confidence)
    assert low <= (more - fewer) / n <= high
    assert score(more, fewer, n, high) == pytest.approx(-limit, rel=1e-3)
    assert score(more, fewer, n, low) == pytest.approx(limit, rel=1e-3)
    assert ends(fewer, more, n, confidence) == pytest.approx((-high, -low))


def test_without_a_changed_answer_it_is_no_narrower_than_the_exact_bound() -> None:
    for n in (200, 300, 872):
        for rows in (1, 4, 14):
            exact = 1 - (0.025 / rows) ** (1 / n)
            assert exact <= -ends(0, 0, n, 1 - 0.05 / rows)[0] <= 1.6 * exact


@pytest.mark.parametrize(("n", "rows"), [(200, 1), (300, 14), (872, 14)])
def test_a_loss_at_the_limit_is_rarely_declared_within_it(n: int, rows: int) -> None:
    """Exact probability over the number of lost answers; nothing is gained, the worst case of few changes."""
    limit, level = 0.01, 0.025 / rows
    declared = sum(
        float(stats.binom.pmf(lost, n, limit)) for lost in range(n) if -ends(0, lost, n, 1 - 2 * level)[0] <= limit
    )
    assert declared <= 1.3 * level


def test_intervals_of_many_pairs_are_those_of_each() -> None:
    generator = np.random.default_rng(0)
    more, fewer = generator.integers(0, 40, (2, 7, 5))
    low, high = tango(more, fewer, 100)
    assert low.shape == high.shape == (7, 5)
    for place in np.ndindex(7, 5):
        one = ends(int(more[place]), int(fewer[place]), 100, 0.95)
        assert (low[place], high[place]) == pytest.approx(one, abs=1e-12)
    edges = [ends(5, 0, 5, 0.95), ends(0, 5, 5, 0.95), ends(0, 0, 1, 0.95), ends(3, 2, 5, 0.95)]
    assert all(-1 <= low <= high <= 1 for low, high in edges) and edges[0][1] == 1 and edges[1][0] == -1


@pytest.mark.parametrize(("n", "lost", "gained"), [(200, 0.01, 0.0), (500, 0.01, 0.01), (200, 0.05, 0.02)])
def test_it_covers_the_difference(n: int, lost: float, gained: float) -> None:
    """Also where few answers change, as an average over these shares."""
    generator = np.random.default_rng(1)
    fewer, more, _ = generator.multinomial(n, [lost, gained, 1 - lost - gained], 4000).T
    low, high = tango(more, fewer, n)
    covered = ((low <= gained - lost) & (gained - lost <= high)).mean()
    assert covered >= 0.94
