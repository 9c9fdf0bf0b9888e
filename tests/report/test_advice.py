"""The recommendation below a table: the cheapest recipe that surely loses at most a point, and how to use it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from compress.analysis.pareto import group
from compress.analysis.reading import read_all
from compress.records.result import Result
from compress.report.advice import advice
from tests import factory
from tests.helpers import ROOT


def lines(results: Sequence[Result], folder: Path = Path("results")) -> list[str]:
    (table,) = group(list(results))
    return list(advice(table, folder))


def made(name: str, cost: float, delta: float, half: float = 0.002, **fields: object) -> Result:
    return factory.result(name, cost, delta, half=half, **fields)


def test_the_cheapest_recipe_that_surely_loses_at_most_a_point_is_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made" / "b").mkdir(parents=True)
    rows = [made("a", 0.3, -0.03), made("b", 0.5, -0.004, artifact="made/b"), made("c", 0.7, 0.0)]
    found = lines(rows)
    assert found[0].startswith("Recommended: b. It is 2.0x faster than fp32 eager (1.96 to 2.04) and loses at most ")
    assert "loses at most 1 point with 95 % confidence (jointly for 3 recipes)" in found[0]
    assert found[1:4] == [
        "Its model is in made/b. To load it:",
        "    from compress import load",
        '    model, processor = load("made/b")',
    ]
    assert found[-1].startswith("Next: python -m compress card results/")


def test_a_loss_that_may_exceed_a_point_is_not_recommended() -> None:
    (only,) = lines([made("a", 0.3, -0.006, half=0.02)])
    assert only == (
        "No recipe is shown to save latency and to lose at most 1 point. The nearest by the estimates is a: it is 3.3x "
        "faster than fp32 eager (3.27 to 3.40); its loss may be up to 2.6 points: more test examples would show which."
    )


def test_disturbed_measurements_recommend_nothing() -> None:
    disturbed, problems = read_all(ROOT / "results" / "reference" / "gpu")
    assert not problems and len(disturbed) == 4
    assert lines(disturbed) == [
        "No recipe can be recommended: every measurement was disturbed (NOT RELIABLE). Run the recipes again."
    ]


def test_without_a_saving_the_reference_is_kept() -> None:
    (only,) = lines([made("a", 1.2, 0.0)])
    assert only.startswith("No recipe is shown to save latency and to lose at most 1 point. Keep fp32 eager")


def test_a_model_that_is_not_here_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lines([made("a", 0.5, 0.0, artifact="made/a")])[1:] == [
        "Its model was made in made/a, which is not here: run the recipe again."
    ]
    assert lines([made("a", 0.5, 0.0, artifact=None)])[1:] == [
        "Its model was not kept; run the recipe without --no-keep."
    ]
