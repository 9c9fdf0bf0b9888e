"""Trackers get configuration, metrics and power trace through their own libraries; what is not known is left out."""

import importlib.util
import json
import struct
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.analysis import costs, figures
from compress.analysis.judging import judged
from compress.base.config import InputError
from compress.records import files as result_files
from compress.records import trace
from compress.report import track
from compress.report.trackers import TRACKERS
from compress.report.trackers.facts import Facts, facts, flattened
from tests import factory
from tests.helpers import ROOT
from tests.simulated import Load, session


@pytest.fixture(scope="module")
def measured_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a result measured on a simulated board, its samples beside it."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        answer = session(patch, {"fp32 eager": Load(300.0, 0.02), "ours": Load(200.0, 0.012)}, rounds=3, window_s=2)
    trace.write(folder / "my" / "traces" / "s1", replace(answer, clock_offset_ns=10**18))
    raw = costs.from_trace(answer)
    theirs, ours = (tuple(replace(p, headline=True) for p in figures.points(raw, n)) for n in ("fp32 eager", "ours"))
    reference = replace(factory.reference(), points=theirs)
    made = factory.result("ours", energy_source="nvml", workload={"name": "my", "model": "m"}, references=(reference,))
    return result_files.write(folder, judged(replace(made, points=ours, trace="my/traces/s1", breakeven=None)))


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: pip install 'compress[{package}]'")


def test_facts_are_the_results_figures_under_the_csvs_names(measured_file: Path) -> None:
    told = facts(measured_file)
    result = result_files.read(measured_file)
    point = result.headline
    assert point is not None and point.energy_j is not None
    assert told.metrics["energy_per_example_j"] == point.energy_j.value
    assert told.metrics["energy_ratio_low"] == point.ratios[0].energy.low  # type: ignore[union-attr]
    assert told.metrics["metric"] == 0.89 and told.metrics["transform_energy_j"] == 300.0
    assert told.config["recipe.steps.0.bits"] == 8 and told.config["workload.name"] == "my"
    assert told.config["energy_source"] == "nvml" and told.config["grade"] in ("B", "C")
    watts = told.power["trace/power_w"]
    assert max(value for _, value in watts) == pytest.approx(300, rel=0.05)
    assert watts[0][0] == pytest.approx(10**18 + 1000e9, rel=1e-6)  # the board's clock starts at 1000 s


def test_unknown_is_left_out_and_modelled_joules_have_a_name_of_their_own(tmp_path: Path) -> None:
    told = facts(result_files.write(tmp_path, factory.result(half=float("inf"))))
    assert "energy_per_example_j" not in told.metrics and "energy_modelled_per_example_j" in told.metrics
    assert "metric_difference_low" not in told.metrics and "latency_p99_s" not in told.metrics
    assert told.config["energy_source"] == "modelled" and told.config["grade"] == "E"
    assert not told.power and "records no trace" in told.untraced
    without = facts(result_files.write(tmp_path, factory.result("none", energy_source=None)))
    assert not [name for name in without.metrics if name.startswith("energy")]
    assert without.config["energy_reason"] == "no meter on this machine"
    bad = facts(result_files.write(tmp_path, factory.failed()))
    assert bad.config["error"] == "steps.0: no kernel for this shape" and not bad.metrics


def test_points_beside_the_headline_have_their_shape_in_front(tmp_path: Path) -> None:
    made = factory.result()
    single = replace(made.points[0], batch_size=1, headline=False)
    told = facts(result_files.write(tmp_path, replace(made, points=(*made.points, single))))
    assert {"latency_per_batch_s", "batch1_length64/latency_per_batch_s"} <= set(told.metrics)


def test_flattening_keeps_what_is_set() -> None:
    tree = {"a": [{"b": 1}, {"c": None}], "d": {"e": False}, "f": "x\ny"}
    assert dict(flattened(tree)) == {"a.0.b": 1, "d.e": False, "f": "x y"}


def test_tensorboard_reads_back_what_was_sent(measured_file: Path, tmp_path: Path) -> None:
    needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told: Facts = facts(measured_file)
    (said,) = track([measured_file], "tensorboard", tmp_path / "runs", "mine")
    place = tmp_path / "runs" / "mine" / "my" / f"ours-m1-{told.id}"
    assert str(place) in said and "tensorboard --logdir" in said
    read = EventAccumulator(str(place), size_guidance={"scalars": 0}).Reload()
    for name, value in told.metrics.items():
        (event,) = read.Scalars(name)
        assert event.value == pytest.approx(value, rel=1e-6)
    drawn = read.Scalars("trace/power_w")
    assert len(drawn) == len(told.power["trace/power_w"])
    assert drawn[0].wall_time == pytest.approx(told.power["trace/power_w"][0][0] / 1e9)
    text = read.Tensors("configuration")[0].tensor_proto.string_val[0].decode()
    assert "| recipe.steps.0.bits | 8 |" in text and "| workload.name | my |" in text
    assert "_hparams_/session_start_info" in read.summary_metadata
    before = sorted(place.iterdir())
    assert "already exists" in track([measured_file], "tensorboard", tmp_path / "runs", "mine")[0]
    assert sorted(place.iterdir()) == before


def test_mlflow_reads_back_what_was_sent(measured_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes ten seconds to make
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    _mlflow(measured_file, None)


@pytest.mark.long
def test_mlflow_makes_a_database_in_a_folder(measured_file: Path, tmp_path: Path) -> None:
    needs("mlflow")
    _mlflow(measured_file, tmp_path / "new")
    assert (tmp_path / "new" / "mlflow.db").is_file()


def _mlflow(measured_file: Path, folder: Path | None) -> None:
    from mlflow.tracking import MlflowClient

    told = facts(measured_file)
    (said,) = track([measured_file], "mlflow", folder, "mine")
    client = MlflowClient() if folder is None else MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id in said and run.info.run_name == "ours-m1" and run.info.status == "FINISHED"
    assert {name: run.data.metrics[name] for name in told.metrics} == pytest.approx(told.metrics)
    assert run.data.params["recipe.steps.0.bits"] == "8" and run.data.params["grade"] == told.config["grade"]
    drawn = client.get_metric_history(run.info.run_id, "trace/power_w")
    assert [m.value for m in drawn] == [value for _, value in told.power["trace/power_w"]]
    assert "already exists" in track([measured_file], "mlflow", folder, "mine")[0]
    assert len(client.search_runs([experiment.experiment_id])) == 1


def test_wandb_writes_a_run_offline(measured_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    told = facts(measured_file)
    (said,) = track([measured_file], "wandb", tmp_path / "new", "mine")
    (place,) = (tmp_path / "new" / "wandb").glob(f"offline-run-*-{told.id}")
    assert str(place) in said and "wandb sync" in said
    stored = _wandb_records(place / f"run-{told.id}.wandb")
    summary = {key: value for record in stored for key, value in record.get("summary", {}).items()}
    assert {name: summary[name] for name in told.metrics} == pytest.approx(told.metrics)
    history = [record["history"] for record in stored if "history" in record]
    watts = [line["trace/power_w"] for line in history if "trace/power_w" in line]
    assert watts == pytest.approx([value for _, value in told.power["trace/power_w"]])
    assert history[-1]["trace/seconds"] > history[0]["trace/seconds"] == 0
    assert "already exists" in track([measured_file], "wandb", tmp_path / "new", "mine")[0]
    assert len(list((tmp_path / "new" / "wandb").glob("offline-run-*"))) == 1


def _wandb_records(file: Path) -> list[dict[str, Any]]:
    """Summaries and history of wandb's own file: records in blocks of 32 KiB, as LevelDB's log has them."""
    from wandb.proto import wandb_internal_pb2

    data, found, whole, at = file.read_bytes(), [], b"", 7  # after the file's own header
    while at + 7 <= len(data):
        left = 2**15 - at % 2**15
        if left < 7:  # no room for a header: the block ends in zeros
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole, or its last part
            record, whole = wandb_internal_pb2.Record.FromString(whole), b""
            for name, items in (("summary", record.summary.update), ("history", record.history.item)):
                keys = (item.key or "/".join(item.nested_key) for item in items)
                if items:
                    found.append({name: dict(zip(keys, (json.loads(i.value_json) for i in items), strict=True))})
    return found


def test_a_tracker_that_is_none_or_not_installed_and_bad_files_are_told(
    measured_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--to neptune: expected one of tensorboard, wandb, mlflow"):
        track([measured_file], "neptune")
    with pytest.raises(InputError, match="no such result file") as refused:
        track([tmp_path / "a.json", tmp_path / "b.json"], "tensorboard", tmp_path)
    assert len(refused.value.problems) == 2
    monkeypatch.setattr("compress.report.trackers.find_spec", lambda _: None)
    for name in TRACKERS:
        with pytest.raises(InputError, match="is not installed; pip install "):
            track([measured_file], name)


def test_every_tracker_has_its_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {tracker.extra for tracker in TRACKERS.values()} <= set(extras)
