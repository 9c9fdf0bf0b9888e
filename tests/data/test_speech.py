"""Speech through small models of both kinds: texts as transformers writes them, batches, losses, refused rows."""

import os
from pathlib import Path
from typing import Any

import datasets
import jiwer
import pytest
import torch
import transformers

from compress.analysis import metrics
from compress.base.errors import InputError
from compress.data import live, template
from compress.data.point import OperatingPoint
from compress.data.speech import batches, whisper
from compress.data.tasks import task_of, task_of_class
from compress.data.workload import Workload
from compress.measure.evaluate import evaluate
from compress.measure.latency import Pass
from tests import recordings
from tests.helpers import assets
from tests.task_runs import bundled, graph_of

TASK = task_of("automatic-speech-recognition")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def group() -> Any:
    return recordings.trained("group")


@pytest.fixture(scope="module")
def writer() -> Any:
    return recordings.trained("whisper")


def table(kind: str, count: int = 12, rate: int = recordings.RATE) -> dict[str, list[Any]]:
    rows = [
        recordings.row(recorded, reference, rate)
        for recorded, reference in recordings.texts(count, 2, wrong=0.2, kind=kind)
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def prepared(kind: str, model: Any, rows: dict[str, list[Any]]) -> Any:
    return live.prepare(datasets.Dataset.from_dict(rows), TASK.name, recordings.processor(kind), model)


def alone(kind: str, model: Any, rows: dict[str, list[Any]]) -> list[str]:
    """Transcripts by transformers alone, one recording at a time."""
    speech, found = recordings.processor(kind), []
    for value in rows["audio"]:
        given = speech.feature_extractor(value["array"], sampling_rate=recordings.RATE, return_tensors="pt")
        with torch.no_grad():
            if kind == "whisper":
                ids = model.generate(input_features=given["input_features"])
                found += speech.tokenizer.batch_decode(ids, skip_special_tokens=True)
            else:
                ids = model(given["input_values"]).logits.argmax(-1)
                found += speech.tokenizer.batch_decode(ids)
    return [text.strip().lower() for text in found]


@pytest.mark.parametrize("kind", ["group", "layer", "whisper"])
def test_error_rates_are_those_of_transformers_and_jiwer_alone(kind: str, group: Any, writer: Any) -> None:
    model = {"group": group, "whisper": writer}.get(kind) or recordings.trained("layer", steps=40)
    rows = table(kind, 20)
    written, references = alone(kind, model, rows), [text.lower() for text in rows["text"]]
    found = evaluate(model, TASK, prepared(kind, model, rows), recordings.processor(kind), CPU, batch_size=8)
    assert found.finite
    assert metrics.compute("wer", found.outcomes) == pytest.approx(jiwer.wer(references, written))
    assert metrics.compute("cer", found.outcomes) == pytest.approx(jiwer.cer(references, written))
    assert len(set(found.outcomes["answer"])) == len(set(written)) > 3
    assert 0 < metrics.compute("wer", found.outcomes) < 0.6, "a fifth of the texts are others"


def test_padding_beside_a_longer_recording_changes_logits_of_group_norm_which_no_judged_batch_has(group: Any) -> None:
    rows = table("group", 20)
    examples, speech = prepared("group", group, rows), recordings.processor("group")
    lengths = TASK.lengths(examples)
    order = sorted(range(20), key=lengths.__getitem__)
    short, long = examples[order[0]], examples[order[-1]]
    with torch.no_grad():
        own = group(input_values=TASK.collate([short], speech)["input_values"]).logits[0]
        beside = group(input_values=TASK.collate([short, long], speech)["input_values"]).logits[0, : len(own)]
    assert (own - beside).abs().max() > 0.01 * own.std(), "the trap that batches of one length avoid"
    whole, single = (evaluate(group, TASK, examples, speech, CPU, size).outcomes for size in (16, 1))
    assert whole == single


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_graphs_transcribe_as_the_model_does(runtime: str, group: Any) -> None:
    rows = table("group", 12)
    graph = graph_of(bundled(group, TASK, rows, recordings.processor("group")), runtime)
    examples, speech = prepared("group", group, rows), recordings.processor("group")
    ours, theirs = (evaluate(model, TASK, examples, speech, CPU, 8).outcomes for model in (graph, group))
    assert ours == theirs


def test_losses_are_those_of_the_models_own(group: Any, writer: Any) -> None:
    for kind, model in (("group", group), ("whisper", writer)):
        rows = table(kind, 4)
        length = min(len(value["array"]) for value in rows["audio"])
        for value in rows["audio"]:
            value["array"] = value["array"][:length]
        batch = TASK.collate(list(prepared(kind, model, rows)), recordings.processor(kind))
        with torch.no_grad():
            logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
            sums, counts = TASK.losses(logits, batch["labels"])
            labels = batch["labels"] if kind == "whisper" else batch["labels"][:, :-1]
            own = {name: value for name, value in batch.items() if name.startswith("input")}
            extra = {"decoder_input_ids": batch["decoder_input_ids"]} if kind == "whisper" else {}
            expected = float(model(**own, **extra, labels=labels).loss)
        mean = sums.sum() / counts.sum() if kind == "whisper" else (sums / counts).mean()
        assert float(mean) == pytest.approx(expected, rel=1e-4)


def stated(**changes: Any) -> Workload:
    given = {"name": "w", "task": TASK.name, "model": "m", "dataset": {"path": "d"}, **changes}
    return Workload(**given)


def test_whispers_prompt_and_timestamps_are_no_words(writer: Any, tmp_path: Path) -> None:
    writer.save_pretrained(tmp_path)
    config = recordings.untrained("whisper").config
    whisper.configure(config, tmp_path, stated())
    assert whisper.settings_of(config)[whisper.PROMPT] == [recordings.START, recordings.PLAIN]
    written = [recordings.START, recordings.PLAIN, 1, 2, 12, recordings.END, 3]  # 12 is a timestamp
    assert whisper.text_ids(written, config) == [1, 2]
    with pytest.raises(InputError, match="lists no languages"):
        whisper.configure(recordings.untrained("whisper").config, tmp_path, stated(language="en"))


@pytest.fixture
def multilingual(tmp_path: Path) -> Path:
    model = recordings.untrained("whisper")
    model.generation_config.lang_to_id = {"<|en|>": 2, "<|de|>": 3}
    model.generation_config.task_to_id = {"transcribe": 4}
    model.save_pretrained(tmp_path)
    return tmp_path


def test_a_multilingual_whisper_needs_a_language_and_gets_its_prompt(multilingual: Path) -> None:
    for language, expected in (("de", [9, 3, 4, 10]), ("<|en|>", [9, 2, 4, 10])):
        config = recordings.untrained("whisper").config
        whisper.configure(config, multilingual, stated(language=language))
        assert whisper.settings_of(config)[whisper.PROMPT] == expected
        assert whisper.settings_of(config)["max_new_tokens"] == 24 - 4
    for language, reason in ((None, "the model knows 2 languages"), ("fr", "no such language")):
        with pytest.raises(InputError, match=reason):
            whisper.configure(recordings.untrained("whisper").config, multilingual, stated(language=language))


BAD: dict[str, tuple[Any, Any, str]] = {
    "no sound": (None, "a", "row 1: audio column 'audio' is null; expected a file of sound"),
    "empty sound": ({"array": [], "sampling_rate": 16_000}, "a", "row 1: the sound is empty"),
    "no text": (recordings.row("a")["audio"], None, "row 1: the text is null; expected a transcript"),
    "too long": (
        {"array": [0.0] * 16_001, "sampling_rate": 16_000},
        "a",
        "row 1: the sound lasts 1.0 s, and the model",
    ),
    "too short": (
        {"array": [0.0] * 399, "sampling_rate": 16_000},
        "a",
        "row 1: the sound has 399 samples; expected at",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_rows_that_are_no_speech_are_named(kind: str, group: Any, writer: Any) -> None:
    value, text, expected = BAD[kind]
    name, model = ("whisper", writer) if kind == "too long" else ("group", group)
    first = recordings.row("ab")
    rows = {"audio": [first["audio"], value], "text": ["ab", text]}
    with pytest.raises(InputError, match=expected):
        prepared(name, model, rows)


def test_other_rates_channels_and_silence_are_noted_and_read_right(group: Any) -> None:
    rows = table("group", 6, rate=8_000)
    for value in rows["audio"]:
        value["array"] = [list(value["array"])] * 2
    rows["text"][1] = "?!"
    found = prepared("group", group, rows)
    note = found.info.description
    assert "6 of them resampled from 8000 Hz to 16000 Hz" in note
    assert "6 of them have several channels, which were averaged" in note
    assert "1 references have no words" in note
    wide = prepared("group", group, table("group", 6))
    texts = [
        evaluate(group, TASK, each, recordings.processor("group"), CPU, 4).outcomes["answer"] for each in (found, wide)
    ]
    assert texts[0] == texts[1], "8 kHz hold all tones, so the transcripts are the same"


def test_points_are_recordings_of_exactly_their_seconds(group: Any, writer: Any) -> None:
    point = OperatingPoint(batch_size=3, audio_s=1)
    for kind, model, shape in (("group", group, (3, 16_000)), ("whisper", writer, (3, 16, 100))):
        examples, speech = prepared(kind, model, table(kind, 5)), recordings.processor(kind)
        made = Pass(TASK.fixed(examples, speech, point, 2, 0))
        assert [tuple(batch[speech.input_name].shape) for batch in made] == [shape] * 2
        assert not torch.equal(made[0][speech.input_name], made[1][speech.input_name])
        if kind == "whisper":
            prompt = whisper.settings_of(model.config)[whisper.PROMPT]
            assert made[0]["decoder_input_ids"].tolist() == [prompt] * 3


def test_points_that_a_kind_of_model_does_not_have_are_refused(group: Any, writer: Any) -> None:
    def problems(kind: str, model: Any, **point: Any) -> list[str]:
        examples = prepared(kind, model, table(kind, 3))
        return TASK.check(model, recordings.processor(kind), examples, stated(headline=point))

    assert problems("group", group, batch_size=1, audio_s=2) == []
    (one,) = problems("group", group, batch_size=1, audio_s=2, phase="decode")
    assert "it is a CTC model, which transcribes in one pass; remove phase" in one
    (two,) = problems("whisper", writer, batch_size=1, audio_s=2, phase="generate", new_tokens=4)
    assert "audio_s 2: it reads 1 seconds at most" in two


def test_init_writes_the_points_of_each_kind(group: Any, writer: Any, tmp_path: Path) -> None:
    for kind, model in (("group", group), ("whisper", writer)):
        path = recordings.write_workload_folder(tmp_path / kind, model, kind)
        text = template.init(str(path.parent / "model"), str(path.parent / "data"), TASK.name)
        assert "audio: file_name" in text and "metric: wer" in text and "normalizer: basic" in text
        assert ("phase: generate" in text and "phase: decode" in text) is (kind == "whisper")
        assert "audio_s: 10" in text and "language" not in text


def test_classes_of_speech_are_of_this_task() -> None:
    assert task_of_class("WhisperForConditionalGeneration", {"model_type": "whisper"}) == TASK.name
    assert task_of_class("Wav2Vec2ForCTC", {"model_type": "wav2vec2"}) == TASK.name
    assert task_of_class("T5ForConditionalGeneration", {"model_type": "t5"}) != TASK.name


def test_labels_take_the_case_of_the_vocabulary() -> None:
    letters = recordings.tokenizer("group")
    found = batches.labels(["ab a"], letters, None, writes=False)
    assert found == [letters("AB A")["input_ids"]] and letters.unk_token_id not in found[0]


def test_real_whisper_transcribes_real_speech_word_for_word() -> None:
    """Needs Whisper tiny.en as `shared/models/whisper.sh` makes it, in the folder that COMPRESS_WHISPER names."""
    folder = os.environ.get("COMPRESS_WHISPER", "")
    if not (Path(folder) / "config.json").is_file() or not folder:
        pytest.skip("COMPRESS_WHISPER names no folder of Whisper tiny.en")
    recording = assets("data", "jfk", "jfk.flac")
    text = "And so my fellow Americans ask not what your country can do for you ask what you can do for your country"
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    whisper.configure(model.config, Path(folder), stated())
    rows = datasets.Dataset.from_dict({"audio": [str(recording)], "text": [text]})
    speech = TASK.load_processor(folder)
    examples = TASK.prepare(rows, speech, stated(), model.config)
    found = evaluate(model, TASK, examples, speech, CPU, 1).outcomes
    assert (found["errors"], found["words"], found["letter_errors"]) == ([0], [22], [0])
    assert "1 of them resampled from 44100 Hz to 16000 Hz" in examples.info.description
