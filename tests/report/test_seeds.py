"""Several seeds in tables, cards, the page and result files; damaged entries are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from compress.analysis.pareto import group
from compress.analysis.seeds import over_seeds
from compress.base.config import InputError
from compress.records import files as result_files
from compress.records.accuracy import SeedAccuracy
from compress.records.result import Result
from compress.report import sheet, text
from compress.report.notes import footnotes
from compress.report.page.cards import facts
from tests import factory

FURTHER = [SeedAccuracy(1, 0.851, -0.039), SeedAccuracy(2, 0.849, -0.041)]


def result(further: list[SeedAccuracy] = FURTHER, method: str = "distill") -> Result:
    accuracy = over_seeds(factory.accuracy(0.842, -0.048, mcnemar_p=0.03), 0, further)
    recipe = {"name": "student", "steps": [{"method": method}], "seeds": [0, 1, 2]}
    return factory.result("student", accuracy=accuracy, recipe=recipe)


def test_the_range_over_the_seeds_is_a_footnote_of_the_table() -> None:
    (table,) = group([result(), factory.result("other")])
    assert (
        "student: 3 trainings: 0.842 to 0.851; its figures are of seed 0, and the intervals of its accuracy cover "
        "another training."
    ) in footnotes(table)
    assert not any(note.startswith("other: ") and "seed" in note for note in footnotes(table))


def test_a_recipe_that_only_calibrates_has_seeds_and_no_trainings() -> None:
    assert text.trainings(result(method="quantize")) == "3 seeds: 0.842 to 0.851"
    assert text.trainings(factory.result()) == ""


def test_a_seed_without_a_metric_is_counted() -> None:
    unknown = [FURTHER[0], SeedAccuracy(2, None)]
    assert text.trainings(result(unknown)) == "3 trainings: 0.842 to 0.851 (accuracy is unknown for 1)"


def test_the_page_labels_the_p_value_and_the_sheet_has_the_spread() -> None:
    listed = dict(facts(result(), None))
    assert listed["accuracy by seed"] == "3 trainings: 0.842 to 0.851"
    assert listed["McNemar's p of seed 0"] == "0.0300"
    line = next(line for line in sheet.records(group([result()])) if line["name"] == "student")
    assert line["seeds"] == 3
    deviation = (((0.842 - 0.8473333) ** 2 + (0.851 - 0.8473333) ** 2 + (0.849 - 0.8473333) ** 2) / 2) ** 0.5
    assert line["metric_standard_deviation_over_seeds"] == pytest.approx(deviation, rel=1e-5)


def test_seeds_survive_the_file_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    made = result()
    path = tmp_path / "one.json"
    result_files.replace_file(path, made)
    assert result_files.read(path) == made
    assert made.accuracy is not None
    for seeds, reason in (
        (made.accuracy.seeds[:1], "1 entries in seeds; expected none, or two and more of different seeds"),
        (made.accuracy.seeds[:1] * 2, "2 entries in seeds"),
        ((made.accuracy.seeds[0], SeedAccuracy(1, 1e300)), "accuracy.seeds.1.value"),
    ):
        result_files.replace_file(path, replace(made, accuracy=replace(made.accuracy, seeds=seeds)))
        with pytest.raises(InputError, match=reason):
            result_files.read(path)
    result_files.replace_file(path, replace(made, accuracy=replace(made.accuracy, seed_spread=-1.0)))
    with pytest.raises(InputError, match=r"seed_spread is -1\.0"):
        result_files.read(path)
