"""`compress map` from a recipe to its table: a small BERT, a real small Llama, the plan, and what is refused."""

import json
from pathlib import Path

import pytest

from compress.base.config import InputError
from compress.data.grid import Grid
from compress.harness.mapping import POINT_S, measured_for
from compress.harness.plan import Options
from compress.records import files
from compress.spec.measure import PRECISION, Measure
from compress.spec.recipe import Recipe
from tests.helpers import QUICK, assets, compress, write_workload


def test_a_classifier_is_measured_at_every_point_and_its_result_is_an_ordinary_one(
    workload: Path, tmp_path: Path
) -> None:
    options = ("--workload", workload, "--batch", "1,2", "--length", "8,24", "--limit", "16", *QUICK)
    done = compress("map", "bert_bf16", "bert_int8", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": latency / that of") == 2 and "hold jointly for 8 ratios" in done.stdout
    assert "batch 1 " in done.stdout and "length 24" in done.stdout
    paths = sorted((tmp_path / "maps" / "my").glob("*.json"))
    assert [path.name.partition("-")[0] for path in paths] == ["bert_bf16", "bert_int8"]
    for path in paths:
        assert all(path.with_suffix(suffix).is_file() for suffix in (".png", ".svg", ".csv"))
        headline, own, *grid = files.read(path).points
        assert (headline.batch_size, headline.sequence_length, headline.headline) == (4, 16, True)
        assert own.natural is not None
        assert [(p.batch_size, p.sequence_length) for p in grid] == [(1, 8), (1, 24), (2, 8), (2, 24)]
    for command in ("verify", "show"):
        told = compress(command, *paths, cwd=tmp_path)
        assert told.returncode == 0, told.stdout
    drawn = compress("plot", paths[0], "--kind", "map", "--out", "map.svg", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    again = compress("map", "bert_bf16", "bert_int8", *options, cwd=tmp_path)
    assert again.stderr.count("unchanged, result is reused") == 2 and again.stdout == done.stdout
    told = compress("run", "bert_bf16", "--workload", workload, "--limit", "16", *QUICK, cwd=tmp_path)
    assert (
        "quantize" not in told.stderr and "compress      bert_bf16" not in told.stderr
    )  # the map's artifact is reused


def test_a_language_model_is_mapped_in_either_phase(tmp_path: Path) -> None:
    """On stories260K; contexts reach beyond max_length, up to the model's positions less the new tokens."""
    story = assets("data", "tinystories", "cs336_sample.txt").read_text(encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test.txt").write_text(story[:1500], encoding="utf-8")
    model = assets("models", "stories260K")
    (tmp_path / "my.yaml").write_text(
        f"task: causal-lm\nmodel: {json.dumps(str(model))}\ndataset: {{path: data, train: null, test: test}}\n"
        "max_length: 64\nheadline: {phase: decode, batch_size: 1, context: 32, new_tokens: 4}\n"
    )
    for phase, lengths in (("decode", "32,200"), ("prefill", "200")):
        options = ("--batch", "1,3", "--length", lengths, "--phase", phase, "--out", phase, "--device", "cpu", *QUICK)
        done = compress("map", "llama_bf16", "--workload", "my.yaml", *options, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / phase / "my").glob("*.json")
        found = [(p.phase, p.batch_size, p.sequence_length) for p in files.read(path).points]
        assert found[:2] == [("decode", 1, 32), ("prefill", 1, 32)]  # the headline, its companion
        expected = [("decode", 1, 200), ("decode", 3, 32), ("decode", 3, 200)]
        assert found[2:] == (expected if phase == "decode" else [("prefill", 1, 200), ("prefill", 3, 200)])
        assert compress("verify", path, cwd=tmp_path).returncode == 0
    too_long = compress("map", "llama_bf16", "--workload", "my.yaml", "--length", "509", cwd=tmp_path)
    assert too_long.returncode == 2
    assert "--length of the map: expected at most 508 (4 generated tokens follow)" in too_long.stderr
    assert too_long.stderr.count("error") == 1 and "plan" not in too_long.stderr  # refused before the plan


def test_bad_grids_are_refused_before_anything_is_loaded(workload: Path, tmp_path: Path) -> None:
    for options, said in (
        (("--batch", "0"), "--batch 0: 0 is not between 1"),
        (("--length", "x"), "--length x: 'x' is not a whole number"),
        (("--batch", "8,8"), "8 is there twice"),
        (("--phase", "decode"), "only language models"),
        (("--length", "4096"), "reads at most 64 tokens; --length of the map: expected at most 64"),
    ):
        done = compress("map", "bert_bf16", "--workload", workload, *options, cwd=tmp_path)
        assert done.returncode == 2, done.stdout
        assert said in done.stderr
        assert not list(tmp_path.iterdir())


def test_fixed_padding_has_no_longer_texts(tmp_path: Path) -> None:
    path = write_workload(tmp_path / "w")
    done = compress("map", "padding_fixed", "--workload", path, "--batch", "1", "--length", "48", cwd=tmp_path)
    assert done.returncode == 2
    assert "pads every text to max_length 32; expected no longer --length, got 48" in done.stderr


def test_the_plan_counts_the_points_and_measures_nothing(workload: Path, tmp_path: Path) -> None:
    options = ("--workload", workload, "--batch", "1,2,4", "--length", "8,24", "--dry-run", "--limit", "16")
    done = compress("map", "bert_bf16", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rounds        of" in done.stdout and "together" in done.stdout
    assert not list(tmp_path.iterdir())


def test_every_point_gets_time_unless_the_recipe_states_a_budget() -> None:
    grid, options = Grid((1, 8, 32), (32, 128, 512)), Options(device="cpu")
    plain, own, rounds = (
        Recipe(name=name, measure=measure)
        for name, measure in (
            ("plain", Measure(profile="quick", points="all")),
            ("own", Measure(profile="quick", budget_s=7)),
            ("rounds", Measure(profile="standard")),
        )
    )
    found = [r.measure.resolved(False) for r in measured_for([plain, own, rounds], grid, options)]
    assert [settings.points for settings in found] == ["headline"] * 3
    assert [settings.budget_s for settings in found] == [(3 + 1 + 9) * POINT_S, 7, None]
    assert [settings.precision for settings in found] == [PRECISION, PRECISION, None]


def test_one_call_of_several_workloads_refuses_those_without_lengths(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="digits-vit is of image-classification"):
        from compress.harness.mapping import preview_map

        preview_map([Recipe.load("vit_int8")], Grid((1,), (32,)), Options(out=tmp_path / "maps"))
