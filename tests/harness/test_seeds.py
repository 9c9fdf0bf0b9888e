"""A recipe with several seeds, run on a small made model: artifacts, trace, figures, reuse and failures."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from compress import Recipe
from compress.analysis.comparison import compared
from compress.analysis.seeds import Spread
from compress.analysis.verify import verify
from compress.base.config import InputError
from compress.base.device import CPU
from compress.energy.meters import Absent
from compress.harness import build as building
from compress.harness import transform
from compress.harness.plan import Options, plan
from compress.harness.run import run_all
from compress.model.manifest import verify as manifest_of
from compress.records import trace
from compress.records.machine import describe
from compress.records.result import Result
from compress.report.describe import describe as lines_of
from tests.helpers import SHORT

STEP = {"method": "distill", "keep_every": 2, "max_steps": 4, "batch_size": 8, "learning_rate": 0.05, "dropout": True}


def recipe(**fields: Any) -> Recipe:
    return Recipe.model_validate({"name": "student", "steps": [STEP], "measure": SHORT, "seeds": [3, 1, 2], **fields})


def options(folder: Path, workload: Path, **fields: Any) -> Options:
    return Options(str(workload), "cpu", folder / "results", folder / "artifacts", **fields)


@pytest.fixture(scope="module")
def both(workload: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    """A run of a recipe with three seeds and one with two, which most tests here read."""
    folder = tmp_path_factory.mktemp("seeds")
    return folder, run_all([recipe(), recipe(name="other", seeds=[5, 6])], options(folder, workload))


@pytest.fixture(scope="module")
def made(both: tuple[Path, list[Result]]) -> tuple[Path, Result]:
    """The recipe with three seeds."""
    folder, results = both
    return folder, results[0]


def test_the_first_seed_is_measured_and_every_seed_evaluated(made: tuple[Path, Result]) -> None:
    folder, result = made
    assert result.error is None
    assert result.seed == 3
    assert result.recipe["seeds"] == [3, 1, 2]
    assert "seed" not in result.recipe
    assert result.artifact == str(folder / "artifacts" / "my" / "student")
    stored = trace.read(folder / "results" / str(result.trace))
    assert [runner.name for runner in stored.runners if not runner.name.endswith("eager")] == [
        "student", "student seed 1", "student seed 2", "other", "other seed 6",
    ]  # fmt: skip
    for runner in stored.runners[:-2]:
        further = runner.further_of == "student"
        assert further == runner.name.startswith("student seed")
        assert len(runner.outcomes["prediction"]) == 60
        assert (runner.points == ()) == further
        assert (runner.memory.memory_bytes is None) == further


def test_values_are_those_of_the_artifact_and_of_each_training(made: tuple[Path, Result]) -> None:
    folder, result = made
    stored, accuracy = trace.read(folder / "results" / str(result.trace)), result.accuracy
    assert accuracy is not None
    assert accuracy.delta is not None

    def right(name: str) -> float:
        outcomes = stored.runner(name).outcomes
        return sum(a == b for a, b in zip(outcomes["prediction"], outcomes["reference"], strict=True)) / 60

    expected = [right("student"), right("student seed 1"), right("student seed 2")]
    assert [entry.seed for entry in accuracy.seeds] == [3, 1, 2]
    assert [entry.value for entry in accuracy.seeds] == pytest.approx(expected)
    baseline = right(str(accuracy.reference))
    assert [entry.delta for entry in accuracy.seeds] == pytest.approx([value - baseline for value in expected])
    assert accuracy.estimate.value == pytest.approx(expected[0])
    assert len(set(expected)) > 1  # else this run could not show that intervals widen


def test_verify_computes_the_seeds_again(made: tuple[Path, Result], tmp_path: Path) -> None:
    folder, _ = made
    shutil.copytree(folder / "results", tmp_path / "results")
    (file,) = (tmp_path / "results" / "my").glob("student-*.json")
    assert verify(file).differences == ()
    text = file.read_text()
    assert '"seed": 1,' in text
    file.write_text(text.replace('"seed": 1,', '"seed": 5,', 1))
    assert verify(file).differences != ()


def test_every_model_is_stored_like_that_of_a_single_seed_and_reused(
    made: tuple[Path, Result], workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked_sessions: None
) -> None:
    folder, result = made
    shutil.copytree(folder / "artifacts", tmp_path / "artifacts")
    root = tmp_path / "artifacts" / "my"
    assert {path.name for path in root.iterdir() if not path.name.startswith(".")} == {
        "student", "student-seed-1", "student-seed-2", "other", "other-seed-6",
    }  # fmt: skip
    assert len({manifest_of(root / name).extra["fingerprint"] for name in ("student", "student-seed-1")}) == 2

    def refuse(*_: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(transform, "build", refuse)
    single = Recipe.model_validate({**recipe().model_dump(exclude={"seeds"}), "seed": 3})
    (alone,) = run_all([single], options(tmp_path, workload))
    assert alone.error is None
    assert alone.artifact_sha256 == result.artifact_sha256
    assert alone.accuracy is not None
    assert alone.accuracy.seeds == ()
    (planned,) = plan([recipe()], options(tmp_path, workload), describe(CPU))
    again = building.build(planned, options(tmp_path, workload), describe(CPU), Absent("none"))
    assert [each.recipe.seed for each in (again, *again.further)] == [3, 1, 2]


def test_the_cost_of_compressing_is_that_of_the_first_seed(made: tuple[Path, Result]) -> None:
    folder, result = made
    assert result.transform is not None
    own = manifest_of(folder / "artifacts" / "my" / "student").extra["transform"]
    assert result.transform.seconds == own["attempts"][0]["seconds"]
    assert "time and energy of compressing are those of seed 3; seeds 1, 2 are not counted" in result.notes


def test_show_names_the_trainings_and_whose_p_value_it_is(made: tuple[Path, Result]) -> None:
    accuracy = made[1].accuracy
    assert accuracy is not None
    values = [entry.value for entry in accuracy.seeds if entry.value is not None]
    text = "\n".join(lines_of(made[1]))
    assert f"3 trainings: {min(values):.4g} to {max(values):.4g}, standard deviation {accuracy.seed_spread:.4f}" in text
    assert "McNemar p of seed 3:" in text
    assert "runtime eager, seeds 3, 1, 2" in text


def test_a_training_that_fails_fails_the_recipe_and_leaves_nothing_half_kept(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = transform.build

    def fail_on_one(made: Recipe, *arguments: Any) -> None:
        if made.seed == 1:
            raise RuntimeError("the loss is not finite")
        build(made, *arguments)

    monkeypatch.setattr(transform, "build", fail_on_one)
    (result,) = run_all([recipe(seeds=[0, 1])], options(tmp_path, workload, keep=False))
    assert result.error == "RuntimeError: the loss is not finite"
    assert [p for p in (tmp_path / "artifacts" / "my").iterdir() if not p.name.endswith((".lock", ".work"))] == []


def test_a_model_of_a_further_seed_that_cannot_be_evaluated_is_the_recipes_error(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked_sessions: None
) -> None:
    build = building.build

    def damaged(*arguments: Any) -> Any:
        built = build(*arguments)
        (built.further[0].folder / "manifest.json").unlink()
        return built

    monkeypatch.setattr(building, "build", damaged)
    (result,) = run_all([recipe(seeds=[0, 1])], options(tmp_path, workload, keep=False))
    assert str(result.error).startswith("seed 1: ")
    assert "manifest" in str(result.error)
    assert [p for p in (tmp_path / "artifacts" / "my").iterdir() if not p.name.endswith((".lock", ".work"))] == []


def test_two_recipes_that_would_store_different_models_in_one_folder_are_refused(
    workload: Path, tmp_path: Path
) -> None:
    other = recipe(name="student-seed-1", steps=[{**STEP, "max_steps": 5}], seeds=[1, 4])
    with pytest.raises(InputError, match=r"student and student-seed-1 store different models in .*; rename one"):
        plan([recipe(), other], options(tmp_path, workload), describe(CPU))
    single = Recipe.model_validate({**recipe().model_dump(exclude={"seeds"}), "seed": 1, "name": "student-seed-1"})
    assert len(plan([recipe(), single], options(tmp_path, workload), describe(CPU))) == 2


def test_a_comparison_covers_the_seeds_of_both_recipes(both: tuple[Path, list[Result]]) -> None:
    folder, (one, two) = both
    comparison = compared(one, two, folder / "results")
    own, reference = comparison.accuracy, two.accuracy
    assert own.delta is not None
    assert reference is not None
    assert own.seed_spread is not None
    assert reference.seed_spread is not None
    least = (Spread(own.seed_spread, 3).half() ** 2 + Spread(reference.seed_spread, 2).half() ** 2) ** 0.5
    assert own.delta.high - own.delta.value >= least
    assert any(line.startswith("answers of the models of the first seeds:") for line in comparison.lines())


def test_every_process_trains_each_seed(workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    monkeypatch.setattr(transform, "build", lambda made, *_: trained.append(made.seed))
    (planned,) = plan([recipe()], options(tmp_path, workload), describe(CPU))
    building.train_along(planned, options(tmp_path, workload), describe(CPU))
    assert trained == [3, 1, 2]
