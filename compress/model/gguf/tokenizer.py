"""Tokenizers in GGUF: a vocabulary, merges or scores, and the name of a way to split text.

    gpt2    byte-level BPE; llama.cpp knows the splits of SPLITS by name
    llama   SentencePiece's BPE; it merges the pair whose result has the highest score: here minus the merge's rank

A tokenizer of another kind is refused: llama.cpp would split text differently without a message.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compress.base.errors import InputError
from compress.data.tasks.blocks import frame

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
SPACE = "▁"
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS: dict[str, tuple[tuple[str, ...], bool]] = {
    "gpt-2": (("bytes",), False),
    "smollm": (("digits", "bytes"), False),
    "qwen2": ((WORDS % "", "bytes alone"), False),
    "llama-bpe": ((WORDS % "{1,3}", "bytes alone"), True),
}
"""Name in llama.cpp -> the steps that split text before merging, and whether whole words of the vocabulary stay."""

KINDS = (
    "GGUF knows byte-level BPE that splits text as GPT-2, SmolLM, Qwen2 or Llama 3 do, and SentencePiece's BPE with "
    "tokens of single bytes, as of Llama 2, Mistral and Gemma"
)
OTHERS = "compressed-tensors, gptq, onnx and openvino keep the tokenizer as it is: export to one of them"


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer as GGUF stores it."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] | None
    scores: list[float] | None
    adds_bos: bool
    adds_eos: bool
    space_prefix: bool | None


def vocabulary(processor: Any, size: int) -> Vocabulary:
    """Return the tokenizer of a model with `size` embeddings. Raises InputError for one that GGUF lacks."""
    if processor is None or not getattr(processor, "is_fast", False):
        raise _lacks("the artifact has no tokenizer.json")
    plain: dict[str, Any] = json.loads(processor.backend_tokenizer.to_str())
    model = plain["model"]
    if model.get("type") != "BPE":
        raise _lacks(f"it is of type {model.get('type')}; expected BPE")
    if len(processor) > size:
        raise _lacks(f"it has {len(processor)} tokens, and the model {size} embeddings")
    prefix, suffix = frame(processor)
    if list(prefix) not in ([], [processor.bos_token_id]) or list(suffix) not in ([], [processor.eos_token_id]):
        raise _lacks(f"it puts tokens {[*prefix, *suffix]} around a text; expected bos, eos or none")
    for token in plain["added_tokens"]:
        if token["lstrip"] or token["rstrip"] or token["single_word"]:
            raise _lacks(f"its token {token['content']} takes the spaces around it")
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    prepended = _space_prefix(plain)
    if prepended is None:
        pre = _split(plain)
        tokens, types = _tokens(plain, size, pieces=False)
        return Vocabulary("gpt2", pre, tokens, types, merges, None, bool(prefix), bool(suffix), None)
    tokens, types = _tokens(plain, size, pieces=True)
    return Vocabulary(
        "llama", "default", tokens, types, None, _scores(tokens, merges), bool(prefix), bool(suffix), prepended
    )


def one_space_more(processor: Any) -> bool:
    """Return whether llama.cpp puts a space before texts that begin with one, and the tokenizer does not."""
    steps = json.loads(processor.backend_tokenizer.to_str())["pre_tokenizer"] or {}
    return bool(steps.get("type") == "Metaspace" and steps.get("prepend_scheme") != "never")


def _lacks(reason: str) -> InputError:
    return InputError(f"gguf: GGUF has no tokenizer like the model's: {reason}. {KINDS}. {OTHERS}")


def _split(plain: Mapping[str, Any]) -> str:
    """Return llama.cpp's name for the way in which a byte-level tokenizer splits text."""
    normalizer = (plain["normalizer"] or {}).get("type")
    steps = tuple(_step(step) for step in _sequence(plain["pre_tokenizer"], "pretokenizers"))
    whole = bool(plain["model"].get("ignore_merges"))
    for name, (known, keeps) in SPLITS.items():
        if steps == known and whole == keeps and normalizer in ((None, "NFC") if name == "qwen2" else (None,)):
            return name
    raise _lacks(_described(steps, plain["normalizer"]))


def _described(steps: Sequence[str], normalizer: Mapping[str, Any] | None) -> str:
    """Return how a tokenizer prepares a text, in words."""
    splits = (
        f"splits text by {', '.join(steps)}" if steps else "merges tokens across words, without splitting text first"
    )
    changes = [str(each["type"]) for each in _sequence(normalizer, "normalizers")]
    return f"it {splits}" + (f", and changes text before ({', '.join(changes)})" if changes else "")


def _sequence(part: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    return list(part[key]) if part["type"] == "Sequence" else [part]


def _step(step: Mapping[str, Any]) -> str:
    """Return one step of splitting as SPLITS writes it."""
    match step:
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return "bytes"
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}:
            return "bytes alone"
        case {"type": "Digits", "individual_digits": True}:
            return "digits"
        case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}:
            return str(pattern)
    return str(step.get("type"))


def _space_prefix(plain: Mapping[str, Any]) -> bool | None:
    """Return whether a SentencePiece tokenizer puts a space before a text; None for another kind of tokenizer."""
    if not plain["model"].get("byte_fallback"):
        return None
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = {"type": "Prepend", "prepend": SPACE}
    before = _sequence(plain["normalizer"], "normalizers")
    steps = _sequence(plain["pre_tokenizer"], "pretokenizers")
    spaces = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
    if before == [prepend, replace] and not steps:
        return True
    if before == [replace] and steps in ([], [spaces]):
        return False
    if not before and len(steps) == 1 and steps[0].get("type") == "Metaspace" and not steps[0].get("split", True):
        return steps[0].get("prepend_scheme") != "never"
    raise _lacks("its pieces are not split like SentencePiece's")


def _tokens(plain: Mapping[str, Any], size: int, pieces: bool) -> tuple[list[str], list[int]]:
    """Return text and type of every embedding's token; embeddings without a token are unused."""
    tokens, types = [f"[PAD{index}]" for index in range(size)], [UNUSED] * size
    unknown = plain["model"].get("unk_token")
    for token, index in plain["model"]["vocab"].items():
        tokens[index] = token
        is_byte = pieces and len(token) == 6 and token.startswith("<0x") and token.endswith(">")
        types[index] = BYTE if is_byte else UNKNOWN if token == unknown else NORMAL
    for token in plain["added_tokens"]:
        tokens[token["id"]] = token["content"]
        known = token["content"] == unknown
        types[token["id"]] = UNKNOWN if known else CONTROL if token["special"] else USER_DEFINED
    if pieces and types.count(BYTE) != 256:
        raise _lacks(f"it has {types.count(BYTE)} tokens of single bytes; expected 256")
    return tokens, types


def _scores(tokens: list[str], merges: list[str]) -> list[float]:
    """Return minus the rank of the first merge that makes each token; letters, which no merge makes, come last."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge.replace(" ", ""), rank)
    return [-float(ranks.get(token, len(merges))) for token in tokens]
