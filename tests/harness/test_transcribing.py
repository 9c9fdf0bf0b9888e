"""Speech recognition from its workload to its card: error rates, points in seconds, commands and refusals."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import soundfile

from compress import load
from compress.data.grid import Grid
from compress.data.workload import Workload
from compress.records import files as result_files
from compress.records import trace
from tests import recordings
from tests.helpers import QUICK, compress
from tests.task_runs import read_by

INT8 = "workload: my.yaml\nsteps:\n  - {method: quantize, bits: 8, format: int8_weight, group_size: 32}\n"
TASK = "automatic-speech-recognition"


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.write_workload_folder(tmp_path_factory.mktemp("frames"), recordings.trained("group"), "group")


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = recordings.write_workload_folder(tmp_path_factory.mktemp("writer"), recordings.trained("whisper"), "whisper")
    (path.parent / "int8.yaml").write_text(INT8)
    return path


@pytest.fixture(scope="module")
def of_frames(frames: Path) -> "subprocess.CompletedProcess[str]":
    return compress("run", "bert_int8", "openvino_int8", "--workload", frames, *QUICK, cwd=frames.parent)


@pytest.fixture(scope="module")
def of_writer(writer: Path) -> "subprocess.CompletedProcess[str]":
    return compress("run", "int8.yaml", *QUICK, "--set", "measure.points=all", cwd=writer.parent)


def result_of(workload: Path, recipe: str) -> Path:
    (file,) = (workload.parent / "results" / "my").glob(f"{recipe}-*.json")
    return file


def error_rate(workload: Path, recipe: str) -> float:
    """The word error rate of an artifact, by transformers and jiwer alone, one recording at a time."""
    import jiwer
    import torch

    model, speech = load(workload.parent / "artifacts" / "my" / recipe)
    folder = workload.parent / "data" / "test"
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    written = []
    for row in rows:
        wave, _ = soundfile.read(folder / row["file_name"], dtype="float32")
        given = speech.feature_extractor(wave, sampling_rate=recordings.RATE, return_tensors="pt")
        with torch.no_grad():
            if speech.input_name == "input_features":
                ids = model.generate(**given)
                written += speech.tokenizer.batch_decode(ids, skip_special_tokens=True)
            else:
                ids = model(input_values=given["input_values"]).logits.argmax(-1)
                written += speech.tokenizer.batch_decode(ids)
    rate: float = jiwer.wer([row["text"] for row in rows], [text.strip().lower() for text in written])
    return rate


@pytest.mark.parametrize("recipe", ["bert_int8", "openvino_int8"])
def test_graphs_of_ctc_models_are_judged_by_wer(
    recipe: str, of_frames: "subprocess.CompletedProcess[str]", frames: Path
) -> None:
    assert of_frames.returncode == 0, of_frames.stdout + of_frames.stderr
    shown = " ".join(of_frames.stdout.split())
    assert "Judged by wer (basic normaliser) on 30 test examples; writing nothing gives 1.000" in shown
    result = result_files.read(result_of(frames, recipe))
    accuracy = result.accuracy
    assert accuracy is not None and (accuracy.metric, accuracy.unit, accuracy.higher_is_better) == (
        "wer",
        "points",
        False,
    )
    assert accuracy.estimate.value == pytest.approx(error_rate(frames, recipe), abs=1e-9)
    assert accuracy.delta is not None and accuracy.flip_rate is not None and accuracy.mcnemar_p is None
    (point,) = result.points
    assert (point.phase, point.batch_size, point.audio_s, point.sequence_length) == (None, 2, 1, None)
    factor = point.real_time_factor
    assert factor is not None and factor.value == pytest.approx(point.latency_s.value / 2)
    assert any("30 recordings of" in note and "jiwer" in note for note in result.notes)


def test_whisper_is_measured_by_requests_and_its_encoder_apart(
    of_writer: "subprocess.CompletedProcess[str]", writer: Path
) -> None:
    assert of_writer.returncode == 0, of_writer.stdout + of_writer.stderr
    result = result_files.read(result_of(writer, "int8"))
    whole, encoder = result.points
    assert (whole.phase, whole.audio_s, whole.new_tokens) == ("generate", 1, 4)
    assert (encoder.phase, encoder.audio_s, encoder.new_tokens) == ("prefill", 1, None)
    assert encoder.latency_s.value < whole.latency_s.value
    assert result.accuracy is not None
    assert result.accuracy.estimate.value == pytest.approx(error_rate(writer, "int8"), abs=1e-9)
    assert any("texts are written by greedy search" in note and "prompt [9, 10]" in note for note in result.notes)


def test_its_figures_are_those_of_the_counts_in_the_trace(
    of_writer: "subprocess.CompletedProcess[str]", writer: Path
) -> None:
    assert of_writer.returncode == 0, of_writer.stderr
    file = result_of(writer, "int8")
    done = compress("verify", file, cwd=writer.parent)
    assert done.returncode == 0 and "0 differ from the trace" in done.stdout, done.stdout
    result = result_files.read(file)
    session = trace.read(trace.located(file, result.traces[0]))
    counts = next(runner.outcomes for runner in session.runners if runner.name == "int8")
    assert result.accuracy is not None
    assert result.accuracy.estimate.value == sum(counts["errors"]) / sum(counts["words"])


@pytest.mark.parametrize("command", ["show", "pareto", "check", "card"])
def test_other_commands_read_its_result(
    command: str, of_writer: "subprocess.CompletedProcess[str]", writer: Path
) -> None:
    assert of_writer.returncode == 0, of_writer.stderr
    text = read_by(command, result_of(writer, "int8"), writer.parent / "artifacts" / "my" / "int8", TASK, "wer", "90pt")
    assert "wer" in text
    assert command != "show" or ("real-time factor" in text and "generate 4, batch 2 x 1 s of sound" in text)


REFUSED = {
    "openvino": (
        ("--set", "runtime=openvino"),
        "openvino does not execute models of automatic-speech-recognition",
    ),
    "compile": (("--set", "runtime=compile"), "compile does not execute models of automatic-speech-recognition"),
    "a graph's int8": (
        ("--set", "steps.0.backend=onnxruntime", "--set", "steps.0.format=int8"),
        "that write token by token have runtime eager alone: its graphs would keep no cache",
    ),
    "a rounded cache": (("--set", "kv_cache=int8"), "only language models keep a cache"),
    "fixed padding": (("--set", "padding=fixed"), "whose batches keep their own shapes"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_whisper_lacks_is_refused_before_loading(kind: str, writer: Path) -> None:
    changes, expected = REFUSED[kind]
    recipe = "bert_dense" if kind == "compile" else "int8.yaml"
    arguments = ("--workload", writer, *changes, *QUICK, "--out", "other")
    done = compress("run", recipe, *arguments, cwd=writer.parent)
    assert done.returncode == 2 and expected in " ".join(done.stderr.split()), done.stderr


def broken(workload: Path, name: str, **lines: Any) -> Path:
    """A workload whose test split has one row of this kind in its second line."""
    folder = workload.parent / name
    folder.mkdir()
    soundfile.write(folder / "1.wav", recordings.wave("ab"), recordings.RATE)
    rows = [{"file_name": "1.wav", "text": "ab"}, {"file_name": "1.wav", "text": "ab", **lines}]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = workload.with_name(f"{name}.yaml")
    path.write_text(workload.read_text().replace("path: data", f"path: {name}\n  train:"))
    return path


ROWS = {
    "gone": ({"file_name": "2.wav"}, "line 2: no file of sound '2.wav'"),
    "outside": ({"file_name": "../data/test/0.wav"}, "line 2: '../data/test/0.wav' lies outside of"),
    "unnamed": ({"file_name": None}, "line 2: column 'file_name' is empty"),
    "textless": ({"text": None}, "line 2: the text is null; expected a transcript"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_that_are_no_speech_are_named_by_their_line(kind: str, frames: Path) -> None:
    lines, expected = ROWS[kind]
    path = broken(frames, kind, **lines)
    done = compress("run", "bert_dense", "--workload", path, *QUICK, "--out", "other", cwd=frames.parent)
    assert done.returncode == 2 and expected in " ".join(done.stderr.split()), done.stderr


def test_points_of_speech_state_seconds_and_those_of_texts_do_not() -> None:
    given = {"name": "w", "task": TASK, "model": "m", "dataset": {"path": "d"}}
    with pytest.raises(ValueError, match="audio_s None: automatic-speech-recognition alone reads sound"):
        Workload(**given, headline={"batch_size": 1})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="audio_s 10: automatic-speech-recognition alone reads sound"):
        Workload(**{**given, "task": "translation"}, headline={"batch_size": 1, "context": 8, "audio_s": 10})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="normalizer none: translation has no such setting"):
        Workload(**{**given, "task": "translation"}, normalizer="none")  # type: ignore[arg-type]


def test_points_of_a_map_have_the_seconds_of_the_headline(frames: Path) -> None:
    mapped = Grid.parse("1,4").on(Workload.load(frames)).mapped_points
    assert [(point.batch_size, point.audio_s, point.phase) for point in mapped] == [(1, 1, None), (4, 1, None)]
