"""The plan of a run: its stages with minutes, from past stages of this machine; `--dry-run` runs nothing."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.base import devices
from compress.base.devices import pick
from compress.base.errors import InputError
from compress.data.workload import Workload
from compress.harness import forecast
from compress.harness.forecast import Work, lines
from compress.harness.pacing import key_of, note_session, steps_of
from compress.harness.plan import Options
from compress.records import machine as machines
from compress.records import pace
from compress.records.pace import Past
from compress.records.session import RunnerPoint, Shape
from compress.spec.recipe import Recipe
from tests.helpers import QUICK

Run = Callable[..., tuple[int, str, str]]
SIZE = 1_000_000
SST2 = Workload.model_validate(
    {
        "name": "sst2",
        "task": "text-classification",
        "model": "m",
        "dataset": {"path": "d", "test": "t", "text": "text", "label": "label"},
        "headline": {"batch_size": 8, "sequence_length": 64},
    }
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(devices, "computes_bf16", lambda _: False)


def recipe(name: str, **fields: Any) -> Recipe:
    return Recipe.model_validate({"name": name, "measure": {"profile": "quick"}, **fields})


def text(*work: Work) -> list[str]:
    return list(lines(work, Options(), machines.describe(pick("cpu"))))


def test_a_first_run_is_guessed_and_says_so() -> None:
    found = text(Work(recipe("a"), SST2, SIZE))
    assert [line.split()[0] for line in found] == ["compress", "models", "rounds", "together"]
    assert all("(a rough guess)" in line for line in found[:2])
    # 16 rounds of 2 models of 0.25 s, and 7 at the natural point
    assert found[2] == "  rounds        of 2 models in turn: 12 s to 1.5 min"
    assert found[-1].endswith("; the next run is estimated from this one")


def test_past_stages_of_the_same_work_are_the_estimate() -> None:
    device, made = machines.describe(pick("cpu")).device_name, recipe("a")
    pace.note(Past("compress", key_of("sst2", made.transform_fingerprint, None, device), SIZE, 30.0))
    pace.note(Past("models", key_of("sst2", "", None, device), SIZE, 10.0))
    found = text(Work(made, SST2, SIZE))
    assert found == [
        "  compress      a: 30 s",
        "  models        2 are evaluated, 2 warmed up: 20 s",  # fp32 eager too
        "  rounds        of 2 models in turn: 12 s to 1.5 min",
        "  together      about 62 s to 2.3 min",
    ]


def test_few_examples_never_take_longer_than_all() -> None:
    """Without a past run of this limit, and with one of another recipe that was slow."""
    device = machines.describe(pick("cpu")).device_name
    pace.note(Past("models", key_of("sst2", "", None, device), SIZE, 2.0))

    def limited() -> str:
        work = [Work(recipe("a"), SST2, SIZE, compressed=True)]
        return next(iter(lines(work, Options(limit=100), machines.describe(pick("cpu")))))

    assert limited() == "  models        2 are evaluated, 2 warmed up: 4 s (a rough guess)"
    pace.note(Past("models", key_of("other", "", 100, device), SIZE, 60.0))
    assert limited() == "  models        2 are evaluated, 2 warmed up: 4 s (a rough guess)"
    pace.note(Past("models", key_of("other", "", 100, device), SIZE, 1.0))
    pace.note(Past("models", key_of("other", "", 100, device), SIZE, 1.0))
    assert limited() == "  models        2 are evaluated, 2 warmed up: 2 s (a rough guess)"


def test_the_plan_states_why_a_result_on_disk_is_measured_again() -> None:
    found = text(Work(recipe("a"), SST2, SIZE, again="the recipe differs"), Work(recipe("b"), SST2, SIZE))
    assert found[0] == "  again         a: the result on disk is replaced (the recipe differs)"
    assert not any("b: the result" in line for line in found)


def test_training_is_not_estimated_by_recipes_that_do_not_train() -> None:
    device = machines.describe(pick("cpu")).device_name
    pace.note(Past("compress", key_of("sst2", "other", None, device), SIZE, 1.0))
    student = recipe("a", steps=[{"method": "distill"}])
    assert text(Work(recipe("b"), SST2, SIZE))[0] == "  compress      b: 1 s (a rough guess)"
    assert text(Work(student, SST2, SIZE))[0] == "  compress      a: 45 s (a rough guess)"
    pace.note(Past("train", key_of("sst2", "other", None, device), 2 * SIZE * 3000, 60.0))
    # 15 s and, of 3,000 steps, 30 s a megabyte are guessed: 75 s there, which took 60 s, hence 36 s here
    assert text(Work(student, SST2, SIZE))[0] == "  compress      a: 36 s (a rough guess)"
    pace.note(Past("train", key_of("sst2", "other", 50, device), SIZE, 1.0))  # a first look at few examples
    assert text(Work(student, SST2, SIZE))[0] == "  compress      a: 36 s (a rough guess)"


@pytest.mark.parametrize(
    ("step", "limit", "expected"),
    [
        ({"max_steps": 300}, None, 300), ({}, None, 3000), ({"max_steps": 300, "batch_size": 128}, None, 1200),
        ({"epochs": 3}, 50, 6), ({"epochs": 3, "max_steps": 4}, 50, 4),
        ({"accumulation": 2, "max_steps": 10}, None, 20),
    ],
)  # fmt: skip
def test_training_is_estimated_by_its_optimizer_steps(step: dict[str, Any], limit: int | None, expected: int) -> None:
    assert steps_of(recipe("a", steps=[{"method": "distill", **step}]), limit) == expected
    assert steps_of(recipe("b", steps=[{"method": "quantize", "bits": 8}]), limit) == 1


def test_what_is_done_is_not_counted_again() -> None:
    done = Work(recipe("a"), SST2, SIZE, measured=True, compressed=True)
    assert text(done) == ["  unchanged     a: results on disk are reused"]
    found = text(done, Work(recipe("b"), SST2, SIZE, compressed=True))
    assert not [line for line in found if "compress" in line]
    assert "models        2 " in found[1]


def test_graphs_need_their_dense_model() -> None:
    found = text(Work(recipe("a", runtime="onnxruntime"), SST2, SIZE))
    assert found[1].startswith("  references    the dense model under onnxruntime: ")
    assert found[2].startswith("  models        3 ")
    found = text(Work(recipe("a", runtime="onnxruntime"), SST2, SIZE, exported=True))
    assert found[1].startswith("  models        3 ")


def test_the_time_apart_from_rounds_is_noted_per_model() -> None:
    def point(seconds: float) -> RunnerPoint:
        return RunnerPoint(Shape(1, 8), rounds_s=seconds)

    runners = [SimpleNamespace(points=(point(20.0), point(10.0))), SimpleNamespace(points=(point(20.0),))]
    session: Any = SimpleNamespace(runners=runners)
    job: Any = SimpleNamespace(
        workload=SimpleNamespace(name="w"), limit=8, evaluates=True, runners=(1, 2), source=SimpleNamespace(model="no")
    )
    machine: Any = SimpleNamespace(device_name="cpu")
    note_session(job, [session], 100.0, machine)
    (past,) = pace.read()
    assert (past.key, past.seconds) == ("w |  | 8 | cpu", (100 - 30) / 2)
    note_session(job, [session, session], 100.0, machine)  # one may be kept from an earlier run
    assert len(pace.read()) == 1


def test_sessions_points_and_seeds_are_counted() -> None:
    publish = recipe("a", measure={"profile": "publish"})
    rounds = [line for line in text(Work(publish, SST2, SIZE)) if "rounds" in line]
    assert rounds == ["  rounds        of 2 models in turn, in 3 sessions: 48 min"]  # 3 x 2 points x 11 x 2 x 22 s
    quick = recipe("a", measure={"profile": "quick", "sessions": 3})
    rounds = [line for line in text(Work(quick, SST2, SIZE)) if "rounds" in line]
    assert rounds == ["  rounds        of 2 models in turn, in 3 sessions: 34 s to 4.5 min"]
    device, step = machines.describe(pick("cpu")).device_name, {"method": "distill"}
    seeds = recipe("a", steps=[step], seeds=[0, 1, 2])
    pace.note(Past("models", key_of("sst2", "", None, device), SIZE, 10.0))
    found = text(Work(seeds, SST2, SIZE))
    assert found[0].startswith("  compress      a, 3 seeds: 2.2 min")  # 45 s each
    assert found[1] == "  models        4 are evaluated, 2 warmed up: 40 s"


def test_a_dry_run_refuses_what_the_run_refuses(run: Run, workload: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    text_of = workload.read_text().replace("text: text", "text: nonexist")
    wrong.write_text(text_of.replace("model: model", f"model: {workload.parent / 'model'}"))
    wrong.write_text(wrong.read_text().replace("path: data", f"path: {workload.parent / 'data'}"))
    code, _, err = run("run", "bert_bf16", "--workload", wrong, "--device", "cpu", "--dry-run")
    assert code == 2
    assert "no text column 'nonexist'" in err


def test_a_dry_run_prints_the_plan_and_writes_nothing(run: Run, workload: Path, tmp_path: Path) -> None:
    places = ("--out", tmp_path / "results", "--artifacts", tmp_path / "artifacts")
    command = ("run", "bert_bf16", "--workload", workload, "--device", "cpu", *QUICK, *places)
    code, out, _ = run(*command, "--dry-run")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["compress", "models", "rounds", "together"]
    assert not list(tmp_path.rglob("*"))


def test_a_dry_run_trains_no_offline_workload(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("run", "bert_bf16", "--workload", "stdlib-bert", "--device", "cpu", "--dry-run")
    assert code == 0
    assert out.splitlines()[0] == "  workload      stdlib-bert is made, once: 2.0 min (a rough guess)"
    assert not (tmp_path / "cache").exists()


def test_a_dry_run_names_what_is_left_out_and_whether_nothing_is_left(run: Run, workload: Path) -> None:
    command = ("--workload", workload, "--device", "cpu", "--fitting", "--dry-run")
    reason = "  bert_fp16 is left out: fp16 is for GPUs; a CPU computes it slower than fp32"
    code, out, _ = run("run", "bert_fp16", *command)
    assert code == 0
    assert out.splitlines() == [reason, "  nothing is left to run: every recipe is left out (--fitting)"]
    code, out, _ = run("run", "bert_fp16", "bert_dense", *command)
    assert code == 0
    assert out.splitlines()[0] == reason and "nothing is left" not in out and "  together " in out


def test_a_run_prints_its_plan_and_the_next_one_knows_its_times(
    run: Run, workload: Path, tmp_path: Path, forked_sessions: None
) -> None:
    places = ("--out", tmp_path / "results", "--artifacts", tmp_path / "artifacts")
    command = ("run", "bert_bf16", "--workload", workload, "--device", "cpu", *QUICK, *places)
    code, _, err = run(*command)
    assert code == 0
    assert "plan\n  compress      bert_bf16: " in err
    code, out, _ = run(*command, "--dry-run")
    assert out.splitlines() == ["  unchanged     bert_bf16: results on disk are reused"]
    code, out, _ = run(*command, "--rebuild", "--dry-run")
    assert "rough" not in out and out.splitlines()[0].startswith("  compress      bert_bf16: ")


def test_the_plan_comes_before_an_offline_workload_is_trained(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begins(name: str) -> Path:
        raise InputError(f"training of {name} begins")

    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("compress.data.offline.ensure", begins)
    places = ("--out", tmp_path / "results", "--artifacts", tmp_path / "artifacts")
    code, _, err = run("run", "bert_int8", "--device", "cpu", *places)
    assert code == 2
    assert err.index("plan\n  workload      stdlib-bert is made, once: ") < err.index("  together ")
    assert err.index("  together ") < err.index("training of stdlib-bert begins")


def test_a_dry_run_states_why_a_recipe_is_measured_again(
    run: Run, workload: Path, tmp_path: Path, forked_sessions: None
) -> None:
    places = ("--out", tmp_path / "results", "--artifacts", tmp_path / "artifacts", "--workload", workload)
    command = ("run", "bert_bf16", *places, "--device", "cpu", *QUICK)

    def first(*more: object) -> str:
        return run(*command, "--dry-run", *more)[1].splitlines()[0]

    assert run(*command)[0] == 0
    assert first() == "  unchanged     bert_bf16: results on disk are reused"
    again = "  again         bert_bf16: the result on disk is replaced"
    assert first("--set", "measure.margin=0.6pt") == f"{again} (the recipe differs)"
    (result,) = (tmp_path / "results").rglob("bert_bf16*.json")
    kept = result.read_text()
    result.write_text(kept.replace('"fingerprint": "', '"fingerprint": "0'))
    assert first() == f"{again} (the workload, the code, the libraries or the machine differ)"
    result.write_text("{")
    assert first() == f"{again} (its result cannot be read)"


def test_a_graph_in_the_cache_is_not_exported_again(
    run: Run, workload: Path, tmp_path: Path, forked_sessions: None
) -> None:
    places = ("--out", tmp_path / "results", "--artifacts", tmp_path / "artifacts", "--workload", workload)

    def stages(name: str) -> list[str]:
        return [line.split()[0] for line in run("run", name, *places, "--dry-run", "--rebuild")[1].splitlines()]

    assert "references" in stages("bert_int8")
    assert run("run", "bert_int8", *places, "--device", "cpu", *QUICK)[0] == 0
    assert stages("bert_int8") == ["compress", "models", "rounds", "together"]
    assert "references" in stages("openvino_int8")


def test_errors_of_a_dry_run_are_those_of_the_run(run: Run) -> None:
    code, _, err = run("run", "bert_bf16", "--workload", "no_such", "--dry-run")
    assert code == 2
    assert "no_such" in err
    assert forecast.weight_bytes("org/model-on-the-hub") == 5_000_000
