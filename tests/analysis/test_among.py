"""One adjusted verdict in every command: single results are adjusted for the other results of their folder."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from compress.analysis.among import Among, all_among, among, read_among, tables_of, with_place
from compress.analysis.odds import adjusted, verdict_among
from compress.analysis.pareto import group
from compress.analysis.reading import read_all
from compress.cli import app
from compress.records import files
from compress.records.files import write
from compress.records.result import BreakEven, Result
from compress.report.card import card
from compress.report.charts import Source
from compress.report.charts.breakeven import draw
from compress.report.page.data import page_data
from compress.report.sheet import csv_text
from compress.report.text import UNADJUSTED
from compress.report.trackers.facts import facts
from tests import factory

CLOSE = 0.975


def folder_of(root: Path, *more: Result) -> Path:
    """Write eight recipes; the one called close saves alone (0.975, spread 0.02) and not among eight."""
    results = [factory.result("close", cost=CLOSE), *(factory.result(f"r{i}", cost=1.0) for i in range(7)), *more]
    for result in results:
        write(root, result)
    return next(root.glob("*/close-*.json"))


def shown(path: Path) -> str:
    done = CliRunner().invoke(app, ["show", str(path)])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_saving_alone_that_the_table_does_not_show_is_the_tables_word_everywhere(tmp_path: Path) -> None:
    path = folder_of(tmp_path)
    alone = factory.result("close", cost=CLOSE)
    assert alone.verdict is not None and alone.verdict.word == "SAVES"  # otherwise nothing is tested here
    found = read_among(path)
    (table,) = group(read_all(tmp_path)[0])
    assert found.recipes == 8
    assert found.result.verdict == verdict_among(alone, adjusted(table)["close"])
    assert found.result.verdict is not None and found.result.verdict.word == "NO MEASURABLE DIFFERENCE"
    sentence = found.result.verdict.sentence
    text = shown(path)
    assert sentence in text and "adjusted for the 8 recipes of its table" in text and UNADJUSTED not in text
    made = card(found.result, plain=True, recipes=found.recipes)
    assert "NO MEASURABLE DIFFERENCE" in made and "SAVES" not in made
    assert "(Word and interval are adjusted for the 8 recipes of its table.)" in made
    lines = {line["name"]: line for line in csv.DictReader(io.StringIO(csv_text([table]))) if line["kind"] == "recipe"}
    assert (lines["close"]["verdict"], lines["close"]["verdict_sentence"]) == (found.result.verdict.word, sentence)
    tracked = facts(path).config
    assert (tracked["verdict"], tracked["verdict_sentence"]) == (found.result.verdict.word, sentence)


def test_a_breakeven_is_given_only_where_the_tables_word_saves(tmp_path: Path) -> None:
    repaid = BreakEven(factory.near(1000.0), "seconds", "batch 1", None)
    path = folder_of(tmp_path, replace(factory.result("close", cost=CLOSE), breakeven=repaid))
    found = read_among(path).result
    assert found.breakeven is not None and found.breakeven.inferences is None
    assert found.breakeven.reason == "no saving is shown among all recipes of the table"
    assert found.headline is not None and found.headline.verdict == found.verdict


def test_a_result_alone_keeps_its_verdict_and_the_note_names_it(tmp_path: Path) -> None:
    path = write(tmp_path, factory.result("close", cost=CLOSE))
    found = read_among(path)
    assert found == Among(factory.result("close", cost=CLOSE), 1)
    assert UNADJUSTED in shown(path) and "SAVES" in shown(path)


def test_results_of_other_tables_and_damaged_files_beside_it_do_not_count(tmp_path: Path) -> None:
    path = folder_of(tmp_path, factory.result("limited", limit=10), factory.failed("broken"))
    (path.parent / "damaged.json").write_text("{")
    elsewhere = replace(factory.result("far"), machine=factory.machine("m2"))
    write(tmp_path, elsewhere)
    assert read_among(path).recipes == 8


def test_another_margin_is_taken_by_all_recipes_of_the_table(tmp_path: Path) -> None:
    path = folder_of(tmp_path)
    wide = read_among(path, "2pt")
    assert wide.recipes == 8 and wide.result.margin == "2pt"
    assert wide.result.verdict is not None and wide.result.verdict.word == "NO MEASURABLE DIFFERENCE"


def test_what_the_table_does_not_read_does_not_count(tmp_path: Path) -> None:
    path = folder_of(tmp_path)
    extra = tmp_path / "extra"
    outside = write(extra, factory.result("outside", cost=1.0))
    (path.parent / ".hidden.json").write_bytes(path.with_name("r0-m1.json").read_bytes())
    (path.parent / "link.json").symlink_to(outside)
    assert read_among(path).recipes == 8


def test_a_result_of_another_machine_with_the_same_time_keeps_its_own_figures(tmp_path: Path) -> None:
    folder_of(tmp_path)
    other = write(tmp_path, factory.result("close", cost=1.4, machine=factory.machine("m2")))
    verdict = read_among(other).result.verdict
    assert verdict is not None and verdict.word == "COSTS MORE"


def test_the_number_is_that_of_the_recipes_with_a_ratio(tmp_path: Path) -> None:
    path = folder_of(tmp_path, replace(factory.result("none"), points=(), verdict=None, breakeven=None))
    assert read_among(path).recipes == 8


def test_a_folder_of_several_folders_has_one_table(tmp_path: Path) -> None:
    """What `compress pareto DIR` joins, `compress show DIR` joins too; a file is judged in its own folder."""
    first = write(tmp_path / "a", factory.result("close", cost=CLOSE))
    for place in range(7):
        write(tmp_path / f"b{place}", factory.result(f"r{place}", cost=1.0))
    assert "NO MEASURABLE DIFFERENCE" in shown(tmp_path) and "SAVES" not in shown(tmp_path)
    assert "SAVES" in shown(first)


def test_tables_after_a_run_hold_the_older_results_beside_the_new_ones(tmp_path: Path) -> None:
    path = folder_of(tmp_path, factory.result("elsewhere", limit=10))
    (table,) = tables_of([(path, factory.result("close", cost=CLOSE))])
    assert len(table.results) == 8
    found = verdict_among(factory.result("close", cost=CLOSE), adjusted(table)["close"])
    assert found == read_among(path).result.verdict
    missing = path.with_name("new-m1.json")  # not written: its disk was full
    (table,) = tables_of([(missing, factory.result("new", cost=1.0))])
    assert len(table.results) == 9


def test_page_and_chart_draw_no_breakeven_that_the_table_denies(tmp_path: Path) -> None:
    repaid = BreakEven(factory.near(1000.0), "seconds", "batch 1", None)
    path = folder_of(tmp_path, replace(factory.result("close", cost=CLOSE), breakeven=repaid))
    data = page_data(group(read_all(tmp_path)[0]), None)
    (place,) = (i for i, row in enumerate(data["tables"][0]["rows"]) if row["name"] == "close")
    even = data["cards"][f"0:{place}"]["even"]
    assert even["at"] is None and even["reason"] == "no saving is shown among all recipes of the table"
    sources = [Source(path, read_among(path).result)]
    labels = [line.get_label() for line in draw(sources).axes[0].get_lines()]
    assert "close: no saving is shown among all recipes of the table" in labels


def test_a_cost_that_the_table_does_not_show_is_no_reason_against_a_breakeven(tmp_path: Path) -> None:
    path = folder_of(tmp_path, factory.result("slow", cost=1.022))
    slow = factory.result("slow", cost=1.022)
    assert slow.verdict is not None and slow.verdict.word == "COSTS MORE"
    found = read_among(path.with_name("slow-m1.json")).result
    assert found.verdict is not None and found.verdict.word == "NO MEASURABLE DIFFERENCE"
    assert found.breakeven is not None and not str(found.breakeven.reason).startswith("never")


def test_trackers_read_a_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder_of(tmp_path)
    counted = Mock(side_effect=files.read_all)
    monkeypatch.setattr(files, "read_all", counted)
    found = all_among([with_place(each) for each in sorted(path.parent.glob("*.json"))])
    assert len(found) == 8 and counted.call_count == 1


def test_a_superseded_result_is_not_adjusted_by_the_table_that_leaves_it_out() -> None:
    old = factory.result("close", cost=CLOSE, created="2025-01-01T10:00:00+00:00")
    tables = group([old, factory.result("close", cost=CLOSE), *(factory.result(f"r{i}", cost=1.0) for i in range(7))])
    assert among(old, tables) == Among(old, 1)


def test_every_result_of_a_folder_is_shown_with_the_tables_verdict(tmp_path: Path) -> None:
    folder_of(tmp_path)
    text = shown(tmp_path)
    assert text.count("adjusted for the 8 recipes of its table") == 8 and "SAVES" not in text
