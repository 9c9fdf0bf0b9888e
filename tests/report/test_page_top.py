"""The page's data beside figures: the recommendation on top, the order of tables, cards without repetitions, notes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis.pareto import Table, group
from compress.records.files import write
from compress.report.html import tables_html
from compress.report.notes import footnotes, grouped
from compress.report.page.again import recipe_text
from compress.report.page.data import page_data
from compress.spec.recipe import Recipe
from tests import factory

MEMORY = "RuntimeError: out of <memory>"


def top(*results: Any, folder: Path | None = None) -> dict[str, Any]:
    data: dict[str, Any] = page_data(group(results), folder)["tables"][0]
    return data


def test_the_recommendation_is_the_terminals_and_the_finding_follows(tmp_path: Path) -> None:
    model = tmp_path / "model"
    kept = factory.result("a", 0.5, 0.0, half=0.004, **factory.stored(model))
    path = write(tmp_path, kept)
    found = top(kept, factory.result("b", 0.3, -0.03), folder=tmp_path)
    assert found["sentence"].startswith("Recommended: a. It is 2.0x faster than fp32 eager")
    assert found["finding"].startswith("a answers in 50 % less time")
    assert found["about"] == "a"
    assert found["use"] == {
        "where": f"Its model is in {model}.",
        "code": ["from compress import load", f'model, processor = load("{model}")'],
        "then": "Next",
        "commands": [f"python -m compress card {path}"],
    }
    path.unlink()
    assert top(kept, folder=tmp_path)["use"]["commands"] == top(kept)["use"]["commands"] == []


def test_a_model_that_is_not_here_is_made_again() -> None:
    use = top(factory.result("a", 0.5, 0.0, half=0.004, artifact=None, limit=20))["use"]
    assert use["where"] == "Its model was not kept; run the recipe without --no-keep."
    assert use["then"] == "To make it again, save the recipe in its card as a.yaml, and run"
    assert use["commands"] == ["python -m compress run a.yaml --workload stdlib-bert --limit 20"]


def test_without_a_recommended_recipe_there_is_nothing_to_use() -> None:
    found = top(factory.result("a", 1.2))
    assert found["sentence"].startswith("No recipe is shown to save latency and to lose at most 1 point. Keep fp32")
    assert found["use"] is None and found["finding"].startswith("Nothing here measurably saves latency")


def test_without_a_sound_reference_or_a_result_the_finding_is_on_top() -> None:
    chance = factory.reference(accuracy=replace(factory.accuracy(0.51), delta=None))
    unsound = top(factory.result("a", 0.5, references=(chance,)))
    assert unsound["sentence"].startswith("No verdict is possible: ") and unsound["finding"] == ""
    assert unsound["loud"][0].startswith("WARNING: ")
    assert top(factory.failed("x", "no kernel"))["sentence"] == "Its only recipe failed; x: no kernel."


def test_a_workload_with_nothing_but_failed_recipes_is_never_first() -> None:
    first, last = {"name": "a"}, {"name": "z"}
    tables = group([factory.failed("x", workload=first), factory.result("x", workload=last)])
    assert [table.newest.workload["name"] for table in tables] == ["a", "z"]
    data = page_data(tables, None)
    assert [table["workload"] for table in data["tables"]] == ["z", "a"]
    assert list(data["cards"]) == ["0:0"]


def test_a_card_leaves_out_notes_on_all_recipes_and_its_rows_sentence() -> None:
    tables = group([factory.result("a", notes=("shared", "own")), factory.result("b", notes=("shared",))])
    one, other = page_data(tables, None)["cards"].values()
    assert (one["notes"], other["notes"]) == (["own"], [])
    assert "SAVES" not in str(one)
    (alone,) = page_data(group([factory.result("a", notes=("own",))]), None)["cards"].values()
    assert alone["notes"] == ["own"]


def test_a_recipe_is_written_without_its_defaults() -> None:
    assert recipe_text(Recipe.load("bert_dense").model_dump(mode="json")) == "steps: []\n"
    step = {"method": "quantize", "bits": 8, "group_size": 64, "backend": "torchao"}
    data = {"name": "<b>", "workload": "my", "steps": [step], "runtime": "auto", "seed": 0}
    assert recipe_text(data) == 'steps:\n  - {"method": "quantize", "backend": "torchao"}\nworkload: "my"\n'


def test_a_recipe_of_another_version_is_written_in_full() -> None:
    data = {"steps": [{"method": "gone", "bits": 8}], "runtime": "auto"}
    assert recipe_text(data) == 'steps:\n  - {"method": "gone", "bits": 8}\nruntime: "auto"\n'


@pytest.fixture
def table() -> Table:
    """Two recipes whose memory is unknown, one of them with a note on its step and one on its measurement."""
    rows = [factory.result("a", 0.5, notes=("quantize: picked int8", "the clock was slow")), factory.result("b", 0.7)]
    lost = [replace(r, size=replace(r.size, memory_bytes=None, peak_memory_bytes=None, reason=MEMORY)) for r in rows
            if r.size]  # fmt: skip
    (made,) = group(lost)
    return made


def test_notes_are_grouped_and_none_is_lost(table: Table) -> None:
    groups = grouped(table)
    assert list(groups) == ["warnings", "method", "data"]
    assert {"a: the clock was slow.", f"no memory: {MEMORY} (a, b)."} <= set(groups["warnings"])
    assert "a: quantize: picked int8." in groups["method"]
    assert any(note.startswith("★ is on the front.") for note in groups["method"])
    assert [line.split(" ")[0] for line in groups["data"][:3]] == ["Workload:", "Headline", "Judged"]
    every = [line for lines in groups.values() for line in lines]
    assert len(every) == len(set(every)) and set(footnotes(table)) <= set(every)


def test_a_reason_of_missing_memory_is_stated_once(table: Table) -> None:
    data = page_data([table], None)
    assert str(data).count(MEMORY) == 1
    (notes,) = (lines for name, lines in data["tables"][0]["notes"] if name == "warnings")
    assert any(MEMORY in line for line in notes)
    cell = data["tables"][0]["rows"][0]["cells"]["memory"]
    assert data["reasons"][cell] == "unknown: the warnings state why"


def test_a_notebook_folds_the_notes_by_group(table: Table) -> None:
    shown = tables_html([table])
    for name in ("Warnings (", "Method (", "Data ("):
        assert f"<details><summary>{name}" in shown
    assert shown.count("out of &lt;memory&gt;") == 1
