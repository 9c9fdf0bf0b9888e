"""The processor of a model of speech: its feature extractor for sound, and its tokenizer for transcripts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.base.config import InputError

if TYPE_CHECKING:
    import torch


class SpeechProcessor:
    """A feature extractor and a tokenizer, loaded and saved side by side."""

    def __init__(self, feature_extractor: Any, tokenizer: Any) -> None:
        self.feature_extractor = feature_extractor
        self.tokenizer = tokenizer

    @property
    def sampling_rate(self) -> int:
        """Samples per second that the model reads."""
        return int(self.feature_extractor.sampling_rate)

    @property
    def input_name(self) -> str:
        """Name of the model's input: input_features, or input_values for a waveform."""
        return str(self.feature_extractor.model_input_names[0])

    @property
    def most_samples(self) -> int | None:
        """Samples that the feature extractor keeps; None if it keeps all."""
        return getattr(self.feature_extractor, "n_samples", None)

    def features(self, wave: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the model's input for samples [n]: a spectrogram [bins, frames], or a waveform [n]."""
        made = self.feature_extractor(wave, sampling_rate=self.sampling_rate, return_tensors="np")
        return np.asarray(made[self.input_name][0], dtype=np.float32)

    def __call__(self, wave: np.ndarray[Any, Any], sampling_rate: int) -> dict[str, "torch.Tensor"]:
        """Return a batch of one recording [n], for `model(**batch)` or `model.generate(**batch)`."""
        import torch

        if sampling_rate != self.sampling_rate:
            raise InputError(f"sampling_rate {sampling_rate}: the model reads {self.sampling_rate}; resample the sound")
        return {self.input_name: torch.from_numpy(self.features(np.asarray(wave, dtype=np.float32)))[None]}

    def batch_decode(self, ids: Any, **options: Any) -> list[str]:
        """Return the texts of token ids [batch, length]."""
        texts: list[str] = self.tokenizer.batch_decode(ids, **options)
        return texts

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the files of both."""
        self.feature_extractor.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def of(processor: Any) -> SpeechProcessor:
    """Return the processor of a model in memory as this class: transformers' own have the same two parts."""
    if isinstance(processor, SpeechProcessor):
        return processor
    parts = [getattr(processor, name, None) for name in ("feature_extractor", "tokenizer")]
    if None in parts:
        raise InputError(
            f"a {type(processor).__name__} is no processor of speech; expected one with a feature extractor and a "
            "tokenizer, such as AutoProcessor.from_pretrained of a Whisper or a Wav2Vec2 folder"
        )
    return SpeechProcessor(*parts)


def load(location: str, **options: Any) -> SpeechProcessor:
    """Return the processor stored with a model."""
    from transformers import AutoFeatureExtractor, AutoTokenizer

    return SpeechProcessor(
        AutoFeatureExtractor.from_pretrained(location, **options), AutoTokenizer.from_pretrained(location, **options)
    )
