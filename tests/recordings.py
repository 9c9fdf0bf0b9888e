"""Made speech: a tone for each letter, small models of both kinds that learn to write it, and folders for a run."""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

LETTERS = "abcde"
RATE = 16_000
TONE, PAUSE, FRAME = 960, 320, 160
"""Samples of a letter, of the silence after it, and of the first convolution."""
PAD, END, START, PLAIN = 6, 7, 9, 10
"""Ids of the made Whisper: padding, end, start of a transcript, and no timestamps."""
SPECIAL = ("<pad>", "</s>", "<unk>", "<s>", "<notimestamps>")
SECONDS = 1
"""What the made Whisper reads."""


def texts(count: int, seed: int, wrong: float = 0.0, kind: str = "group") -> list[tuple[str, str]]:
    """Return pairs of recorded text and reference, which differ in the share `wrong`; Whisper's have one letter."""
    draw = random.Random(seed)

    def text() -> str:
        if kind == "whisper":
            return draw.choice(LETTERS)
        return " ".join("".join(draw.choices(LETTERS, k=draw.choice((2, 3)))) for _ in range(draw.randint(1, 2)))

    found = [text() for _ in range(count)]
    return [(each, text() if draw.random() < wrong else each) for each in found]


def wave(text: str, rate: int = RATE) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """The sound of a text: a tone of 400, 700, 1000 ... Hz for each letter, of 100 Hz for a space; a single letter is
    eight times as long."""
    tone, pause = TONE * (8 if len(text) == 1 else 1) * rate // RATE, PAUSE * rate // RATE
    time = np.arange(tone) / rate
    parts = [np.zeros(pause)]
    for letter in text:
        parts += [0.3 * np.sin(2 * np.pi * (400 + 300 * LETTERS.find(letter)) * time), np.zeros(pause)]
    noise = np.random.default_rng(len(text)).normal(0, 0.003, sum(map(len, parts)))
    return (np.concatenate(parts) + noise).astype(np.float32)


def row(recorded: str, reference: str | None = None, rate: int = RATE) -> dict[str, Any]:
    """A row of a live data set."""
    sound = {"array": wave(recorded, rate), "sampling_rate": rate}
    return {"audio": sound, "text": recorded if reference is None else reference}


def tokenizer(kind: str) -> Any:
    """A tokenizer of letters: that of wav2vec2 with | for a space, or one with the tokens of Whisper's prompt."""
    if kind == "whisper":
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        listed = [" ", *LETTERS, *SPECIAL]  # as Whisper's: special tokens follow those of texts
        inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(listed)}, unk_token="<unk>"))
        inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        inner.decoder = decoders.Fuse()
        return PreTrainedTokenizerFast(
            tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>",
            clean_up_tokenization_spaces=False,
        )  # fmt: skip
    import json
    import tempfile

    from transformers import Wav2Vec2CTCTokenizer

    words = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS.upper()]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps({word: i for i, word in enumerate(words)}))
        return Wav2Vec2CTCTokenizer(str(file))


def processor(kind: str) -> Any:
    """The made processor of `whisper`, `group` or `layer`: CTC models by the norm of their convolutions."""
    from transformers import Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

    from compress.data.speech.processor import SpeechProcessor

    if kind == "whisper":
        return SpeechProcessor(WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS), tokenizer(kind))
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=kind == "layer")
    return SpeechProcessor(extractor, tokenizer(kind))


def untrained(kind: str = "group", layers: int = 2, width: int = 32) -> Any:
    """A small model of a kind with random weights."""
    import torch
    import transformers

    torch.manual_seed(0)
    if kind == "whisper":
        config: Any = transformers.WhisperConfig(
            vocab_size=len(SPECIAL) + 1 + len(LETTERS), num_mel_bins=16, d_model=width, encoder_layers=layers,
            decoder_layers=layers, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=64,
            decoder_ffn_dim=64, max_source_positions=50 * SECONDS, max_target_positions=24, pad_token_id=PAD,
            bos_token_id=START, eos_token_id=END, decoder_start_token_id=START, dropout=0.0, attention_dropout=0.0,
            activation_dropout=0.0,
        )  # fmt: skip
        model = transformers.WhisperForConditionalGeneration(config)
        model.generation_config = transformers.GenerationConfig(
            decoder_start_token_id=START, bos_token_id=START, eos_token_id=END, pad_token_id=PAD,
            no_timestamps_token_id=PLAIN, begin_suppress_tokens=[0], is_multilingual=False, max_length=24,
            return_timestamps=False,
        )  # fmt: skip
        model.generation_config.suppress_tokens = [PAD, 8]
        return model.eval()
    config = transformers.Wav2Vec2Config(
        vocab_size=5 + len(LETTERS), hidden_size=width, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=64, conv_dim=(width, width), conv_kernel=(FRAME, 3), conv_stride=(FRAME // 2, 2),
        num_feat_extract_layers=2, feat_extract_norm=kind, do_stable_layer_norm=kind == "layer", conv_bias=False,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, mask_time_prob=0.0, pad_token_id=0,
        hidden_dropout=0.0, activation_dropout=0.0, attention_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0,
        layerdrop=0.0, ctc_loss_reduction="mean",
    )  # fmt: skip
    model = transformers.Wav2Vec2ForCTC(config)
    time = torch.arange(FRAME) / RATE
    waves = [f(2 * torch.pi * (400 + 300 * n) * time) for n in range(-1, len(LETTERS)) for f in (torch.sin, torch.cos)]
    with torch.no_grad():  # the first convolution detects the tones: training it would take minutes
        kernels = model.wav2vec2.feature_extractor.conv_layers[0].conv.weight  # [width, 1, FRAME]
        kernels[: 2 * len(waves), 0] = torch.stack([*waves, *(-each for each in waves)]) / 16
    return model.eval()


@cache
def trained(kind: str = "group", steps: int = 60) -> Any:
    """The same, trained on made speech: Whisper by its own loss, CTC by the label of every frame, which is known.

    The model is made once in a process: tests leave it as it is.
    """
    import torch

    model, speech = untrained(kind).train(), processor(kind)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        rows = [recorded for recorded, _ in texts(16, seed=1000 + step, kind=kind)]
        if kind == "whisper":
            features = torch.from_numpy(np.stack([speech.features(wave(text)) for text in rows]))
            ids = [[PLAIN, *speech.tokenizer(text, add_special_tokens=False)["input_ids"], END] for text in rows]
            loss = model(input_features=features, labels=torch.tensor(ids)).loss
        else:
            loss = _frames_loss(model, speech, rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def _frames_loss(model: Any, speech: Any, rows: Sequence[str]) -> Any:
    """The mean cross entropy of the frames of equally long texts: the letter that sounds in the middle, or nothing."""
    import torch

    length = 5
    rows = [f"{text} {text}"[:length] for text in rows]
    values = torch.from_numpy(np.stack([speech.features(wave(text)) for text in rows]))
    logits = model(input_values=values).logits  # [batch, frames, labels]
    middles = torch.arange(logits.shape[1]) * FRAME + FRAME  # the stride is 80 x 2 samples, a frame sees 320
    places, inside = (middles - PAUSE) // (TONE + PAUSE), (middles - PAUSE) % (TONE + PAUSE) < TONE
    labels = torch.tensor([speech.tokenizer(text.upper())["input_ids"] for text in rows])
    labels = torch.where(inside & (middles >= PAUSE), labels[:, places.clamp(0, length - 1)], 0)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def write_workload_folder(folder: Path, model: Any, kind: str, **changes: Any) -> Path:
    """A folder with a model, wav files beside a table, and `my.yaml`; returns the path of the workload."""
    import json

    import soundfile
    from ruamel.yaml import YAML

    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder / "model")
    processor(kind).save_pretrained(folder / "model")
    for split, count, seed in (("train", 40, 1), ("test", 30, 2)):
        place = folder / "data" / split
        place.mkdir(parents=True)
        lines = []
        for number, (recorded, reference) in enumerate(texts(count, seed, wrong=0.1, kind=kind)):
            soundfile.write(place / f"{number}.wav", wave(recorded), RATE)
            lines.append(json.dumps({"file_name": f"{number}.wav", "text": reference}))
        (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    point = {"phase": "generate", "new_tokens": 4} if kind == "whisper" else {}
    plain: dict[str, Any] = {
        "task": "automatic-speech-recognition",
        "model": "model",
        "dataset": {"path": "data", "audio": "file_name"},
        "headline": {"batch_size": 2, "audio_s": 1, **point},
        **changes,
    }
    path = folder / "my.yaml"
    with path.open("w", encoding="utf-8") as out:
        YAML().dump(plain, out)
    return path
