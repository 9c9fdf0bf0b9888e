"""The sentences below a table in a terminal: all of a few recipes, or those on the front, and the count of the rest."""

from io import StringIO

import pytest
from rich.console import Console

from compress.analysis.odds import adjusted, verdict_among
from compress.analysis.pareto import Table, group
from compress.analysis.precision import MISSED
from compress.records.result import Result
from compress.report.notes import footnotes
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


def test_one_line_states_the_widest_missed_precision_and_counts_the_others() -> None:
    def missing(name: str, spread: float) -> Result:
        note = f"{MISSED}fp32 eager is known to +-{100 * spread:g} % after 15 rounds; +-3 % was asked for"
        return factory.result(name, 0.5, spread=spread, notes=(note, "a note of its own"))

    (table,) = group([missing("a", 0.05), missing("b", 0.08), missing("c", 0.04), factory.result("d")])
    lines = [line for line in footnotes(table) if MISSED in line]
    words = "fp32 eager is known to +-8 % after 15 rounds; +-3 % was asked for; 2 more rows miss it too."
    assert lines == [f"b: {MISSED}{words}"]
    assert any(line.endswith("a note of its own.") for line in footnotes(table))
    (alone,) = group([missing("a", 0.05)])
    assert not any("more row" in line for line in footnotes(alone))
