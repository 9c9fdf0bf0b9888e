"""Generation as a thing to measure: single tokens, one after another, over a filled key/value cache.

    prompt [batch, length] --prefill--> cache        not measured: the first call, before a window, does it
    token -> model + cache -> token -> ...           measured: one call appends `tokens` of them to each text
    cache cut back to the prompt's length            so that every call does the same work

What is computed is a greedy generation; prefill is what the points without generation measure.
"""

from typing import Any

import torch


class Decoding:
    """A language model that continues a prompt whenever it is called with it."""

    def __init__(self, model: Any, tokens: int):
        self._model = model
        self._tokens = tokens
        self._cache: Any = None
        self._first = torch.empty(0)

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        """[batch, tokens] ids that follow `input_ids` [batch, length]; all calls are of one prompt."""
        if self._cache is None:
            self._fill(input_ids)
        made = [self._first]
        for _step in range(self._tokens):
            answer = self._model(input_ids=made[-1], past_key_values=self._cache, use_cache=True)
            made.append(answer.logits[:, -1:].argmax(dim=-1))
        self._cache.crop(-self._tokens)  # takes so many off again
        return torch.cat(made[:-1], dim=1)

    def _fill(self, prompt: torch.Tensor) -> None:
        """Computes the prompt once, and the token that follows it."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        if hasattr(cache, "activate_past_recording"):  # else a sliding window forgets what is to be gone back to
            cache.activate_past_recording()
        answer = self._model(input_ids=prompt, past_key_values=cache, use_cache=True)
        self._cache = answer.past_key_values
        self._first = answer.logits[:, -1:].argmax(dim=-1)


def called(model: Any, tokens: int | None) -> Any:
    """What a window of a point runs: the model itself, or its generation of `tokens`."""
    return model if tokens is None else Decoding(model, tokens)
