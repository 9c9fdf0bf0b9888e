"""How Whisper writes a transcript: the tokens before it, the search, and what is removed from what it wrote.

    <|startoftranscript|> (<|en|> <|transcribe|>) <|notimestamps|>   text   <|endoftext|>
    \\______________________ prompt ____________________________/

English-only models have no language and no task. All models of a session have the same prompt and settings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.data.tasks import decoding
from compress.data.tasks.view import WorkloadView

PROMPT = "prompt_ids"
TIMESTAMPS = "no_timestamps_token_id"


def configure(config: Any, folder: Path | None, workload: WorkloadView) -> None:
    """Store the settings of generation and the prompt in a model's configuration.

    Raises InputError for a multilingual model without a language.
    """
    own = getattr(config, decoding.FIELD, None)
    files = {**_files(folder), **(own if isinstance(own, Mapping) else {})}
    decoding.configure(config, folder, workload)
    found = getattr(config, decoding.FIELD)
    found.pop(decoding.LEFT_OUT, None)  # timestamps and heads of alignment, which are not used
    found[PROMPT] = _prompt(files, found, workload.language)
    if (marker := files.get(TIMESTAMPS)) is not None:
        found[TIMESTAMPS] = marker
    room = config.max_target_positions - len(found[PROMPT])
    found["max_new_tokens"] = min(found["max_new_tokens"], room)


def is_multilingual(folder: Path) -> bool:
    """Return whether the files of a model list languages."""
    return bool(_files(folder).get("lang_to_id"))


def _files(folder: Path | None) -> dict[str, Any]:
    from compress.data.checkpoints.files import read_json

    path = None if folder is None else folder / decoding.FILE
    stored = read_json(path) if path is not None and path.is_file() else {}
    return stored if isinstance(stored, dict) else {}


def _prompt(files: Mapping[str, Any], settings: Mapping[str, Any], language: str | None) -> list[int]:
    """Return the ids before a transcript. Raises InputError for a language that is missing, or that no model of this
    kind has."""
    start = [int(settings["decoder_start_token_id"])]
    end = [int(files[TIMESTAMPS])] if files.get(TIMESTAMPS) is not None else []
    languages = files.get("lang_to_id") or {}
    if PROMPT in files and language is None:
        return list(files[PROMPT])
    if not languages:
        if language is not None:
            raise InputError(
                f"language {language!r}: {decoding.FILE} lists no languages (lang_to_id); an English-only model has "
                "none: remove language"
            )
        return start + end
    named = language or files.get("language")
    if named is None:
        shown = ", ".join(key.strip("<|>") for key in list(languages)[:6])
        raise InputError(
            f"language: the model knows {len(languages)} languages ({shown} ...), and detecting them would differ "
            "between compressed models; set language in the workload, such as: language: en"
        )
    token = named if named in languages else f"<|{named}|>"
    if token not in languages:
        raise InputError(f"language {named!r}: the model has no such language; expected a code such as en or de")
    task = (files.get("task_to_id") or {}).get("transcribe")
    return [*start, int(languages[token]), *([] if task is None else [int(task)]), *end]


def settings_of(config: Any) -> dict[str, Any]:
    """Return the settings in a configuration; those of a model in memory are its own, with the decoder's first token
    as its prompt."""
    found = decoding.settings_of(config)
    return {PROMPT: [found["decoder_start_token_id"]], **found}


def generated(model: Any, states: Any) -> list[list[int]]:
    """Return the ids of the text that a model writes for each recording, without its prompt.

    `states` are what its encoder made of them [batch, frames, width].
    """
    import torch
    from transformers import GenerationConfig
    from transformers.generation import GenerationMixin
    from transformers.modeling_outputs import BaseModelOutput

    settings = settings_of(model.config)
    unused = {PROMPT, TIMESTAMPS, decoding.LEFT_OUT, "prompts"}
    unused |= set(decoding.OF_BEAMS) if (settings.get("num_beams") or 1) == 1 else set()
    given = {name: value for name, value in {**decoding.NEUTRAL, **settings}.items() if name not in unused}
    asked = GenerationConfig(**{**given, "do_sample": False})
    prompt = torch.tensor([settings[PROMPT]] * len(states), device=states.device)
    before, model.generation_config = model.generation_config, asked
    try:  # Whisper's own generate falls back to sampling for long recordings, and adds timestamps
        found = GenerationMixin.generate(
            model,
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            decoder_input_ids=prompt,
            generation_config=asked,
        )
    finally:
        model.generation_config = before
    return [row[prompt.shape[1] :] for row in found.tolist()]


def text_ids(ids: Sequence[int], config: Any) -> list[int]:
    """Return the ids of a text alone: without its end, padding, prompt tokens and timestamps."""
    settings = settings_of(config)
    end = settings.get("eos_token_id")
    ends = {end} if isinstance(end, int) else set(end or ())
    stop = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    special = {*settings[PROMPT], settings.get("pad_token_id")}
    marker = settings.get(TIMESTAMPS)
    return [token for token in ids[:stop] if token not in special and (marker is None or token < marker)]


def ended(ids: Sequence[int], config: Any) -> bool:
    """Return whether a text came to an end by itself."""
    return decoding.has_end(ids, config)


def in_words(config: Any) -> str:
    """Return the settings as a note."""
    settings = settings_of(config)
    hidden = (PROMPT, TIMESTAMPS, "suppress_tokens", "begin_suppress_tokens")
    shown = decoding.in_words({name: value for name, value in settings.items() if name not in hidden})
    lists = [name for name in hidden[2:] if settings.get(name)]
    return f"{shown}, prompt {settings[PROMPT]}" + (f", the model's own {' and '.join(lists)}" if lists else "")
