"""What an interactive session shows: short reprs, rich tables, a small picture, and names completed by the tab key."""

import io
import rlcompleter
from pathlib import Path

import pytest
from rich.console import Console

import compress
import recipes
from compress.analysis.pareto import group
from compress.records import files as result_files
from compress.report import print_tables
from compress.report.charts.marks import Mark, Panel
from compress.report.charts.panel import panels
from compress.report.charts.sketch import sketch
from tests import factory

PUBLIC = compress.Result  # using a public name registers how results are shown
MARKUP = "[bold]<b>a\x1b[31m"


def shown(thing: object, width: int = 120, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(width=width, file=out, force_terminal=terminal, color_system=None, highlight=False).print(thing)
    return out.getvalue()


def test_reprs_are_a_line_that_says_what_matters() -> None:
    assert repr(factory.result()) == (
        "<Result bert_int8 on stdlib-bert, machine m1: SAVES 50 % of the latency (49 to 51; energy is only modelled "
        "here) at no measurable loss of accuracy, not shown to be within 0.5 points "
        "(+0.0 points, between -1.0 and +1.0), against fp32 eager>"
    )
    assert repr(factory.failed()).endswith("machine m1: failed: steps.0: no kernel for this shape>")
    assert repr(recipes.bert_int8) == "<Recipe bert_int8: quantize(bits=8); runtime auto>"
    assert repr(recipes.bert_dense) == "<Recipe bert_dense: no steps; runtime auto>"


def test_rich_shows_a_result_a_recipe_a_front_and_results(tmp_path: Path) -> None:
    for result in factory.family():
        result_files.write(tmp_path, result)
    assert "SAVES 50 % of the latency" in shown(factory.result()) and "break-even" in shown(factory.result())
    assert "method: quantize" in shown(recipes.bert_int8)
    front = compress.front(tmp_path)
    assert front == ["bert_prune_distill_int8", "bert_int8", "bert_prune"] and isinstance(front, list)
    for thing in (front, compress.results(tmp_path)):
        assert "★" in shown(thing) and "bert_sparse" in shown(thing) and "bf16 eager" in shown(thing)
    assert front._repr_html_() == compress.results(tmp_path)._repr_html_()


def test_markup_in_names_stays_text() -> None:
    assert "[bold]<b>a [31m" in shown(factory.result(MARKUP))
    (panel,) = panels(group([factory.result(MARKUP), factory.result("b", 0.7)]))
    assert not any("\x1b" in line for line in sketch(panel, 90)) and any("[bold]" in line for line in sketch(panel, 90))


def test_the_tab_key_completes_recipes() -> None:
    complete = rlcompleter.Completer({"recipes": recipes}).complete
    found = {complete("recipes.bert_int", index) for index in range(2)}
    assert found == {"recipes.bert_int8", "recipes.bert_int4"}
    ipython = pytest.importorskip("IPython.core.completer", reason="IPython is not installed")
    completer = ipython.IPCompleter(namespace={"recipes": recipes}, use_jedi=False)
    with ipython.provisionalcompleter():
        names = {completion.text for completion in completer.completions("recipes.bert_in", 15)}
    assert any("bert_int8" in name for name in names)


def test_the_picture_stands_below_the_table_in_a_terminal_only() -> None:
    tables = group(factory.family())
    drawn = io.StringIO()
    print_tables(tables, Console(width=120, file=drawn, force_terminal=True, color_system=None))
    plain = io.StringIO()
    print_tables(tables, Console(width=120, file=plain))
    assert "□ references" in drawn.getvalue() and "□ references" not in plain.getvalue()


def marks(*pairs: tuple[str, float, float, bool]) -> Panel:
    made = (Mark(name, (x, x, x), (y, y, y), "front" if steps else "other", steps) for name, x, y, steps in pairs)
    return Panel("t", "latency / latency of a", "points", tuple(made), ())


def test_the_picture_has_cheap_left_good_above_and_the_front_starred() -> None:
    lines = sketch(marks(("cheap", 0.25, -1.0, True), ("good", 2.0, 0.5, True), ("bad", 1.0, -1.0, False)), 80)
    assert lines[0] == "points;  ★ on the front  · other recipes"
    assert lines[1].endswith("good ★") and lines[1].startswith("   +0.5 |")
    assert lines[12].startswith("     -1 |★ cheap") and "· bad" in lines[12]
    assert [word for word in lines[14].split()] == ["0.25", "1", "2.0"] and lines[
        15
    ].strip() == "latency / latency of a"
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("width", [20, 50, 64, 100, 300])
def test_the_picture_fits_the_terminal_or_is_not_drawn(width: int) -> None:
    (panel,) = panels(group(factory.family()))
    lines = sketch(panel, width)
    assert bool(lines) == (width >= 50)
    assert all(len(line) <= min(width, 100) for line in lines[1:-2])
    for name in ("bert_int8", "bert_prune_distill_int8"):
        assert not lines or any(name in line for line in lines)  # names of the front come first


def test_a_single_point_needs_no_picture_and_equal_points_divide_by_nothing() -> None:
    assert sketch(marks(("only", 0.5, 0.0, True)), 80) == []
    assert sketch(marks(("one", 0.5, 0.0, True), ("two", 0.5, 0.0, True)), 80)
