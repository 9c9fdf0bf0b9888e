"""Dominance from direct pairs: the front keeps what is not shown to be beaten, and margins do not add up."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nct, t, ttest_rel

from benchmarks.study.front import gaps_found, table, ties_broken, wrong_evictions
from compress.analysis.candidates import Candidate
from compress.analysis.dominance import Differences, dominance, front
from compress.analysis.pairs import Row, cost_differences, quality_differences
from compress.analysis.pareto import group
from compress.records import proportions, stats
from compress.records.joined import joined_ratio
from compress.records.stats import Estimate
from tests import factory
from tests.analysis.test_odds import timed_result, with_answers


def exact(values: list[float], half: float = 0.0) -> Differences:
    """The differences of these values, with intervals of `half` to either side."""
    apart = np.array(values)[:, None] - np.array(values)[None, :]
    return Differences(apart - half, apart + half)


def kept(costs: list[float], qualities: list[float], half: float = 0.0, margin: float = 0.005) -> list[int]:
    """The rows on the front, for log costs and qualities with exact costs."""
    return np.flatnonzero(front(dominance(exact(costs), exact(qualities, half), margin))).tolist()


def test_without_noise_and_margin_the_front_is_the_plain_one_up_to_the_margin_of_cost() -> None:
    draw = np.random.default_rng(2)
    for _ in range(50):
        costs, qualities = draw.integers(1, 7, (2, 12)).astype(float).tolist()
        plain = [
            b
            for b in range(12)
            if not any(
                costs[a] <= costs[b]
                and qualities[a] >= qualities[b]
                and (costs[a], qualities[a]) != (costs[b], qualities[b])
                for a in range(12)
            )
        ]
        assert kept(costs, qualities, margin=0.0) == plain


def test_an_exact_tie_removes_nobody() -> None:
    assert kept([1.0, 1.0], [0.1, 0.1]) == [0, 1]


def test_a_cheaper_row_removes_only_what_it_is_shown_to_match() -> None:
    assert kept([0.0, 1.0], [0.0, 0.004]) == [0]
    assert kept([0.0, 1.0], [0.0, 0.004], half=0.002) == [0, 1]  # up to 0.6 points worse
    assert kept([0.0, 1.0], [0.0, 0.006]) == [0, 1]


def test_a_better_row_removes_one_of_the_same_cost_up_to_2_percent() -> None:
    assert kept([math.log(1.015), 0.0], [0.03, 0.0]) == [0]
    assert kept([math.log(1.025), 0.0], [0.03, 0.0]) == [0, 1]


def test_rows_that_dominate_each_other_within_the_margins_stay() -> None:
    assert kept([math.log(1.01), 0.0], [0.004, 0.0]) == [0, 1]


def test_margins_do_not_add_up_along_a_chain() -> None:
    """Each row is 0.4 points worse than the next and cheaper: the third is 0.8 points better than the first."""
    assert kept([0.0, 1.0, 2.0], [0.0, 0.004, 0.008]) == [0, 2]


def test_a_circle_keeps_its_rows_and_removes_what_they_dominate() -> None:
    circle = np.zeros((4, 4), dtype=bool)
    circle[0, 1] = circle[1, 2] = circle[2, 0] = circle[2, 3] = True
    assert front(circle).tolist() == [True, True, True, False]


def trimmed(differences: np.ndarray) -> tuple[float, float]:
    """Mean without the smallest and largest value, and the half-width of its interval (Tukey and McLaughlin 1963)."""
    kept = sorted(differences)[1:-1]
    squares = sum((v - np.mean([kept[0], *kept, kept[-1]])) ** 2 for v in (kept[0], *kept, kept[-1]))
    h = len(kept)
    return sum(kept) / h, t.ppf(0.975, h - 1) * math.sqrt(squares / (h * (h - 1)))


def test_direct_pairs_are_the_trimmed_t_interval_of_the_two_rows_rounds() -> None:
    draw = np.random.default_rng(4)
    rows = table(draw, [0.5, 0.52, 0.9], [0.0, 0.01, 0.0], rounds=8)
    cost = cost_differences(rows)
    assert rows[1].logs is not None and rows[2].logs is not None
    value, half = trimmed(rows[1].logs - rows[2].logs)
    assert (cost.low[1, 2], cost.high[1, 2]) == pytest.approx((value - half, value + half))
    assert (cost.low[2, 1], cost.high[2, 1]) == pytest.approx((-value - half, -value + half))
    own = rows[1].candidate.cost
    assert (cost.low[1, 0], cost.high[1, 0]) == pytest.approx((math.log(own.low), math.log(own.high)))


@pytest.mark.parametrize("rounds", [5, 6, 7])
def test_below_8_rounds_direct_pairs_are_the_paired_t_test(rounds: int) -> None:
    rows = table(np.random.default_rng(4), [0.5, 0.52], [0.0, 0.0], rounds=rounds)
    assert rows[1].logs is not None and rows[2].logs is not None
    interval = ttest_rel(rows[1].logs, rows[2].logs).confidence_interval(0.95)
    cost = cost_differences(rows)
    assert (cost.low[1, 2], cost.high[1, 2]) == pytest.approx((interval.low, interval.high))


def test_correlated_rounds_widen_direct_pairs() -> None:
    rows = table(np.random.default_rng(4), [0.5, 0.52], [0.0, 0.0], rounds=10)
    plain, wide = (cost_differences([replace(r, correlation=rho) for r in rows]) for rho in (0.0, 0.5))
    apart = abs(np.subtract.outer(np.arange(10), np.arange(10)))
    rounds = 0.5**apart  # correlation matrix of AR(1)
    factor = rounds.mean() * 10 / (np.trace((np.eye(10) - 0.1) @ rounds) / 9)
    assert wide.high[1, 2] - wide.low[1, 2] == pytest.approx(math.sqrt(factor) * (plain.high[1, 2] - plain.low[1, 2]))


def test_direct_pairs_of_several_sessions_are_joined_as_their_ratios_are() -> None:
    draw = np.random.default_rng(8)
    logs = {name: draw.normal(level, 0.02, 18) for name, level in (("a", -0.7), ("b", -0.6))}
    numbers = tuple(n for n in range(3) for _ in range(6))
    cost = Estimate(0.5, 0.49, 0.51, 3)
    rows = [
        Row(Candidate(name, cost, Estimate(0, 0, 0, 872)), False, "s", tuple(range(18)), each, numbers, 0.2)
        for name, each in logs.items()
    ]
    found = cost_differences(rows)
    a, b = (np.exp(each).reshape(3, 6).tolist() for each in logs.values())
    joined = joined_ratio([stats.paired_ratio(one, other, 0.2) for one, other in zip(a, b, strict=True)])
    assert math.exp(found.low[0, 1]) == pytest.approx(joined.low)
    assert math.exp(found.high[0, 1]) == pytest.approx(joined.high)


def test_pairs_of_two_sessions_add_their_errors_and_the_spread_between_sessions() -> None:
    rows = [  # the second result has several sessions: its interval covers the spread between them
        Row(Candidate("a", Estimate(0.5, 0.49, 0.51, 6), Estimate(0, -0.01, 0.01, 872)), session="s1", lacking=0.02),
        Row(Candidate("b", Estimate(0.6, 0.57, 0.63, 6), Estimate(0.02, 0.01, 0.04, 872)), session="s2"),
        Row(Candidate("dense", Estimate(1, 1, 1, 0), Estimate(0, 0, 0, 0)), baseline=True, session="s2"),
    ]
    cost, quality = cost_differences(rows), quality_differences(rows)
    between = 1.959963984540054 * 0.02
    up = math.sqrt(math.log(0.51 / 0.5) ** 2 + math.log(0.6 / 0.57) ** 2 + between**2)
    assert cost.high[0, 1] == pytest.approx(math.log(0.5 / 0.6) + up)
    assert cost.high[0, 2] == pytest.approx(math.log(0.51))  # the reference was measured in both sessions
    alone = cost_differences([replace(row, session="s1") for row in rows])
    assert alone.high[0, 1] == pytest.approx(
        math.log(0.5 / 0.6) + math.hypot(math.log(0.51 / 0.5), math.log(0.6 / 0.57))
    )
    assert quality.low[0, 1] == pytest.approx(-0.02 - math.hypot(0.01, 0.02))
    assert quality.low[1, 2] == pytest.approx(0.01)


def test_accuracies_are_compared_on_the_same_examples() -> None:
    rows = table(np.random.default_rng(5), [0.5, 0.6, 0.7], [0.0, 0.01, 0.02])
    found = quality_differences(rows)
    for a, one in enumerate(rows):
        for b, other in enumerate(rows):
            pairs = list(zip(one.right, other.right, strict=True))  # type: ignore[arg-type]
            more, fewer = sum(x > y for x, y in pairs), sum(x < y for x, y in pairs)
            low, high = proportions.tango(np.array(more), np.array(fewer), len(pairs))
            assert (found.low[a, b], found.high[a, b]) == pytest.approx((float(low), float(high)))
            assert a == b or found.low[a, b] <= (more - fewer) / len(pairs) <= found.high[a, b]


def test_the_vectorised_ratios_are_those_of_one_pair() -> None:
    logs = np.random.default_rng(6).normal(0, 0.1, (3, 4, 7))
    values, lows, highs = stats.paired_ratios(logs)
    alone = stats.paired_ratio(np.exp(logs[2, 1]).tolist(), [1.0] * 7)
    found = [math.exp(each[2, 1]) for each in (values, lows, highs)]
    assert found == pytest.approx([alone.value, alone.low, alone.high])
    assert highs[2, 1] - values[2, 1] == pytest.approx(t.ppf(0.975, 6) * logs[2, 1].std(ddof=1) / math.sqrt(7))
    assert stats.paired_ratios(logs[..., :1])[2].max() == math.inf


def test_rounds_that_only_one_of_two_rows_has_leave_the_ratios_to_the_reference() -> None:
    one = timed_result(factory.result("one", cost=0.5), [0.5, 0.51, 0.49, 0.5, 0.5], [1.0] * 5)
    other = timed_result(factory.result("other", cost=0.51), [0.52, 0.53, 0.51, 0.52, 0.52], [1.0] * 5)
    short = replace(other, points=(replace(other.points[0], rounds=other.points[0].rounds[:3]),))
    answers = [with_answers(r, set(), n=2000) for r in (one, other)]
    assert group(answers)[0].front == {"one"}  # always 0.02 apart
    assert group([answers[0], with_answers(short, set(), n=2000)])[0].front == {"one", "other"}


def test_a_cheap_recipe_worse_by_the_margin_seldom_evicts_the_dense_row() -> None:
    """At most 2.5 % at the margin itself; 29 % by estimates that are not worse. Three standard errors of 600: 2 %."""
    assert wrong_evictions(1, 600) <= 0.025 + 0.02


def test_a_gap_of_5_percent_at_noise_of_2_percent_is_found_in_nine_of_ten_tables() -> None:
    """Of 10 rounds. Three standard errors of 600 tables: 3 %."""
    assert gaps_found(600, 10) >= 0.90 - 0.03
    assert ties_broken(600) <= 0.05 + 0.03


def test_direct_pairs_of_six_rounds_find_that_gap_in_nine_of_ten_tables() -> None:
    """Without the allowance for correlated rounds: 91.7 % by the noncentral t distribution. Disjoint intervals: 40 %.

    Three standard errors of 600 tables: 3 %.
    """
    draw, found = np.random.default_rng(9), 0
    for _ in range(600):
        found += bool(cost_differences(table(draw, [0.50, 0.525], [0.0, 0.0])).low[2, 1] > 0)
    noncentrality = math.log(1.05) / (0.02 * math.sqrt(2) / math.sqrt(6))
    power = nct.sf(t.ppf(0.975, 5), 5, noncentrality)
    assert power == pytest.approx(0.917, abs=0.001)
    assert found / 600 >= 0.90
    assert found / 600 == pytest.approx(power, abs=0.034)
