"""Greedy continuations: the tokens of transformers, with and without a cache."""

from typing import Any

import pytest
import torch

from compress.measure.generation import continued
from tests.made_models import MODELS

PROMPTS = torch.randint(4, 28, (3, 8), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("cached", [True, False], ids=["cache", "whole text"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_they_are_those_of_transformers(name: str, cached: bool) -> None:
    model: Any = MODELS[name]()
    whole = model.generate(PROMPTS, attention_mask=torch.ones_like(PROMPTS), max_new_tokens=6, min_new_tokens=6,
                           do_sample=False, pad_token_id=0, eos_token_id=None)  # fmt: skip
    assert continued(model, PROMPTS, 6, cached) == tuple(map(tuple, whole[:, 8:].tolist()))
