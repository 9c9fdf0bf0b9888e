"""Trimmed tokenizers: texts of kept tokens are cut as before, and every other text can still be encoded."""

import random
from pathlib import Path
from typing import Any

import pytest

from compress.data.tasks import task_of
from compress.model.vocabulary import base_tokens, closed, described, kept_ids, refusal, trimmed
from tests.helpers import tokenizer as words
from tests.made_tokenizers import BYTES, TEXT, TOKENIZERS, UNSEEN, byte_level, pieces


def ids(processor: Any, text: str) -> list[int]:
    found: list[int] = processor(text, add_special_tokens=False)["input_ids"]
    return found


def cut_to(processor: Any, text: str) -> tuple[Any, list[int]]:
    """The tokenizer with the tokens of a text, and the ids that were kept."""
    kept = kept_ids(processor, ids(processor, text))
    return trimmed(processor, kept, "causal-lm"), kept


@pytest.mark.parametrize("kind", list(TOKENIZERS))
@pytest.mark.parametrize("text", TEXT)
def test_a_text_of_kept_tokens_is_cut_as_before(kind: str, text: str) -> None:
    dense = TOKENIZERS[kind]()
    own, kept = cut_to(dense, text)
    assert len(own) == len(kept) < len(dense)
    assert [kept[id] for id in own(text)["input_ids"]] == dense(text)["input_ids"]
    draw = random.Random(0)
    for _ in range(50):  # other texts, of which only those of kept tokens have to be equal
        other = " ".join(draw.choices(" ".join(TEXT).split(), k=4))
        if set(ids(dense, other)) <= set(kept):
            assert [kept[id] for id in ids(own, other)] == ids(dense, other)


@pytest.mark.parametrize("kind", ["byte_level", "pieces", "whole_words"])
def test_any_text_comes_back_from_its_tokens(kind: str) -> None:
    dense = TOKENIZERS[kind]()
    own, _ = cut_to(dense, TEXT[0])
    draw = random.Random(1)
    letters = [chr(code) for code in (*range(1, 0x250), *range(0x4E00, 0x4E40), *range(0x1F600, 0x1F640))]
    for text in (UNSEEN, *TEXT, *("a" + "".join(draw.choices(letters, k=30)) for _ in range(100))):
        assert own.decode(ids(own, text)) == dense.decode(ids(dense, text)) == text
    special = "the end</s> <s>a 你"
    assert own.decode(ids(own, special)) == dense.decode(ids(dense, special))


def test_letters_stay_where_there_are_no_bytes() -> None:
    dense = TOKENIZERS["unigram"]()
    own, _ = cut_to(dense, "the the the")
    for text in TEXT:
        assert own.decode(ids(own, text)) == dense.decode(ids(dense, text)) == text


@pytest.mark.parametrize("make", [byte_level, pieces])
def test_the_kept_tokens_are_closed_under_merges(make: Any) -> None:
    """By brute force: a kept token that the dense tokenizer makes of its letters is made by the kept merges alone."""
    plain = described(make())
    vocab, merges = plain["model"]["vocab"], [tuple(pair) for pair in plain["model"]["merges"]]
    longer = [token for token in vocab if len(token) > 2 and not token.startswith("<")]
    draw = random.Random(2)
    for _ in range(40):
        tokens = set(draw.sample(longer, 5))
        kept = closed(plain, tokens | base_tokens(plain))
        left = [(a, b) for a, b in merges if {a, b, a + b} <= kept]
        made = [token for token in tokens if merged(token, merges) == [token]]
        assert made  # else the test proves nothing
        assert all(merged(token, left) == [token] for token in made)


def merged(token: str, merges: list[tuple[str, ...]]) -> list[str]:
    """The letters of a token after all merges: each rank in turn, the first pair first, from the start again."""
    letters = list(token)
    changed = True
    while changed:
        changed = False
        for a, b in merges:
            places = [i for i in range(len(letters) - 1) if (letters[i], letters[i + 1]) == (a, b)]
            if places:
                letters[places[0] : places[0] + 2] = [a + b]
                changed = True
                break
    return letters


def test_all_bytes_special_tokens_and_settings_stay(tmp_path: Path) -> None:
    dense = pieces()
    dense.add_tokens(["<tool>"])
    own, _ = cut_to(dense, TEXT[0])
    assert {*BYTES, "▁", "<unk>", "<s>", "</s>", "<tool>"} <= own.get_vocab().keys()
    assert (own.bos_token, own.eos_token, own.pad_token) == ("<s>", "</s>", "</s>")
    assert own("the end")["input_ids"][0] == own.bos_token_id
    assert sorted(own.get_vocab().values()) == list(range(len(own)))
    own.save_pretrained(tmp_path)
    again = task_of("causal-lm").load_processor(str(tmp_path))
    assert described(again) == described(own)
    assert again(UNSEEN)["input_ids"] == own(UNSEEN)["input_ids"]


def test_another_kind_of_tokenizer_is_refused_with_what_came_and_what_was_expected() -> None:
    assert refusal(words(), 64) == "the model's tokenizer is of type WordLevel; expected BPE or Unigram"
    assert refusal(object(), 64) == "the model's tokenizer has no tokenizer.json; expected a fast tokenizer"
    small = byte_level()
    assert refusal(small, len(small)) is None
    assert "tokens beyond them" in str(refusal(small, 300))
