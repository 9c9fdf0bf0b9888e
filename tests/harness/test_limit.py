"""`--limit` limits training and calibration too, and its models are kept apart from those of all examples."""

from pathlib import Path
from typing import Any

import pytest

from compress import Recipe
from compress.base.device import CPU
from compress.data import loading
from compress.harness.plan import Options, plan
from compress.harness.run import run_all
from compress.model.manifest import verify
from compress.records.machine import describe
from tests.helpers import SHORT

STEP = {"method": "distill", "keep_every": 2, "max_steps": 4, "batch_size": 8, "learning_rate": 0.02}


def recipe(name: str, *steps: Any) -> Recipe:
    return Recipe.model_validate({"name": name, "steps": steps, "measure": SHORT})


def options(folder: Path, workload: Path, **fields: Any) -> Options:
    return Options(str(workload), "cpu", folder / "results", folder / "artifacts", **fields)


def test_only_recipes_that_learn_have_a_model_for_every_limit(workload: Path, tmp_path: Path) -> None:
    recipes = [recipe("student", STEP), recipe("cast", {"method": "cast", "dtype": "bf16"})]
    whole = plan(recipes, options(tmp_path, workload), describe(CPU))
    limited = plan(recipes, options(tmp_path, workload, limit=12), describe(CPU))
    assert [planned.folder.name for planned in whole] == ["student", "cast"]
    assert [planned.folder.name for planned in limited] == ["student-limit12", "cast"]
    same = [a.transform_fingerprint == b.transform_fingerprint for a, b in zip(whole, limited, strict=True)]
    assert same == [False, True]
    other = plan(recipes, options(tmp_path, workload, limit=13), describe(CPU))
    assert other[0].transform_fingerprint != limited[0].transform_fingerprint


def test_a_limited_run_trains_on_as_many_examples_and_leaves_the_whole_model(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forked_sessions: None
) -> None:
    student = recipe("student", STEP)
    (whole,) = run_all([student], options(tmp_path, workload))
    before = (tmp_path / "artifacts" / "my" / "student" / "manifest.json").read_bytes()
    used: list[int] = []
    load = loading.load_examples

    def counted(source: Any, split: str, *given: Any, **named: Any) -> Any:
        examples = load(source, split, *given, **named)  # type: ignore[arg-type]
        used.extend([len(examples)] if split == "train" and named.get("limit") else [])
        return examples

    monkeypatch.setattr(loading, "load_examples", counted)
    (limited,) = run_all([student], options(tmp_path, workload, limit=12))
    assert whole.error is limited.error is None
    assert set(used) == {12}
    assert limited.artifact == str(tmp_path / "artifacts" / "my" / "student-limit12")
    assert (tmp_path / "artifacts" / "my" / "student" / "manifest.json").read_bytes() == before
    notes = verify(Path(limited.artifact)).extra["notes"]
    assert "--limit 12: trained and calibrated on at most 12 examples" in notes
    assert "--limit 12: trained and calibrated on at most 12 examples" in limited.notes
