"""Greedy continuations: the tokens of transformers, with and without a cache."""

from typing import Any

import pytest
import torch

from compress.measure.generation import continued, decoded, in_dense_tokens, translated
from compress.model.vocabulary import kept_ids, trimmed
from tests.made_models import MODELS
from tests.made_tokenizers import TEXT, TOKENIZERS, UNSEEN

PROMPTS = torch.randint(4, 28, (3, 8), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("cached", [True, False], ids=["cache", "whole text"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_they_are_those_of_transformers(name: str, cached: bool) -> None:
    model: Any = MODELS[name]()
    whole = model.generate(PROMPTS, attention_mask=torch.ones_like(PROMPTS), max_new_tokens=6, min_new_tokens=6,
                           do_sample=False, pad_token_id=0, eos_token_id=None)  # fmt: skip
    assert continued(model, PROMPTS, 6, cached) == tuple(map(tuple, whole[:, 8:].tolist()))


@pytest.mark.parametrize("kind", list(TOKENIZERS))
def test_a_prompt_is_the_same_text_in_a_trimmed_vocabulary(kind: str) -> None:
    dense = TOKENIZERS[kind]()
    kept = kept_ids(dense, dense(TEXT[0])["input_ids"])
    own = trimmed(dense, kept, "causal-lm")
    for text in TEXT if kind == "unigram" else (*TEXT, UNSEEN):
        ids = dense(text)["input_ids"]
        assert decoded(own, translated(ids, dense, own)) == decoded(dense, ids)
    ids = dense(TEXT[0])["input_ids"]
    assert [kept[id] for id in translated(ids, dense, own)] == ids


@pytest.mark.parametrize("kind", ["byte_level", "pieces"])
def test_equal_text_is_equal_in_dense_tokens_however_it_was_cut(kind: str) -> None:
    dense = TOKENIZERS[kind]()
    ids = dense("the story of the story was lovely and warm")["input_ids"]
    prompt, rest = ids[:3], ids[3:]
    letters = [id for token in dense.convert_ids_to_tokens(rest) for id in dense.convert_tokens_to_ids(list(token))]
    assert len(letters) > len(rest)
    text = decoded(dense, ids)
    for reference in (rest, letters):  # a model may write any of them
        assert in_dense_tokens(text, dense, prompt, [reference]) == tuple(reference)
    other = decoded(dense, [*prompt, *rest[:2], *dense(" cold end", add_special_tokens=False)["input_ids"]])
    for reference in (rest, letters):
        found = in_dense_tokens(other, dense, prompt, [reference])
        same = next(n for n, (a, b) in enumerate(zip(found, reference, strict=False)) if a != b)
        agreed = decoded(dense, [*prompt, *reference[:same]])
        assert other.startswith(agreed)
        assert not other.startswith(decoded(dense, [*prompt, *reference[: same + 1]]))
    assert in_dense_tokens(text, dense, prompt, []) == tuple(rest)
