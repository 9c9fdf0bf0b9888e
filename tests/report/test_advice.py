"""The recommendation below a table: the cheapest recipe that surely loses at most a point, and how to use it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import pytest
from scipy.stats import t

from compress.analysis.judging import judged
from compress.analysis.pareto import group
from compress.analysis.reading import read_all
from compress.base.config import InputError
from compress.records.files import write
from compress.records.result import Reference, Result
from compress.records.stats import Estimate
from compress.report.advice import advice
from compress.report.card import write_card
from compress.report.page.data import page_data
from compress.spec.recipe import Recipe
from tests import factory
from tests.helpers import ROOT

AGAIN = "run the recipe again (--fresh)"


def lines(results: Sequence[Result], folder: Path = Path("results")) -> list[str]:
    (table,) = group(list(results))
    return list(advice(table, folder))


def made(name: str, cost: float, delta: float, half: float = 0.002, **fields: object) -> Result:
    return factory.result(name, cost, delta, half=half, **fields)


def in_noise(result: Result) -> Result:
    """The same result, measured while something disturbed it."""
    return judged(replace(result, points=tuple(replace(p, unreliable=("drifted",)) for p in result.points)))


def test_the_cheapest_recipe_that_surely_loses_at_most_a_point_is_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stored = factory.stored(tmp_path / "made" / "b")
    rows = [made("a", 0.3, -0.03), made("b", 0.5, -0.004, **{**stored, "artifact": "made/b"}), made("c", 0.7, 0.0)]
    path = write(Path("results"), rows[1])
    found = lines(rows)
    assert found[0].startswith("Recommended: b. It is 2.0x faster than fp32 eager (1.94 to 2.06 adjusted) and loses ")
    assert "loses at most 1 point with 95 % confidence (jointly for 3 recipes)" in found[0]
    assert found[1:4] == [
        "Its model is in made/b. To load it:",
        "    from compress import load",
        '    model, processor = load("made/b")',
    ]
    assert found[-1] == f"Next: python -m compress card {path}"


def test_the_compression_alone_has_a_joint_interval_too() -> None:
    (stated,) = [line for line in lines(factory.family()) if line.startswith("Recommended: bert_int8.")]
    width = math.log(0.4896 / 0.48) * t.ppf(1 - 0.025 / 9, 4) / t.ppf(0.975, 4)  # nine recipes, five rounds
    low, high = (math.exp(sign * width) / 0.48 for sign in (-1, 1))
    assert f"The compression alone: 2.1x faster ({low:.2f} to {high:.2f} adjusted); the rest is " in stated


def test_a_loss_that_may_exceed_a_point_is_not_recommended() -> None:
    (only,) = lines([made("a", 0.3, -0.006, half=0.02)])
    assert only == (
        "No recipe is shown to save latency and to lose at most 1 point. The nearest by the estimates is a: it is 3.3x "
        "faster than fp32 eager (3.27 to 3.40); its loss may be up to 2.6 points: more test examples would show "
        "whether it is over 1 point."
    )


def test_a_compression_alone_that_may_be_nothing_is_not_shown() -> None:
    wide = factory.ratio(factory.ONNX, 2.8)
    (rows,) = [factory.family()]
    latency = Estimate(2.8, 0.00005, 136_000.0, 5)
    rows = [
        replace(r, points=tuple(replace(p, ratios=(*p.ratios[:-1], replace(wide, latency=latency))) for p in r.points))
        if r.name == "bert_int8"
        else r
        for r in rows
    ]
    (stated,) = [line for line in lines(rows) if line.startswith("Recommended: bert_int8.")]
    assert "What the compression alone contributes is not shown: 2.8x slower (" in stated
    assert "the rest is the runtime" not in stated


@pytest.mark.parametrize(("task", "page"), [("causal-lm", "deploy-llm"), ("text-classification", "deploy")])
def test_the_page_on_serving_is_that_of_the_task(task: str, page: str, tmp_path: Path) -> None:
    row = made("b", 0.5, 0.0, **factory.stored(tmp_path / "b"))
    found = lines([replace(row, workload={**row.workload, "task": task})])
    assert f"To serve it, see docs/{page}.md." in found


def test_a_shipped_recipe_is_run_again_by_its_name(tmp_path: Path) -> None:
    row = made("bert_int8", 0.5, 0.0, **factory.stored(tmp_path / "b"))
    row = replace(row, recipe=Recipe.load("bert_int8").model_dump(mode="json"))
    (tmp_path / "b" / "manifest.json").write_text("{}")
    command = "python -m compress run bert_int8 --fresh"
    assert lines([row])[1].endswith(f"holds a different model now (from another run): run it again: {command}.")
    with pytest.raises(InputError, match=f"different model .*; run it again: {command}"):
        write_card(row, tmp_path / "b")
    (table,) = group([row])
    assert page_data([table], None)["tables"][0]["use"]["commands"] == [command]
    (other,) = lines([replace(row, workload={**row.workload, "name": "my"}, limit=50)])[1:]
    assert other.endswith("run bert_int8 --workload my.yaml --limit 50 --fresh.")


def test_another_model_in_the_folder_is_not_offered(tmp_path: Path) -> None:
    stored = factory.stored(tmp_path / "model")
    assert lines([made("a", 0.5, 0.0, **stored)])[1].startswith("Its model is in ")
    (tmp_path / "model" / "manifest.json").write_text("{}")
    assert lines([made("a", 0.5, 0.0, **stored)])[1].endswith(
        f"holds a different model now (from another run): {AGAIN}."
    )
    (tmp_path / "model" / "manifest.json").unlink()
    assert lines([made("a", 0.5, 0.0, **stored)])[1].endswith(f"which is not here: {AGAIN}.")


def test_the_next_command_is_about_the_file_that_holds_this_very_result(tmp_path: Path) -> None:
    def command(result: Result) -> str | None:
        found = [line.removeprefix("Next: python -m compress card ") for line in lines([result], folder)
                 if line.startswith("Next: ")]  # fmt: skip
        return found[0] if found else None

    folder = tmp_path / "results"
    result = made("a", 0.5, 0.0, **factory.stored(tmp_path / "model"))
    assert command(result) is None  # no folder
    for other in ({"limit": 64}, {"created": "2025-06-06T10:00:00+00:00"}, {"session": "s2"}, {"name": "b"}):
        write(folder / "others" / "-".join(other), replace(result, **other))
        assert command(result) is None
    write(folder, replace(result, created="2026-06-06T10:00:00+00:00"))  # where its own would lie
    assert command(result) is None
    nested = write(folder / "cpu" / "test-split", result)
    assert command(result) == str(nested)
    renamed = nested.rename(nested.with_name("x.json"))
    assert command(result) == str(renamed)
    nearer = write(folder, result)  # a copy is as good
    assert command(result) == str(nearer)


def test_a_name_that_is_no_file_costs_the_next_command_only(tmp_path: Path) -> None:
    found = lines([made("a/b", 0.5, 0.0, **factory.stored(tmp_path / "model"))])
    assert found[1].startswith("Its model is in ") and not any(line.startswith("Next: ") for line in found)


def test_the_uncompressed_model_under_another_runtime_is_named_where_no_recipe_is() -> None:
    runtime = factory.reference("fp32 openvino", verdict=False, accuracy=factory.accuracy(0.9, half=0.002), cost=0.3)
    (only,) = lines([made("a", 1.2, 0.0, references=(factory.reference(), runtime))])
    assert "The uncompressed model under fp32 openvino is 3.3x faster (" in only
    # Bonferroni for both rows: 0.2 points x 2.241 / 1.960 of the metric, t(4) at 0.9875 for the ratio
    half = (math.log(1.02) - math.log(0.98)) / 2 * t.ppf(1 - 0.0125, 4) / t.ppf(0.975, 4)
    low, high = (math.exp(sign * half) / 0.3 for sign in (-1, 1))
    assert f"faster ({low:.3g} to {high:.3g} adjusted) and loses" in only
    assert only.endswith(
        "and loses at most 1 point with 95 % confidence (jointly for 2 rows, recipes and references)."
    ) and "Keep" not in only  # fmt: skip
    disturbed = replace(runtime, points=tuple(replace(p, unreliable=("drifted",)) for p in runtime.points))
    (only,) = lines([made("a", 1.2, 0.0, references=(factory.reference(), disturbed))])
    assert "openvino" not in only and "Keep fp32 eager" in only


def test_disturbed_measurements_recommend_nothing() -> None:
    disturbed, problems = read_all(ROOT / "results" / "reference" / "gpu")
    assert not problems and len(disturbed) == 4
    assert lines(disturbed) == [
        "No recipe can be recommended: every measurement was disturbed (NOT RELIABLE). Run the recipes again."
    ]


def test_a_row_that_surely_saves_is_recommended_before_a_cheaper_one_that_may_not() -> None:
    noisy, sure = made("noisy", 0.90, 0.0, half=0.001, spread=0.2), made("sure", 0.92, 0.0, half=0.001, spread=0.01)
    assert lines([noisy, sure])[0].startswith("Recommended: sure. ")


def test_a_saving_that_is_lost_among_many_recipes_is_not_recommended() -> None:
    rows = [made(f"r{i}", 1.0, 0.0, half=0.001, spread=0.05) for i in range(12)]
    faint = made("faint", 0.97, 0.0, half=0.001, spread=0.022)
    assert lines([faint])[0].startswith("Recommended: faint. ")
    (only,) = lines([*rows, faint])
    assert only == "No recipe is shown to save latency and to lose at most 1 point. Keep fp32 eager."


def test_the_loss_that_is_stated_is_the_one_that_was_judged() -> None:
    rows = [made(f"r{i}", 0.9 - 0.001 * i, 0.0, half=0.009, spread=0.01) for i in range(12)]
    (only,) = lines(rows)
    assert "The nearest by the estimates is r11" in only
    stated = float(only.partition("its loss may be up to ")[2].split()[0])
    # Bonferroni for 12 rows: 0.9 points x 2.865 / 1.960
    assert stated == pytest.approx(0.9 * NormalDist().inv_cdf(1 - 0.025 / 12) / NormalDist().inv_cdf(0.975), abs=0.05)
    assert stated > 1


def test_a_path_too_long_for_the_system_is_a_model_that_is_not_here() -> None:
    (line,) = lines([made("a", 0.5, 0.0, artifact="x" * 5000)])[1:]
    assert line.endswith(f"which is not here: {AGAIN}.") and len(line) < 400


def test_without_a_saving_the_reference_is_kept() -> None:
    (only,) = lines([made("a", 1.2, 0.0)])
    assert only == "No recipe is shown to save latency and to lose at most 1 point. Keep fp32 eager."


def test_milder_settings_are_for_recipes_that_save_and_lose_too_much() -> None:
    start = "No recipe is shown to save latency and to lose at most 1 point. Keep fp32 eager."
    (only,) = lines([made("slow", 1.2, 0.0), made("lossy", 0.5, -0.03), made("both", 1.3, -0.03)])
    assert only == f"{start} lossy saves latency, but loses more than 1 point: try milder settings (--set)."
    (only,) = lines([made(f"r{i}", 0.5 + i / 10, -0.03) for i in range(5)])
    assert only == (
        f"{start} r0, r1, r2 and 2 others save latency, but lose more than 1 point: try milder settings (--set)."
    )


def test_a_saver_that_was_disturbed_is_to_be_run_again() -> None:
    start = "No recipe is shown to save latency and to lose at most 1 point. Keep fp32 eager."
    disturbed = [in_noise(made(name, cost, delta)) for name, cost, delta in (
        ("a", 0.5, 0.0), ("slow", 1.4, 0.0), ("lossy", 0.4, -0.03)
    )]  # fmt: skip
    (only,) = lines([*disturbed, made("b", 1.2, 0.0)])
    again = "disturbed (NOT RELIABLE): run"
    assert only == f"{start} a may save latency, but was {again} it again on a quiet machine."
    (only,) = lines([*disturbed, made("b", 1.2, 0.0), in_noise(made("c", 0.9, 0.0))])
    assert only == f"{start} a and c may save latency, but were {again} them again on a quiet machine."


def test_a_loss_without_an_interval_is_named_as_such() -> None:
    delta = Estimate(-0.002, -math.inf, math.inf, 3)
    unknown = made("a", 0.3, 0.0, accuracy=factory.accuracy(0.888, delta=None))
    assert unknown.accuracy is not None
    reasons = {"delta_interval": "too few blocks"}
    (only,) = lines([judged(replace(unknown, accuracy=replace(unknown.accuracy, delta=delta, reasons=reasons)))])
    assert only.endswith("; its loss has no interval (too few blocks), so it may be over 1 point.")
    assert "inf" not in only
    (only,) = lines([judged(replace(unknown, accuracy=replace(unknown.accuracy, delta=delta)))])
    assert only.endswith("; its loss has no interval, so it may be over 1 point.")


def test_the_best_of_many_uncompressed_models_is_judged_jointly() -> None:
    """A half-width of 0.8 points alone shows a loss of at most 1 point, and among 8 rows (x 1.39) does not."""

    def runtimes(count: int) -> list[Reference]:
        return [
            factory.reference(f"fp32 r{i}", False, cost=0.3 + i / 10, accuracy=factory.accuracy(0.9, half=0.008))
            for i in range(count)
        ]

    for count, named in ((1, True), (7, False)):
        (only,) = lines([made("a", 1.2, 0.0, references=(factory.reference(), *runtimes(count)))])
        assert ("The uncompressed model under fp32 r0" in only) == named


def test_a_model_that_is_not_here_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lines([made("a", 0.5, 0.0, artifact="made/a")])[1:] == [
        f"Its model was made in made/a, which is not here: {AGAIN}."
    ]
    assert lines([made("a", 0.5, 0.0, artifact=None)])[1:] == [
        "Its model was not kept; run the recipe without --no-keep."
    ]
