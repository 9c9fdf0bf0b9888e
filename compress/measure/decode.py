"""Measurable generation: decoding of single tokens over a filled key/value cache.

    prompt [batch, length] --prefill--> cache        not measured: done by the first call, before a window
    token -> model + cache -> token -> ...           measured: one call appends `tokens` tokens to each text
    cache cut back to the prompt's length            so that every call does the same work

Decoding is greedy. Points without generation measure prefill.
"""

from typing import Any

import torch


class Decoding:
    """A language model whose calls continue a prompt."""

    def __init__(self, model: Any, tokens: int):
        self._model = model
        self._tokens = tokens
        self._cache: Any = None
        self._first = torch.empty(0)

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return the [batch, tokens] ids that follow `input_ids` [batch, length]. All calls must pass one prompt."""
        if self._cache is None:
            self._fill(input_ids)
        generated = [self._first]
        for _step in range(self._tokens):
            output = self._model(input_ids=generated[-1], past_key_values=self._cache, use_cache=True)
            generated.append(output.logits[:, -1:].argmax(dim=-1))
        self._cache.crop(-self._tokens)  # back to the prompt's length
        return torch.cat(generated[:-1], dim=1)

    def _fill(self, prompt: torch.Tensor) -> None:
        """Fill the cache with the prompt and compute the token that follows it."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        if hasattr(cache, "activate_past_recording"):  # a sliding window drops tokens that `crop` needs
            cache.activate_past_recording()
        output = self._model(input_ids=prompt, past_key_values=cache, use_cache=True)
        self._cache = output.past_key_values
        self._first = output.logits[:, -1:].argmax(dim=-1)


def called(model: Any, tokens: int | None) -> Any:
    """Return the callable that a window runs: the model, or its generation of `tokens` tokens."""
    return model if tokens is None else Decoding(model, tokens)
