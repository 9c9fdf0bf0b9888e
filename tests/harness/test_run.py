"""Whole runs as a user starts them, on a small made model: results, artifacts, reuse, figures computed again."""

import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest

from compress import Recipe, load, run
from compress.analysis import metrics
from compress.analysis.comparison import compared
from compress.analysis.external import attach
from compress.base.config import InputError
from compress.base.device import CPU
from compress.cli.options import load_recipes
from compress.energy.meters import Absent
from compress.harness import build as building
from compress.harness.plan import Options, Planned, plan, standing
from compress.records import files as result_files
from compress.records import trace
from compress.records.machine import describe
from compress.records.session import Session
from compress.report.card import measured_manifest
from tests import factory
from tests.analysis.test_metrics import OWN
from tests.helpers import QUICK, SHORT, compress, environment, read_result, sentences, tokenizer, trained_bert


@pytest.fixture(scope="module")
def finished(workload: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One run of five recipes, which most tests here read."""
    folder = tmp_path_factory.mktemp("run")
    names = ("bert_dense", "bert_int8", "bert_int4", "bert_sparse", "bert_lowrank")
    return folder, compress("run", *names, "--workload", workload, *QUICK, cwd=folder, started=True)


def test_a_run_ends_well_prints_the_table_and_says_nothing_of_the_libraries(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    _, done = finished
    assert done.returncode == 0, done.stderr
    assert "bert_int8" in done.stdout
    for named in ("results: results/", "artifacts: artifacts", "python -m compress pareto results"):
        assert named in done.stderr and named not in done.stdout
    for noise in ("Warning", "Failed to load", "USDT", "Loading weights", "Traceback"):
        assert noise not in done.stderr, done.stderr


def test_every_figure_is_there_or_null_with_a_reason(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    for name in ("bert_dense", "bert_int8", "bert_int4", "bert_sparse", "bert_lowrank"):
        result = read_result(folder, name)
        assert result.error is None
        assert result.accuracy is not None
        assert result.accuracy.estimate.n == 60
        assert result.accuracy.estimate.low <= result.accuracy.estimate.value <= result.accuracy.estimate.high
        point = result.headline
        assert point is not None
        assert point.latency_s.n == 3
        assert (point.batch_size, point.sequence_length) == (4, 16)
        if point.energy_source == "modelled":
            assert point.grade == "E"
            assert "modelled" in str(point.energy_reason)
        assert point.energy_j is None or point.energy_j.value > 0
        assert point.latency_percentiles_s.p99 is None or point.latency_percentiles_s.n >= 300
        assert result.size is not None
        assert (result.size.memory_bytes is not None and result.size.memory_bytes > 0) or result.size.reason
        assert result.verdict is not None
        assert "accuracy" in result.verdict.sentence
        assert result.breakeven is not None
        assert (result.breakeven.inferences is None) == (result.breakeven.reason is not None)
        assert result.kernel is not None
        assert result.kernel.evidence


def test_the_settings_of_the_session_are_recorded_by_value(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    for name in ("bert_dense", "bert_int8"):
        settings = read_result(folder, name).settings
        assert {field: getattr(settings, field) for field in SHORT} == SHORT
        assert (settings.precision, settings.budget_s, settings.sessions) == (None, None, 1)
        assert settings.profile in ("quick", "standard")


def test_layer_changes_and_texts_of_changed_answers_are_recorded(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    lowrank, int4, sparse = (read_result(folder, f"bert_{name}").layers for name in ("lowrank", "int4", "sparse"))
    assert all(layer.rank and len(layer.shape) == 2 and layer.stored_bytes > 0 for layer in lowrank)
    assert {layer.bits for layer in int4} == {4}
    assert all(0.6 < layer.sparsity < 0.8 for layer in sparse)
    assert read_result(folder, "bert_int8").layers[0].stored_bytes is None  # inside an exported graph
    trace = folder / "results" / read_result(folder, "bert_lowrank").trace
    kept = pq.read_table(trace / "examples.parquet").to_pylist()
    answers = pq.read_table(trace / "outcomes.parquet").to_pylist()
    theirs = {row["example"]: row["prediction"] for row in answers if row["runner"] == "bf16 eager"}
    theirs = theirs or {row["example"]: row["prediction"] for row in answers if row["runner"] == "fp32 eager"}
    changed = {row["example"] for row in answers if row["prediction"] != theirs[row["example"]]}
    assert {row["example"] for row in kept} == changed
    texts = sentences(60, 2)["text"]
    assert all(row["text"] == texts[row["example"]] for row in kept)


def test_kernel_labels_come_from_what_ran(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    labels = {}
    for name in ("bert_dense", "bert_int8", "bert_int4", "bert_sparse"):
        kernel = read_result(folder, name).kernel
        assert kernel is not None
        labels[name] = kernel.label
    assert labels == {"bert_dense": "real", "bert_int8": "real", "bert_int4": "dequantized", "bert_sparse": "masked"}


def test_references_are_always_there_and_one_of_them_carries_the_verdicts(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    result = read_result(folder, "bert_int8")
    names = [reference.name for reference in result.references]
    assert names[0] == "fp32 eager"
    assert "fp32 onnxruntime" in names
    assert all(reference.size.stored_bytes > 0 for reference in result.references)
    assert sum(reference.verdict_reference for reference in result.references) == 1
    assert result.verdict_reference is not None
    slower = any("bf16 eager costs more than fp32 eager on this device" in note for note in result.notes)
    assert result.verdict_reference.name == ("bf16 eager" if "bf16 eager" in names and not slower else "fp32 eager")


def test_int8_reports_its_batch_sensitivity_and_is_evaluated_at_the_headline_batch(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    int8, dense = read_result(folder, "bert_int8").accuracy, read_result(folder, "bert_dense").accuracy
    assert int8 is not None
    assert dense is not None
    assert (int8.batch_size, int8.order) == (4, "by length")
    assert int8.batch_sensitivity is not None
    assert dense.batch_sensitivity is None


def test_raw_rounds_recompute_the_latency(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    point = read_result(folder, "bert_lowrank").headline
    assert point is not None
    by_hand = [r.duration_s / r.batches for r in point.rounds]
    assert point.latency_s.value == pytest.approx(statistics.geometric_mean(by_hand), rel=1e-9)
    assert sorted(r.index for r in point.rounds) == [1, 2, 3]


def test_artifacts_load_in_this_process_and_answer_like_the_model_they_came_from(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    from transformers import pipeline

    folder, _ = finished
    for name in ("bert_dense", "bert_int8", "bert_lowrank"):
        model, tokens = load(folder / "artifacts" / "my" / name)
        answers = pipeline("text-classification", model=model, tokenizer=tokens)(["the film was great", "a poor plot"])
        assert [answer["label"] for answer in answers] == ["LABEL_1", "LABEL_0"], name


def test_a_second_run_reruns_nothing_and_a_changed_setting_reruns(
    finished: tuple[Path, subprocess.CompletedProcess[str]], workload: Path
) -> None:
    folder, _ = finished
    before = read_result(folder, "bert_sparse")
    again = compress("run", "bert_sparse", "--workload", workload, *QUICK, cwd=folder)
    assert again.returncode == 0
    assert "result is reused" in again.stderr
    assert read_result(folder, "bert_sparse") == before
    changed = compress("run", "bert_sparse", "--workload", workload, *QUICK, "--limit", "30", cwd=folder)
    assert changed.returncode == 0, changed.stderr
    after = read_result(folder, "bert_sparse", limit=30)
    assert after.fingerprint != before.fingerprint
    assert read_result(folder, "bert_sparse") == before
    assert after.accuracy is not None
    assert after.accuracy.estimate.n == 30
    assert "artifact unchanged" in changed.stderr
    assert "30" in changed.stdout


def test_pareto_makes_its_files_from_results_alone_and_never_imports_torch(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, _ = finished
    program = (
        "import sys; sys.argv = ['compress', 'pareto', sys.argv[1], '--out', sys.argv[2]]\n"
        "from compress.cli import app\n"
        "try: app()\nexcept SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "results"), str(tmp_path)],
        capture_output=True, text=True, check=False, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {"pareto.md", "pareto.csv", "pareto.html"} <= {path.name for path in tmp_path.iterdir()}
    assert list(tmp_path.glob("pareto*.png"))  # one a table: with a limited result beside whole ones there are several


def test_show_reads_one_result(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    (path,) = (folder / "results" / "my").glob("bert_int8-*.json")
    done = compress("show", path, cwd=folder)
    assert done.returncode == 0, done.stderr
    for words in ("accuracy:", "latency", "kernels: real", "break-even", "quantize"):
        assert words in done.stdout


def test_verify_computes_every_figure_again_and_finds_the_one_that_was_changed(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, _ = finished
    files = sorted((folder / "results" / "my").glob("*.json"))
    done = compress("verify", *files, cwd=folder)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("0 differ from the trace") == len(files) >= 5
    shutil.copytree(folder / "results", tmp_path / "results")
    changed = tmp_path / "results" / "my" / files[0].name
    content = json.loads(changed.read_text())
    content["points"][0]["latency_s"]["value"] *= 1 + 1e-7
    content["accuracy"]["flip_rate"] = 0.5
    content["transform"]["energy_j"] += 1e-3
    content["seed"] += 1
    content["limit"] = 7
    changed.write_text(json.dumps(content))
    told = compress("verify", changed, cwd=folder)
    assert told.returncode == 1
    assert "points[0].latency_s.value: stored" in told.stdout
    assert "accuracy.flip_rate: stored 0.5" in told.stdout
    assert "transform.energy_j: stored" in told.stdout
    assert "seed: stored 1, from the trace 0" in told.stdout
    assert "limit: stored 7, from the trace" in told.stdout
    assert "5 differ" in told.stdout
    assert told.stdout.count("not recomputed") == 1 and "sizes, kernels, layers" in told.stdout


def test_a_trace_that_is_damaged_or_gone_is_one_error(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, _ = finished
    shutil.copytree(folder / "results", tmp_path / "results")
    file = next((tmp_path / "results" / "my").glob("bert_int8-*.json"))
    windows = tmp_path / "results" / str(result_files.read(file).trace) / "windows.parquet"
    windows.write_bytes(windows.read_bytes()[:100])
    damaged = compress("verify", file, cwd=folder)
    windows.unlink()
    gone = compress("verify", file, cwd=folder)
    assert (damaged.returncode, gone.returncode) == (2, 2)
    assert "the trace cannot be read" in damaged.stderr
    assert "windows.parquet is missing" in gone.stderr
    assert "Traceback" not in damaged.stderr + gone.stderr


def test_verify_agrees_also_where_numpy_has_none_of_its_fast_code(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    (file,) = (folder / "results" / "my").glob("bert_int8-*.json")
    plain = {
        **environment(),
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "compress", "verify", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differ" in done.stdout


def test_two_recipes_of_one_session_are_compared_directly(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, _ = finished
    one, two = read_result(folder, "bert_int8"), read_result(folder, "bert_dense")
    told = compared(one, two, folder / "results")
    ours, theirs = ([r.duration_s / r.batches for r in each.headline.rounds] for each in (one, two))
    (ratio,) = told.point.ratios
    assert ratio.reference == "bert_dense"
    by_hand = statistics.geometric_mean(a / b for a, b in zip(ours, theirs, strict=True))
    assert ratio.latency.value == pytest.approx(by_hand, rel=1e-9)
    assert told.verdict.sentence.endswith("against bert_dense")
    assert told.lines()[0].startswith("bert_int8 against bert_dense: ")
    again = compared(two, one, folder / "results")
    assert again.point.ratios[0].latency.value == pytest.approx(1 / ratio.latency.value)
    assert again.accuracy.mcnemar_p == told.accuracy.mcnemar_p


def test_comparing_results_of_two_sessions_measures_again_and_never_compresses_again(
    finished: tuple[Path, subprocess.CompletedProcess[str]], workload: Path, tmp_path: Path
) -> None:
    folder, _ = finished
    for part in ("results", "artifacts"):
        shutil.copytree(folder / part, tmp_path / part)
    names = ("bert_sparse", "bert_lowrank")
    manifests = [tmp_path / "artifacts" / "my" / name / "manifest.json" for name in names]
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in manifests]
    done = compress("run", "bert_sparse", "--workload", workload, *QUICK, "--remeasure", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    old, new = (read_result(place, "bert_sparse") for place in (folder, tmp_path))
    assert new.session != old.session
    assert new.artifact_sha256 == old.artifact_sha256
    done = compress("compare", *names, "--workload", workload, *QUICK, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "artifact unchanged" in done.stderr
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in manifests] == before
    one, two = (read_result(tmp_path, name) for name in names)
    assert one.session == two.session
    assert one.session not in (old.session, new.session)
    for result in (old, new, one, two):
        measured_manifest(result, tmp_path / "artifacts" / "my" / result.name)  # what card and push ask for
    files = [next((tmp_path / "results" / "my").glob(f"{name}-*.json")) for name in names]
    assert compress("card", files[0], cwd=tmp_path).returncode == 0
    assert compress("verify", *files, cwd=tmp_path).returncode == 0


def test_the_digest_of_a_users_metric_is_recorded_and_of_a_built_in_one_not(workload: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN.format(extra=""))
    text = workload.read_text().replace("model: model", f"model: {workload.parent / 'model'}\nmetric: {own}")
    (workload.parent / "own.yaml").write_text(text)
    for name, recorded in ((workload, None), (workload.parent / "own.yaml", metrics.digest(str(own)))):
        options = Options(workload=str(name), out=tmp_path / "r", artifacts=tmp_path / "a")
        (planned,) = plan([Recipe.load("bert_sparse")], options, describe(CPU))
        assert planned.source.resolved.get("metric_content") == recorded


def test_only_rebuild_compresses_again(workload: Path, tmp_path: Path) -> None:
    plans = plan([Recipe.load("bert_sparse")], Options(workload=str(workload), out=tmp_path / "r"), describe(CPU))
    (planned,) = (replace(each, folder=tmp_path / "a") for each in plans)
    (tmp_path / "a").mkdir()
    manifest = SimpleNamespace(extra={"fingerprint": planned.transform_fingerprint})
    runs: dict[str, int] = {}
    for option in ("fresh", "rebuild"):
        with (
            patch("compress.harness.build.verify", return_value=manifest),
            patch("compress.harness.transform.build") as transform,
        ):
            building.build(planned, Options(**{option: True}), describe(CPU), Absent("none"))
        runs[option] = transform.call_count
    assert runs == {"fresh": 0, "rebuild": 1}


def test_readings_of_an_outside_meter_give_energy_and_a_grade(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder, _ = finished
    shutil.copytree(folder / "results", tmp_path / "results")
    (file,) = (tmp_path / "results" / "my").glob("bert_int8-*.json")
    before = result_files.read(file)
    measured = trace.read(tmp_path / "results" / str(before.trace))
    times = [s / 1e9 for s in _edges(measured)]
    count = round((times[1] - times[0] + 2) / 0.004)
    lines = ["time,watts", *(f"{times[0] - 1 + 0.004 * i:.6f},50" for i in range(count + 1))]
    readings = tmp_path / "power.csv"
    readings.write_text("\n".join(lines))
    made = attach(file, readings, "the whole machine", "by the maker, May 2026, 0.5 %")
    assert made.headline is not None
    assert made.headline.energy_j is not None
    assert made.headline.energy_j.value == pytest.approx(50 * made.headline.latency_s.value / made.headline.batch_size)
    assert made.headline.grade in ("A", "C", "D")
    assert made.headline.latency_s == before.headline.latency_s  # type: ignore[union-attr]
    assert made.headline.ratios[0].energy is not None
    assert result_files.read(file) == made
    readings.write_text("\n".join([lines[0], f"{times[0] + 100},50", f"{times[0] + 200},50"]))
    with pytest.raises(InputError, match="check the meter's clock"):
        attach(file, readings, "the whole machine", None)
    hole = [line for line in lines[1:] if not 0.2 < float(line.split(",")[0]) - times[0] < 0.5]
    readings.write_text("\n".join([lines[0], *hole]))
    gaps = r"gaps between readings of the session reach.*10 readings a window.*--set measure.window_s="
    with pytest.raises(InputError, match=gaps):
        attach(file, readings, "the whole machine", None)
    for watts in ("-1", "inf", "nan"):
        readings.write_text(f"time,watts\n1,{watts}\n")
        with pytest.raises(InputError, match=f"watts '{watts}'; expected .* watts from 0 up"):
            attach(file, readings, "the whole machine", None)
    readings.write_text("time,watts\nnoon,50\n")
    with pytest.raises(InputError, match=r"power.csv:2: time 'noon'"):
        attach(file, readings, "the whole machine", None)


def _edges(measured: Session) -> list[int]:
    """First and last moment of a session's windows, in ns since 1970."""
    first, last = min(w.started_ns for w in measured.windows), max(w.ended_ns for w in measured.windows)
    assert measured.clock_offset_ns is not None
    return [edge + measured.clock_offset_ns for edge in (first, last)]


def test_any_command_can_be_measured_and_its_exit_code_is_kept(tmp_path: Path) -> None:
    program = "import sys, time; t = time.process_time()\nwhile time.process_time() < t + 0.2: pass\nsys.exit(7)"
    done = compress("measure", "--device", "cpu", "--", sys.executable, "-c", program, cwd=tmp_path)
    assert done.returncode == 7
    assert " J (" in done.stderr
    missing = compress("measure", "--device", "cpu", "--", "no-such-command", cwd=tmp_path)
    assert missing.returncode == 2
    assert "cannot be started" in missing.stderr
    assert compress("measure", cwd=tmp_path).returncode == 2


def test_the_doctor_says_what_this_machine_has(tmp_path: Path) -> None:
    done = compress("doctor", "--device", "cpu", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "to measure it" in done.stdout or "meter: rapl" in done.stdout
    assert "grade E" in done.stdout or "nothing to do" in done.stdout


def test_one_recipe_that_fails_is_a_result_with_error_and_the_others_go_on(workload: Path, tmp_path: Path) -> None:
    bad = tmp_path / "breaks.yaml"
    bad.write_text("steps:\n  - {method: lowrank, energy: 0.99999}\n")  # only the weights tell that no rank pays
    done = compress("run", bad, "bert_dense", "--workload", workload, *QUICK, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert read_result(tmp_path, "breaks").error
    assert read_result(tmp_path, "bert_dense").error is None
    assert "breaks" in done.stdout


@pytest.mark.usefixtures("forked_sessions")
def test_a_live_model_is_compressed_and_measured_from_python(tmp_path: Path) -> None:
    import datasets

    data = {
        "train": datasets.Dataset.from_dict(sentences(40, 1)),
        "test": datasets.Dataset.from_dict(sentences(40, 2)),
    }
    recipe = Recipe.load("bert_sparse", [("measure.window_s", 0.05), ("measure.rounds", 2)])
    where = {"out": tmp_path / "results", "artifacts": tmp_path / "artifacts", "device": "cpu"}
    result = run(recipe, model=trained_bert(), tokenizer=tokenizer(), dataset=data, **where)
    assert result.error is None
    assert "bert_sparse" in result._repr_html_()
    with pytest.raises(InputError, match="tokenizer= and dataset="):
        run(recipe, model=trained_bert())


def test_apply_compresses_a_live_model_and_leaves_the_one_that_came_in_as_it_was() -> None:
    import torch

    from compress import apply

    model, tokens = trained_bert(steps=1), tokenizer()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    smaller = apply(Recipe.load("bert_prune", [("steps.0.importance", "magnitude")]), model, tokens)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in model.parameters())
    inputs = tokens(["the film was great"], return_tensors="pt")
    assert smaller(**inputs).logits.shape == (1, 2)


def test_an_unkept_artifact_is_named_nowhere_and_rebuilt_for_keep(workload: Path, tmp_path: Path) -> None:
    first = compress("run", "bert_bf16", "--workload", workload, *QUICK, "--no-keep", "--limit", "1000", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "artifacts" / "my" / "bert_bf16"
    before = read_result(tmp_path, "bert_bf16")
    assert before.artifact is None
    assert not folder.exists()
    assert before.limit is None  # there are only 60 examples
    assert "LIMITED" not in first.stdout
    second = compress("run", "bert_bf16", "--workload", workload, *QUICK, "--limit", "1000", cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    assert folder.is_dir()
    assert read_result(tmp_path, "bert_bf16").artifact is not None
    compress("run", "bert_bf16", "--workload", workload, *QUICK, "--no-keep", "--fresh", cwd=tmp_path)
    assert folder.is_dir()  # an earlier run kept it
    kept = (folder / "manifest.json").read_bytes()
    (tmp_path / "bert_bf16.yaml").write_text("workload: stdlib-bert\nsteps: [{method: lowrank, rank: 4}]\n")
    other = ("run", "bert_bf16.yaml", "--workload", workload, *QUICK, "--no-keep")
    assert compress(*other, cwd=tmp_path).returncode == 0
    assert (folder / "manifest.json").read_bytes() == kept
    options = Options(str(workload), "cpu", tmp_path / "results", tmp_path / "artifacts", keep=False)
    changes = [word for word in QUICK if word != "--set"]
    (planned,) = plan(load_recipes([str(tmp_path / "bert_bf16.yaml")], changes), options, describe(CPU))
    stands = standing(planned, options)
    assert stands is not None and stands.artifact is None
    assert standing(planned, replace(options, keep=True)) is None
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [".work", folder.name]


def test_recipes_that_the_device_cannot_run_are_left_out_on_demand(workload: Path, tmp_path: Path) -> None:
    recipes = [Recipe.load("openvino_int8"), Recipe.load("bert_dense")]
    options = Options(workload=str(workload), out=tmp_path / "out", artifacts=tmp_path / "made")
    machine = factory.machine(device="cuda:0")
    with pytest.raises(InputError, match="openvino"):
        plan(recipes, options, machine)
    (left,) = plan(recipes, replace(options, fitting=True), machine)
    assert left.recipe.name == "bert_dense"


@pytest.mark.parametrize("native", [False, True])
def test_half_precision_without_a_unit_for_it_is_left_out_on_demand(
    workload: Path, monkeypatch: pytest.MonkeyPatch, native: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("compress.base.devices.computes_bf16", lambda _: native)
    recipes = [Recipe.load(name) for name in ("bert_bf16", "bert_fp16", "bert_dense")]
    options = Options(workload=str(workload))
    assert len(plan(recipes, options, describe(CPU))) == 3
    left = plan(recipes, replace(options, fitting=True), describe(CPU))
    assert [planned.recipe.name for planned in left] == (["bert_bf16"] if native else []) + ["bert_dense"]
    assert "bert_fp16 is left out: fp16 is for GPUs" in (before := capsys.readouterr().err)
    assert "nothing is left" not in before
    assert plan(recipes[1:2], replace(options, fitting=True), describe(CPU)) == []
    assert "nothing is left to run: every recipe is left out" in capsys.readouterr().err


def test_a_meter_that_has_come_or_fewer_cores_are_measured_anew_of_the_same_artifact(
    workload: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compress.harness import plan as plans

    machine, options = describe(CPU), Options(workload=str(workload))

    def planned() -> Planned:
        (found,) = plan([Recipe.load("bert_int8")], options, machine)
        return found

    before = planned()
    assert planned() == before
    monkeypatch.setattr(plans, "find_meter", lambda *_: Absent("no permission"))
    unmetered = planned()
    monkeypatch.setattr(plans, "threads", lambda: 1)
    narrower = planned()
    assert len({each.fingerprint for each in (before, unmetered, narrower)}) == 3
    assert len({each.transform_fingerprint for each in (before, unmetered, narrower)}) == 1


def test_a_download_shows_how_far_it_is_on_a_terminal_only() -> None:
    code = (
        "import sys; sys.stderr.isatty = lambda: {}\n"
        "from compress.base.quiet import quiet_libraries, quiet_transformers\n"
        "quiet_libraries(); quiet_transformers()\n"
        "from huggingface_hub.utils import are_progress_bars_disabled\n"
        "print(are_progress_bars_disabled())"
    )
    plain = {k: v for k, v in environment().items() if not k.endswith("_PROGRESS_BARS")}
    for terminal in (True, False):
        command = [sys.executable, "-c", code.format(terminal)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
        assert done.stdout.strip() == str(not terminal)
