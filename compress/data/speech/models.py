"""The two kinds of models that transcribe: Whisper, which writes a text, and CTC, which labels every frame.

Whisper    spectrogram of 30 s -> encoder -> decoder, token by token
CTC        waveform of any length -> encoder -> logits of every frame -> equal neighbours once, without blanks
"""

from collections.abc import Mapping
from typing import Any

WRITES = ("whisper",)
"""Types of models that write token by token."""
WAVEFORM = "input_values"


def writes(config: Mapping[str, Any]) -> bool:
    """Return whether a model with these settings writes a transcript token by token."""
    return config.get("model_type") in WRITES


def fits(config: Mapping[str, Any]) -> bool:
    """Return whether the settings in `config.json` are of a model that transcribes speech."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES as OF_FRAMES

    named = str(next(iter(config.get("architectures") or ()), ""))
    return writes(config) or (config.get("model_type") in OF_FRAMES and named.endswith(("ForCTC", "")))


class AutoModelForSpeech:
    """Makes models of both kinds, as the Auto classes of transformers do, by their configuration."""

    @classmethod
    def from_pretrained(cls, location: Any, *, config: Any = None, **options: Any) -> Any:
        """Return the model stored in a folder or on the hub."""
        from transformers import AutoConfig

        kept = ("trust_remote_code", "revision", "local_files_only")
        if config is None:
            config = AutoConfig.from_pretrained(location, **{name: options[name] for name in kept if name in options})
        return _auto(config).from_pretrained(location, config=config, **options)

    @classmethod
    def from_config(cls, config: Any, **options: Any) -> Any:
        """Return a new model of a configuration."""
        return _auto(config).from_config(config, **options)


def _auto(config: Any) -> Any:
    import transformers

    of_text = writes({"model_type": config.model_type})
    return transformers.AutoModelForSpeechSeq2Seq if of_text else transformers.AutoModelForCTC
