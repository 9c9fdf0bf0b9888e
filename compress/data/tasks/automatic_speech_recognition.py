"""Automatic speech recognition: the words of a recording, judged by word or character error rate.

    sound -> one channel at the model's sampling rate -> spectrogram or waveform
    Whisper   encoder, then token after token            -> text
    CTC       logits of every frame                      -> likeliest label of each, equal neighbours once -> text
    text against reference, both normalised              -> errors, words

Whisper reads 30 seconds, whatever the length of a recording; a longer one is refused. CTC models read recordings of
one length together: padding beside a longer one changes the answers of some (group norm), on every runtime.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.base.config import InputError
from compress.data.formats import sound
from compress.data.generation import Generation
from compress.data.point import OperatingPoint
from compress.data.speech import batches, models, processor, recordings, whisper
from compress.data.tasks import transcripts
from compress.data.tasks.columns import Column
from compress.data.tasks.labels import require_column
from compress.data.tasks.overlap import number
from compress.data.tasks.task import Batch, Outcomes, Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

AUDIO = Column("audio", "audio", ("audio", "sound", "speech", "file_name", "file", "path"), described="the sound")
TEXT = Column(
    "text", "text", ("text", "sentence", "transcription", "transcript", "normalized_text"), described="the transcript"
)
AUDIO_S = 10
NEW_TOKENS = 32
"""Seconds of a point, and tokens that are written for them: 3 tokens per second are usual in English speech."""
NO_GRAPHS = (
    "its graphs would keep no cache of the decoder, and compute all earlier tokens again for every new one; use eager"
)


def configure(config: Any, folder: Path | None, workload: WorkloadView) -> None:
    """Complete the configuration of a model that writes token by token. Raises InputError for another model."""
    values = config.to_dict()
    if not models.fits(values):
        raise InputError(
            f"config.json: {config.model_type} does not transcribe speech; expected Whisper, or a CTC model such as "
            "Wav2Vec2ForCTC"
        )
    if models.writes(values):
        whisper.configure(config, folder, workload)
        return
    for name, is_stated in (("language", workload.language), ("generation", workload.generation != Generation())):
        if is_stated:
            raise InputError(f"{name}: {config.model_type} is a CTC model, which generates nothing; remove {name}")


def check(model: Any, speech: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems: list[str] = []
    speech = processor.of(speech)
    name = speech.input_name
    expected = "input_features" if models.writes(model.config.to_dict()) else models.WAVEFORM
    if name != expected or getattr(model, "main_input_name", expected) != expected:
        problems.append(f"reads {getattr(model, 'main_input_name', name)}, and its feature extractor gives {name}; "
                        f"expected {expected} of both")  # fmt: skip
    size = len(speech.tokenizer)
    outputs = int(model.config.vocab_size)
    if size > outputs:
        problems.append(f"has {outputs} outputs, but its tokenizer has {size} tokens; save the model's own tokenizer")
    if name == "input_features" and (bins := model.config.num_mel_bins) != speech.feature_extractor.feature_size:
        problems.append(
            f"reads {bins} mel bins, but its feature extractor gives {speech.feature_extractor.feature_size}"
        )
    return problems + _point_problems(model.config, speech, workload)


def _point_problems(config: Any, speech: Any, workload: WorkloadView) -> list[str]:
    """Return errors for points that the model does not have, or that are longer than what it reads or writes."""
    problems = []
    writes, most = models.writes(config.to_dict()), speech.most_samples
    for point in (workload.headline_point, *workload.further_points, *workload.mapped_points):
        if point.phase is not None and not writes:
            problems.append(f"phase {point.phase}: it is a CTC model, which transcribes in one pass; remove phase")
        if writes and most is not None and (point.audio_s or 0) * speech.sampling_rate > most:
            problems.append(f"audio_s {point.audio_s}: it reads {most / speech.sampling_rate:g} seconds at most")
        if writes and (point.new_tokens or 0) > (room := whisper.settings_of(config)["max_new_tokens"]):
            problems.append(f"new_tokens {point.new_tokens}: it writes at most {room} tokens")
    return list(dict.fromkeys(problems))


def prepare(raw: "datasets.Dataset", speech: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return columns text, samples, labels, prompt (of Whisper) and normalizer, and the model's input.

    Inputs are computed on access: those of a whole split would fill the memory. Raises BadRows for rows without sound
    or text, and for sound that is longer than the model reads.
    """
    import datasets

    sound.check_package()
    transcripts.check_packages()
    speech = processor.of(speech)
    spec, writes = workload.dataset, models.writes(config.to_dict())
    require_column(raw, spec.audio, "audio")
    texts = recordings.texts_of(raw, spec.text)
    if isinstance(raw.features[spec.audio], datasets.Audio):
        raw = raw.cast_column(spec.audio, datasets.Audio(decode=False))
    found = recordings.sounds_of(raw, spec.audio, speech, speech.most_samples if writes else None)
    samples = [sound.count(each, speech.sampling_rate) for each in found]
    prompt = whisper.settings_of(config)[whisper.PROMPT] if writes else []
    columns = {
        "text": texts,
        "samples": samples,
        "labels": batches.labels(texts, speech.tokenizer, config, writes),
        "prompt": [prompt] * len(texts),
        "normalizer": [workload.normalizer] * len(texts),
    }
    if not any(transcripts.normalizer(workload.normalizer)(text) for text in texts):
        raise InputError(f"no text has a word by normalizer {workload.normalizer!r}; expected transcripts")
    prepared = raw.select_columns([spec.audio])
    if spec.audio in columns:
        raise InputError(f"audio: the column is called {spec.audio!r}; expected another name, such as audio")
    for name, values in columns.items():
        feature = datasets.List(datasets.Value("int32")) if name in ("labels", "prompt") else None
        prepared = prepared.add_column(name, values, feature=feature)
    prepared.info.description = recordings.remark(found, texts, speech, workload, config)

    def inputs(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        others = {name: values for name, values in rows.items() if name != spec.audio}
        if spec.audio not in rows:
            return others
        return {
            speech.input_name: [recordings.features(value, spec.audio, speech) for value in rows[spec.audio]],
            **others,
        }

    return prepared.with_transform(inputs)


def writes(model: Any, inputs: Batch, speech: Any, output: Any) -> dict[str, list[Any]]:
    """Return the transcript of each row, and whether the model ended it by itself."""
    if "input_features" in inputs:
        found = whisper.generated(model, output.encoder_last_hidden_state)
        kept = [whisper.text_ids(ids, model.config) for ids in found]
        texts = speech.batch_decode(kept, skip_special_tokens=True)
        return {
            "written": [text.strip() for text in texts],
            "ended": [whisper.ended(ids, model.config) for ids in found],
        }
    texts = speech.batch_decode(output.logits.argmax(dim=-1).cpu())
    return {"written": [text.strip() for text in texts], "ended": [True] * len(texts)}


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[Any]]:
    """Return nothing: a model is judged by the text that it writes."""
    return {}


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> Outcomes:
    """Return the counts of each transcript and a number that identifies its normalised text.

    unended is 1 for a text that was cut at max_new_tokens.
    """
    found: dict[str, list[float]] = {}
    numbers = []
    columns = examples.with_format(None).select_columns(["text", "normalizer"])
    for written, example in zip(outcomes["written"], columns, strict=True):
        for name, value in transcripts.counts(written, example["text"], example["normalizer"]).items():
            found.setdefault(name, []).append(value)
        numbers.append(number(transcripts.normalizer(example["normalizer"])(written)))
    return {**found, "unended": [float(not ended) for ended in outcomes["ended"]], "answer": numbers}


def lengths(examples: "datasets.Dataset") -> list[int]:
    """Return the samples of every recording."""
    return list(examples.with_format(None)["samples"])


def protocol(workload: WorkloadView) -> str:
    """Return how texts are compared, and the settings of generation that the workload states."""
    stated = [f"{name} {value}" for name, value in workload.generation.model_dump(exclude_none=True).items()]
    language = [f"language {workload.language}"] if workload.language else []
    return ", ".join([f"{workload.normalizer} normaliser", *language, *stated])


def lines(folder: Path) -> list[str]:
    """Return the lines of a workload with the normaliser, the language of a multilingual model, and the points."""
    from compress.data import checkpoints

    found = ["normalizer: basic  # english: also one form of numbers and contractions; none: texts as they are"]
    config, _ = checkpoints.config_of(folder) if folder.is_dir() else (None, [])
    if config is None or not models.writes(config):
        return [*found, f"headline: {{batch_size: 1, audio_s: {AUDIO_S}}}"]
    point = f"batch_size: 1, audio_s: {AUDIO_S}, new_tokens: {NEW_TOKENS}"
    language = "language: en  # of the speech" if whisper.is_multilingual(folder) else ""
    return [
        *found,
        *filter(None, [language]),
        f"headline: {{phase: generate, {point}}}  # a whole transcript; the encoder alone is measured too",
        f"points: [{{phase: decode, {point}}}]  # a token",
    ]


def made_up() -> "datasets.Dataset":
    """Return three recordings of noise with texts in the columns of a live data set."""
    import datasets

    draw = np.random.default_rng(0)
    noise = [draw.normal(0, 0.1, 16_000).astype(np.float32) for _ in range(3)]
    rows = [{"array": wave, "sampling_rate": 16_000} for wave in noise]
    return datasets.Dataset.from_dict({"audio": rows, "text": ["yes", "no", "maybe"]})


SAMPLE_OUTCOMES = {
    "errors": [1.0, 0.0],
    "words": [4.0, 2.0],
    "letter_errors": [3.0, 0.0],
    "letters": [20.0, 9.0],
    "unended": [0.0, 0.0],
    "answer": [1.0, 2.0],
}
TASK = Task(
    name="automatic-speech-recognition",
    auto_model="AutoModelForSpeechSeq2Seq or AutoModelForCTC",
    auto_processor="AutoProcessor",
    architectures=("ForConditionalGeneration", "ForCTC"),
    pipeline_tag="automatic-speech-recognition",
    columns=(AUDIO, TEXT),
    metric="wer",
    sample_outcomes=SAMPLE_OUTCOMES,
    headline=OperatingPoint(batch_size=1, audio_s=AUDIO_S),
    writing_headline=OperatingPoint(batch_size=1, audio_s=AUDIO_S, phase="generate", new_tokens=NEW_TOKENS),
    written_by=models.writes,
    eager_only_writing=NO_GRAPHS,
    first_recipe="bert_int8",
    call="model.generate(**processor(wave, sampling_rate=16000))",
    load_processor=processor.load,
    check=check,
    prepare=prepare,
    collate=batches.collate,
    fixed=batches.fixed,
    outcomes=outcomes,
    losses=batches.losses,
    lengths=lengths,
    made_up=made_up,
    fits=models.fits,
    auto=lambda task: models.AutoModelForSpeech,
    configure=configure,
    writes=writes,
    answers=answers,
    lines=lines,
    alike=batches.alike,
    aligned=batches.aligned,
    per_token=True,
    settings=("normalizer", "language", "generation"),
    protocol=protocol,
    has_labels=False,
    trains_by_losses=True,
)
