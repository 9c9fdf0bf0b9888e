"""The sentences below a table in a terminal: all of a few recipes, or those on the front, and the count of the rest."""

from io import StringIO

import pytest
from rich.console import Console

from compress.analysis.odds import adjusted, verdict_among
from compress.analysis.pareto import Table, group
from compress.report.table import print_tables
from compress.report.verdicts import sentences
from tests import factory


def table(count: int) -> Table:
    """Each recipe is cheaper and less accurate than the next: all are on the front."""
    made = [factory.result(f"r{i}", 0.3 + i / 10, (i - 5) / 50, spread=0.005, half=0.001) for i in range(count)]
    (only,) = group(made)
    return only


def test_a_table_of_one_recipe_states_the_results_own_sentence() -> None:
    made = factory.result("alone")
    assert made.verdict is not None
    assert list(sentences(group([made])[0])) == [f"alone: {made.verdict.sentence}"]


def test_three_recipes_state_their_adjusted_sentences_in_the_order_of_the_table() -> None:
    three = table(3)
    family = adjusted(three)
    verdicts = {r.name: verdict_among(r, family[r.name]) for r in three.results}
    assert list(sentences(three)) == [f"{name}: {v.sentence}" for name, v in verdicts.items() if v]
    assert all(" adjusted; " in sentence for sentence in sentences(three))


def test_of_more_recipes_three_on_the_front_do_and_the_others_are_counted() -> None:
    five = table(5)
    *shown, rest = sentences(five)
    assert [sentence.split(":")[0] for sentence in shown] == [r.name for r in five.results if r.name in five.front][:3]
    assert len(shown) == 3 and rest == "2 more verdicts are in pareto.md."


@pytest.mark.parametrize(("count", "rest"), [(4, "4 verdicts are in pareto.md.")])
def test_without_a_recipe_on_the_front_all_are_counted(count: int, rest: str) -> None:
    (beaten,) = group([factory.result(f"slow{i}", 1.5 + i, -0.02, half=0.001) for i in range(count)])
    assert beaten.front == {factory.FP32}
    assert list(sentences(beaten)) == [rest]


def test_a_failed_recipe_has_no_sentence_and_the_terminal_prints_the_others_below_the_table() -> None:
    tables = group([factory.result("fine"), factory.failed("bad")])
    out = StringIO()
    print_tables(tables, Console(file=out, width=400))
    lines = out.getvalue().splitlines()
    (place,) = (i for i, line in enumerate(lines) if line.startswith("fine: SAVES 50 % of the latency ("))
    assert lines[place - 1].startswith("FAILED bad: ") and lines[place + 1].startswith("- ★ is on the front")
