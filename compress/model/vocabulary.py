"""A tokenizer cut down to some of its tokens, and the tokens that have to stay with them.

    merges   t h -> th   th e -> the   q u -> qu             the is used: th, t, h and e make it, so they stay
    ids      0 <s>  1 e  2 h  3 q  4 t  5 u  6 th  7 the  8 qu
             0 <s>  1 e  2 h  3 q  4 t  5 u  6 th  7 the     bytes or letters stay too: every text can be encoded

Kept tokens keep their order. A text whose tokens are all kept is cut into the same tokens as before: the merges that
were applied to it are all left, in their order, and the others were never applied.
"""

import json
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from compress.base.config import InputError
from compress.base.errors import as_input_error
from compress.data.tasks import task_of

KINDS = ("BPE", "Unigram")
SPACE = "▁"
PLAIN = "expected a tokenizer that tokenizer.json describes: save it as PreTrainedTokenizerFast"
STALE = ("vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "tokenizer.model", "spiece.model")
"""Files of older tokenizer formats, which hold the whole vocabulary."""


def refusal(processor: Any, rows: int) -> str | None:
    """Return why this tokenizer of a model with `rows` embeddings cannot be cut down; None if it can."""
    if not getattr(processor, "is_fast", False):
        return "the model's tokenizer has no tokenizer.json; expected a fast tokenizer"
    plain = described(processor)
    model = plain["model"]
    if model["type"] not in KINDS:
        return f"the model's tokenizer is of type {model['type']}; expected {' or '.join(KINDS)}"
    marks = [name for name in ("continuing_subword_prefix", "end_of_word_suffix") if model.get(name)]
    if marks:
        return f"the model's tokenizer marks parts of words ({marks[0]} {model[marks[0]]!r}); expected none"
    added = {token["id"] for token in plain["added_tokens"]}
    beyond = [token for token, id in _ids(plain).items() if id >= rows and id not in added]
    if beyond:
        return f"the model has {rows} embeddings, and its tokenizer {len(beyond)} tokens beyond them, {beyond[0]!r}"
    return None


def described(processor: Any) -> dict[str, Any]:
    """Return the content of a fast tokenizer's tokenizer.json."""
    plain: dict[str, Any] = json.loads(processor.backend_tokenizer.to_str())
    return plain


def kept_ids(processor: Any, used: Iterable[int]) -> list[int]:
    """Return the sorted ids that stay for the used ones to stay: also added tokens, bytes or letters, and what merges
    need."""
    plain = described(processor)
    numbers = _ids(plain)
    tokens = {id: token for token, id in numbers.items()}
    used = set(used)
    wanted = {tokens[id] for id in used if id in tokens} | base_tokens(plain)
    kept = closed(plain, wanted) if plain["model"]["type"] == "BPE" else wanted
    return sorted(used | {numbers[token] for token in kept} | {token["id"] for token in plain["added_tokens"]})


def base_tokens(plain: Mapping[str, Any]) -> set[str]:
    """Return the tokens by which every text can be encoded: those of bytes, else of single letters; and the unknown."""
    from tokenizers.pre_tokenizers import ByteLevel

    model, tokens = plain["model"], _ids(plain)
    if _has(plain["pre_tokenizer"], "ByteLevel") or _has(plain["decoder"], "ByteLevel"):
        base = set(ByteLevel.alphabet())
    elif model.get("byte_fallback"):
        base = {f"<0x{byte:02X}>" for byte in range(256)} | {SPACE}
    else:
        base = {token for token in tokens if len(token) == 1}
    unknown = model.get("unk_token")
    if model.get("unk_id") is not None:
        unknown = model["vocab"][model["unk_id"]][0]
    return (base | ({unknown} if unknown else set())) & tokens.keys()


def closed(plain: Mapping[str, Any], tokens: Collection[str]) -> set[str]:
    """Return the tokens with all tokens that their merges pass through.

    Every token has one way in which its letters are merged, within any word: the pair with the first merge of all goes
    first. Merges across the ends of a token were not applied where it is the result.
    """
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(_merges(plain))))}
    known = _ids(plain)
    kept = set(tokens)
    for token in tokens:
        steps = passed(token, ranks)
        if steps[-1] == [token]:
            kept.update(part for step in steps for part in step)
    return kept & known.keys() | set(tokens)


def passed(token: str, ranks: Mapping[tuple[str, str], int]) -> list[list[str]]:
    """Return the parts of a token after every merge of its letters, by the rank of each pair; the last is the end."""
    parts = list(token)
    steps = [parts]
    while len(parts) > 1:
        pairs = [(ranks[pair], place) for place, pair in enumerate(pairwise(parts)) if pair in ranks]
        if not pairs:
            break
        _, place = min(pairs)
        parts = [*parts[:place], parts[place] + parts[place + 1], *parts[place + 2 :]]
        steps.append(parts)
    return steps


def trimmed(processor: Any, kept: Sequence[int], task: str) -> Any:
    """Return the tokenizer with the tokens of these ids alone, numbered from 0 in their order.

    It is saved and loaded on the way, as an artifact's is. Raises InputError if the loaded one is another tokenizer.
    """
    wanted = renumbered(described(processor), kept)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processor.save_pretrained(folder)
        for file in STALE:
            (folder / file).unlink(missing_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(wanted, ensure_ascii=False), encoding="utf-8")
        _renumber_settings(folder / "tokenizer_config.json", kept)
        with as_input_error(
            lambda reason: f"prune vocabulary: the trimmed tokenizer cannot be loaded ({reason}); {PLAIN}"
        ):
            loaded = task_of(task).load_processor(str(folder))
    found = described(loaded)
    different = [part for part in ("model", "added_tokens", "pre_tokenizer", "normalizer", "post_processor", "decoder")
                 if found[part] != wanted[part]]  # fmt: skip
    if different:
        raise InputError(
            f"prune vocabulary: transformers loads the trimmed tokenizer with another {different[0]} "
            f"({type(processor).__name__}); {PLAIN}"
        )
    loaded.name_or_path = processor.name_or_path
    return loaded


def renumbered(plain: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Return a tokenizer.json with the tokens of the kept ids, renumbered in their order."""
    numbers = {old: new for new, old in enumerate(kept)}
    model = dict(plain["model"])
    if model["type"] == "BPE":
        model["vocab"] = {token: numbers[id] for token, id in model["vocab"].items() if id in numbers}
        has = model["vocab"].keys()
        model["merges"] = [
            merge
            for merge, (left, right) in zip(model["merges"], _merges(plain), strict=True)
            if left in has and right in has and left + right in has
        ]
    else:
        model["vocab"] = [entry for id, entry in enumerate(model["vocab"]) if id in numbers]
        model["unk_id"] = None if model["unk_id"] is None else numbers[model["unk_id"]]
    added = [{**token, "id": numbers[token["id"]]} for token in plain["added_tokens"]]
    padding = plain.get("padding")
    if padding is not None:
        padding = {**padding, "pad_id": numbers[padding["pad_id"]]}
    post = _renumbered_ends(plain["post_processor"], numbers)
    return {**plain, "model": model, "added_tokens": added, "padding": padding, "post_processor": post}


def _renumbered_ends(step: Any, numbers: Mapping[int, int]) -> Any:
    """Return a post-processor, which puts special tokens around a text, with their new ids."""
    if step is None:
        return None
    changed = dict(step)
    if "processors" in changed:
        changed["processors"] = [_renumbered_ends(each, numbers) for each in changed["processors"]]
    if "special_tokens" in changed:
        changed["special_tokens"] = {
            name: {**token, "ids": [numbers[id] for id in token["ids"]]}
            for name, token in changed["special_tokens"].items()
        }
    for end in ("sep", "cls"):
        if end in changed:
            token, id = changed[end]
            changed[end] = [token, numbers[id]]
    return changed


def _renumber_settings(file: Path, kept: Sequence[int]) -> None:
    """Give the added tokens in tokenizer_config.json their new ids, if it lists them."""
    settings = json.loads(file.read_text(encoding="utf-8"))
    if "added_tokens_decoder" in settings:
        numbers = {str(old): str(new) for new, old in enumerate(kept)}
        listed = settings["added_tokens_decoder"].items()
        settings["added_tokens_decoder"] = {numbers[id]: token for id, token in listed if id in numbers}
        file.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")


def _ids(plain: Mapping[str, Any]) -> dict[str, int]:
    """Return token -> id of the vocabulary, without added tokens that it lacks."""
    vocab = plain["model"]["vocab"]
    return dict(vocab) if isinstance(vocab, dict) else {token: id for id, (token, _) in enumerate(vocab)}


def _merges(plain: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs that are merged, the first one first."""
    merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in plain["model"]["merges"])
    return [(left, right) for left, right in merges]


def _has(step: Any, kind: str) -> bool:
    """Return whether a step of a tokenizer is of a kind, or contains one."""
    if step is None:
        return False
    parts = [part for key in ("pretokenizers", "decoders") for part in step.get(key, ())]
    return step["type"] == kind or any(_has(part, kind) for part in parts)
