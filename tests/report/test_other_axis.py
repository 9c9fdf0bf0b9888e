"""A table of latencies whose verdicts are of energy: metered joules of grade C, which may not be on the front.

The recommendation, the finding and the answers to `--within` are about the table's axis.
"""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import t

from compress.analysis.judging import judged
from compress.analysis.odds import adjusted, answers, cheapest_within
from compress.analysis.pareto import Table, group
from compress.records.result import Result
from compress.records.stats import Estimate
from compress.report.advice import advice
from compress.report.page.headline import headline
from tests import factory


def timed(name: str, latency: float, energy: float, spread: float = 0.01) -> Result:
    """A result of grade C that lost nothing, with these ratios to the reference."""
    made = factory.result(name, energy, 0.0, half=0.001, energy_source="rapl")
    ratios = (factory.ratio(latency=latency, energy=energy, spread=spread),)
    return judged(replace(made, points=tuple(replace(p, grade="C", ratios=ratios) for p in made.points)))


def jointly(ratio: float, rows: int, spread: float = 0.01) -> tuple[float, float]:
    """Bonferroni's interval of a ratio of five rounds for so many rows, from its 95 % interval."""
    half = (math.log(1 + spread) - math.log(1 - spread)) / 2 * t.ppf(1 - 0.025 / rows, 4) / t.ppf(0.975, 4)
    return ratio * math.exp(-half), ratio * math.exp(half)


@pytest.fixture
def table() -> Table:
    """`slow` halves the energy and takes 30 % longer; `fast` takes 30 % less time and 10 % less energy."""
    (made,) = group([timed("slow", 1.3, 0.5), timed("fast", 0.7, 0.9), timed("same", 1.0, 0.95)])
    assert made.axis == "latency" and adjusted(made)["slow"].cost.value == 0.5
    return made


def test_the_recommended_recipe_saves_on_the_axis_of_the_table(table: Table) -> None:
    low, high = jointly(0.7, 3)
    first = next(iter(advice(table, Path())))
    assert first.startswith(
        f"Recommended: fast. It is 1.43x faster than fp32 eager ({1 / high:.3g} to {1 / low:.3g} adjusted) and loses"
    )


def test_the_answers_are_about_the_axis_that_they_name(table: Table) -> None:
    by_estimate, confident = answers(table, 0.01, "points", "1pt")
    low, high = jointly(0.7, 3)
    stated = f"fast, at 0.7 times the latency ({low:.3g} to {high:.3g})"
    assert by_estimate.endswith(stated) and stated in confident
    (slow,) = group([timed("slow", 1.3, 0.5), timed("slower", 1.4, 0.6)])
    low, high = jointly(1.3, 2)
    stated = f"slow, at 1.3 times the latency ({low:.3g} to {high:.3g}), which costs more than fp32 eager"
    assert answers(slow, 0.01, "points", "1pt")[0].endswith(stated)


def test_a_recipe_that_saves_energy_alone_is_not_recommended_for_its_latency() -> None:
    (table,) = group([timed("slow", 1.3, 0.5), timed("slower", 1.4, 0.6)])
    within = cheapest_within(table, 0.01, "points")
    assert (within.saving, within.nearest) == (None, None)
    assert next(iter(advice(table, Path()))).startswith("No recipe is shown to save latency and to lose at most 1 ")
    assert headline(table)[0].startswith("Nothing here measurably saves latency")


def test_a_faster_recipe_is_recommended_although_its_energy_does_not_differ() -> None:
    (table,) = group([timed("fast", 0.7, 1.0), timed("other", 0.9, 1.0)])
    assert next(iter(advice(table, Path()))).startswith("Recommended: fast. It is 1.43x faster")
    assert headline(table)[0].startswith("fast answers in 30 % less time")


def test_the_finding_is_adjusted_for_all_rows_on_the_axis_of_the_table(table: Table) -> None:
    low, high = jointly(0.7, 3)
    least, most = (f"{100 * (1 - edge):.0f}" for edge in (high, low))
    assert f"({least} to {most} % adjusted)" in headline(table)[0]


def test_a_row_alone_has_its_own_interval() -> None:
    (table,) = group([timed("slow", 1.3, 0.5)])
    assert answers(table, 0.01, "points", "1pt")[0].endswith(
        "slow, at 1.3 times the latency (1.29 to 1.31), which costs more than fp32 eager"
    )


def test_a_saving_by_holms_method_alone_is_one_in_every_sentence() -> None:
    """The level of the larger one of two p-values (0.048) is 0.05, and that of the interval 0.025."""
    wide = 0.03
    low, high = jointly(0.97, 2, wide)
    assert low < 1 < high
    with_loss = [factory.result("clear", 0.5, -0.05, half=0.001, spread=0.01)]
    (table,) = group([*with_loss, factory.result("close", 0.97, 0.0, half=0.001, spread=wide)])
    found = cheapest_within(table, 0.01, "points")
    assert found.saving is not None and found.saving.name == "close"
    note = f"{low:.3g} to {high:.3g}; differs by Holm's method)"
    by_estimate, confident = answers(table, 0.01, "points", "1pt")
    assert by_estimate.endswith(f"close, at 0.97 times the latency ({note}")
    assert f"({note}; its loss is certain" in confident and "no saving" not in confident
    first = next(iter(advice(table, Path())))
    assert first.startswith(
        f"Recommended: close. It is 1.03x faster than fp32 eager ({1 / high:.3g} to {1 / low:.3g} adjusted; "
        "differs by Holm's method) and loses at most 1 point"
    )


def test_a_row_that_costs_more_by_holms_method_is_one_that_costs_more() -> None:
    estimate = Estimate(1.03, 1.001, 1.06, 5)
    made = factory.result("close", 1.03, 0.0, half=0.001)
    close = judged(replace(made, points=tuple(
        replace(p, ratios=(replace(p.ratios[0], latency=estimate),)) for p in made.points
    )))  # fmt: skip
    (table,) = group([close, factory.result("clear", 1.9, 0.0, half=0.001, spread=0.01)])
    assert adjusted(table)["close"].cost.low < 1
    assert answers(table, 0.01, "points", "1pt")[0].endswith(
        "; differs by Holm's method), which costs more than fp32 eager"
    )
