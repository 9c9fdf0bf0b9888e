"""How an encoder-decoder generates texts: the model's own settings, and those of the workload in their place.

    generation_config.json, or config.json of older models      num_beams 4, length_penalty 2.0, max_length 142
    workload                                                     generation: {num_beams: 1}
    in the configuration of the model and of its artifacts      num_beams 1, length_penalty 2.0, max_new_tokens 141

All models of a session have the same settings, whatever runtime and artifact they come from. Nothing is sampled.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.base.errors import as_input_error
from compress.data import positions
from compress.data.checkpoints.files import read_json
from compress.data.tasks.view import WorkloadView

FIELD = "generation_settings"
"""Field of a model's configuration that holds the settings."""
PROMPTS = "known_prompts"
"""Field with the prompts that the model names, if the workload sets none."""
FILE = "generation_config.json"
USUAL_TOKENS = 128
"""Longest text of a model and a workload that state no length, in tokens."""
LENGTHS = ("max_length", "max_new_tokens")
KEPT = (
    "num_beams", "length_penalty", "early_stopping", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
    "repetition_penalty", "min_length", "min_new_tokens", "forced_bos_token_id", "forced_eos_token_id",
    "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "decoder_start_token_id", "bos_token_id",
    "eos_token_id", "pad_token_id",
)  # fmt: skip
"""Settings of transformers that are carried over."""
NO_TEXT = (
    "transformers_version", "_from_model_config", "use_cache", "output_attentions", "output_hidden_states",
    "output_scores", "output_logits", "return_dict_in_generate", "cache_implementation", "num_return_sequences",
)  # fmt: skip
"""Settings that change no text. Those that are in neither list, such as sampling, are left out, and a note names them.
"""
LEFT_OUT = "left_out"
OF_BEAMS = ("length_penalty", "early_stopping")
TOKENS = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
NEUTRAL: Mapping[str, Any] = {
    "num_beams": 1, "length_penalty": 1.0, "early_stopping": False, "no_repeat_ngram_size": 0, "min_length": 0,
    "encoder_no_repeat_ngram_size": 0, "repetition_penalty": 1.0,
}  # fmt: skip
"""Values that change nothing, which are not listed in a note; length_penalty changes nothing without beams."""


def configure(config: Any, folder: Path | None, workload: WorkloadView) -> None:
    """Store the settings of generation in a model's configuration, from its files and from the workload.

    Raises InputError for a model that is no encoder-decoder, or states no first token of its decoder.
    """
    if not getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"config.json: {config.model_type} is no encoder-decoder; expected a model such as T5, BART, Marian or "
            "Pegasus; a language model is judged by task causal-lm"
        )
    stored = getattr(config, FIELD, None)
    own = dict(stored) if isinstance(stored, Mapping) else _own(config, folder)
    found = {name: value for name, value in own.items() if name in (*KEPT, "max_new_tokens") and value is not None}
    for name in TOKENS:
        if found.get(name) is None and (value := getattr(config, name, None)) is not None:
            found[name] = value
    _check_start(found)
    found |= _stated(workload, folder)
    found["max_new_tokens"] = _longest(config, {**own, **_stated_length(workload)})
    least = max(found.get("min_new_tokens") or 0, found.get("min_length") or 0)
    if least > found["max_new_tokens"]:
        raise InputError(
            f"generation.max_new_tokens {found['max_new_tokens']}: the model's own shortest text has {least} tokens "
            f"({FILE}: min_length); expected at least {least}"
        )
    if others := own.get(LEFT_OUT) or _others(own):
        found[LEFT_OUT] = list(others)
    setattr(config, FIELD, found)
    if workload.prompt is None and (named := prompts(folder)):
        setattr(config, PROMPTS, list(named.values()))


def _check_start(settings: Mapping[str, Any]) -> None:
    """Raise InputError for settings without the decoder's first token."""
    if settings.get("decoder_start_token_id") is None:
        raise InputError("config.json: has no decoder_start_token_id, with which the decoder begins; set it")


def _others(own: Mapping[str, Any]) -> list[str]:
    """Return the names of a model's own settings that are set and left out."""
    known = {*KEPT, *LENGTHS, *NO_TEXT}
    return [name for name, value in own.items() if name not in known and value not in (None, False, {}, [])]


def _own(config: Any, folder: Path | None) -> dict[str, Any]:
    """Return the settings in a model's files: of generation_config.json, or else of config.json."""
    from transformers import GenerationConfig

    if folder is not None and (folder / FILE).is_file():
        with as_input_error(lambda reason: f"{FILE}: cannot be read ({reason})"):
            return dict(GenerationConfig.from_pretrained(folder).to_diff_dict())
    values = {**config.to_dict(), **_file(folder)}
    return {name: values[name] for name in (*KEPT, *LENGTHS) if values.get(name) is not None}


def _file(folder: Path | None) -> dict[str, Any]:
    """Return the fields of config.json. transformers 5 takes those of generation out of what it loads."""
    path = None if folder is None else folder / "config.json"
    stored = read_json(path) if path is not None and path.is_file() else {}
    return stored if isinstance(stored, dict) else {}


def prompts(folder: Path | None) -> dict[str, str]:
    """Return kind of task -> text before every source, as the configuration of T5 names them; empty for most models."""
    params = _file(folder).get("task_specific_params")
    named = params.items() if isinstance(params, dict) else ()
    found = {kind: each.get("prefix") for kind, each in named if isinstance(each, dict)}
    return {kind: prompt for kind, prompt in found.items() if isinstance(prompt, str) and prompt}


def prompt_lines(folder: Path, task: str) -> list[str]:
    """Return the line of a workload with the first prompt of such a task, and the others as a comment."""
    named = [prompt for kind, prompt in prompts(folder).items() if kind.startswith(task)]
    others = f"  # or {', '.join(map(json.dumps, named[1:]))}" if named[1:] else ""
    return [f"prompt: {json.dumps(named[0])}{others}"] if named else []


def _stated(workload: WorkloadView, folder: Path | None) -> dict[str, Any]:
    """Return the workload's settings in transformers' names, without the length."""
    stated = workload.generation.model_dump(exclude_none=True, exclude={"max_new_tokens", "forced_bos_token"})
    token = workload.generation.forced_bos_token
    if token is None:
        return stated
    if folder is None:
        raise InputError(f"generation.forced_bos_token {token!r}: the model's tokenizer is not on this machine")
    from compress.data.tasks import texts

    vocabulary = texts.load_processor(str(folder)).get_vocab()
    if token not in vocabulary:
        raise InputError(
            f"generation.forced_bos_token {token!r}: the model's tokenizer has no such token; expected one of its "
            "tokens, such as the code of a language"
        )
    return {**stated, "forced_bos_token_id": vocabulary[token]}


def _stated_length(workload: WorkloadView) -> dict[str, int]:
    stated = workload.generation.max_new_tokens
    return {} if stated is None else {"max_new_tokens": stated, "max_length": stated + 1}


def _longest(config: Any, given: Mapping[str, Any]) -> int:
    """Return the longest text in tokens, without the decoder's first one."""
    new, whole = given.get("max_new_tokens"), given.get("max_length")
    length = new or (whole - 1 if isinstance(whole, int) and whole > 1 else USUAL_TOKENS)
    limit = decoder_positions(config)
    return length if limit is None else min(length, limit)


def decoder_positions(config: Any) -> int | None:
    """Return the positions of a decoder with a table of them; None for T5's distances, which have no limit."""
    values = getattr(config, "decoder", config).to_dict()  # T5Gemma's two halves have a configuration each
    if "relative_attention_num_buckets" in values:
        return None
    return values.get("max_decoder_position_embeddings") or positions.stated(values)  # LED's tables differ in length


def settings_of(config: Any) -> dict[str, Any]:
    """Return the settings in a model's configuration; those of a model in memory are its configuration's own."""
    stored = getattr(config, FIELD, None)
    if isinstance(stored, Mapping):
        return dict(stored)
    own = _own(config, None)
    kept = {name: value for name, value in own.items() if name in KEPT}
    _check_start(kept)
    return {**kept, "max_new_tokens": _longest(config, own)}


def in_words(settings: Mapping[str, Any]) -> str:
    """Return the settings as a note: how every text of the results was generated."""
    beams = settings.get("num_beams") or 1
    search = "greedy search" if beams == 1 else f"{beams} beams"
    hidden = {"num_beams", "max_new_tokens", LEFT_OUT, *TOKENS, *(OF_BEAMS if beams == 1 else ())}
    further = [
        f"{name} {value}"
        for name, value in settings.items()
        if name not in hidden and value is not None and value != NEUTRAL.get(name)
    ]
    start = f"decoder_start_token_id {settings.get('decoder_start_token_id')}"
    others = f" (the model's own {', '.join(settings[LEFT_OUT])} left out)" if settings.get(LEFT_OUT) else ""
    return ", ".join([search, f"at most {settings['max_new_tokens']} new tokens", *further, start]) + others


def generated(model: Any, inputs: Mapping[str, Any]) -> Any:
    """Return the ids [batch, new] that a model generates after the decoder's first token, with padding at the end."""
    from transformers import GenerationConfig

    settings = {**NEUTRAL, **settings_of(model.config)}
    unused = {LEFT_OUT, *(OF_BEAMS if settings["num_beams"] == 1 else ())}
    given = {name: value for name, value in settings.items() if name not in unused}
    asked = GenerationConfig(**{**given, "do_sample": False})
    before, model.generation_config = model.generation_config, asked  # its values would fill those that are unset
    try:
        found = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], generation_config=asked
        )
    finally:
        model.generation_config = before
    return found[:, 1:]


def has_end(ids: Sequence[int], config: Any) -> bool:
    """Return whether a text came to an end by itself: an end token that is forced at the longest text is none."""
    settings = settings_of(config)
    end = settings.get("eos_token_id")
    ends = {end} if isinstance(end, int) else set(end or ())
    first = next((place for place, token in enumerate(ids) if token in ends), None)
    forced = settings.get("forced_eos_token_id") is not None
    return first is not None and not (forced and first + 1 >= settings["max_new_tokens"])
