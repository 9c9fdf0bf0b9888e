"""What a window calls at a point with a phase: a prompt, single tokens after a filled cache, or a whole request.

    prefill    prompt [batch, length] --> cache, first new token
    decode     token -> model + cache -> token        one call is one token; after `new_tokens` calls the cache is cut
                                                      back to the prompt's length, so that every pass does the same work
    generate   prompt --> cache, first new token --> ... --> `new_tokens` tokens

Decoding is greedy and does not stop at an end token: every call does the same work. With `stop`, a request ends
when all of its texts have had their end token: a window then runs whole passes over the same prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from compress.data.point import OperatingPoint
from compress.model.caching import Caching, caching, keeps_cache


class Decoding:
    """A language model whose calls each append one token to a prompt."""

    def __init__(self, model: Caching, new_tokens: int, prompt: torch.Tensor):
        """Fill the cache with the prompt [batch, length]."""
        self._model = model
        self._most, self._context = new_tokens, prompt.shape[1]
        with torch.no_grad():
            model.reserve(self._context + new_tokens, rewinds=True)
            self._first = model.prefill(prompt)
        self._last, self._count = self._first, 0

    def __call__(self, **_: Any) -> torch.Tensor:
        """Return the ids [batch, 1] of the next token."""
        if self._count == self._most:
            self._model.rewind()
            self._last, self._count = self._first, 0
        self._last, self._count = self._model.step(self._last), self._count + 1
        return self._last

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache at the end of a pass, when it holds the prompt and all new tokens."""
        return self.bytes_after(self._most)

    def bytes_after(self, steps: int) -> int:
        """Return the bytes of the cache when it holds the prompt and so many new tokens."""
        return self._model.bytes_with(self._context + steps, now=self._context + self._count)


class Prefill:
    """A language model whose calls each read a prompt."""

    def __init__(self, model: Caching):
        self._model = model

    def __call__(self, input_ids: torch.Tensor | None = None, **batch: torch.Tensor) -> torch.Tensor:
        """Return the ids [batch, 1] of the first new token after the prompt [batch, length]."""
        prompt = prompt_of(batch) if input_ids is None else input_ids
        self._model.reserve(prompt.shape[1])
        return self._model.prefill(prompt)


class Generation:
    """A language model whose calls are requests."""

    def __init__(self, model: Caching, new_tokens: int):
        self._model = model
        self._tokens = new_tokens

    def __call__(self, input_ids: torch.Tensor | None = None, **batch: torch.Tensor) -> torch.Tensor:
        """Return the ids [batch, new_tokens] that follow the prompt [batch, length]."""
        prompt = prompt_of(batch) if input_ids is None else input_ids
        self._model.reserve(prompt.shape[1] + self._tokens)
        generated = [self._model.prefill(prompt)]
        while len(generated) < self._tokens:
            generated.append(self._model.step(generated[-1]))
        return torch.cat(generated, dim=1)


class Stopping:
    """A language model whose calls are requests that end with the end tokens of their texts."""

    def __init__(self, model: Caching, most: int, ends: torch.Tensor):
        """Generate at most `most` tokens; `ends` [ids] are the end tokens."""
        self._model = model
        self._most, self._ends = most, ends

    def __call__(self, input_ids: torch.Tensor | None = None, **batch: torch.Tensor) -> torch.Tensor:
        """Return the ids [batch, new] that follow the prompt [batch, length]; texts that have ended run on."""
        prompt = prompt_of(batch) if input_ids is None else input_ids
        self._model.reserve(prompt.shape[1] + self._most)
        generated = [self._model.prefill(prompt)]
        done = torch.isin(generated[-1], self._ends)
        while len(generated) < self._most and not bool(done.all()):
            generated.append(self._model.step(generated[-1]))
            done = done | torch.isin(generated[-1], self._ends)
        return torch.cat(generated, dim=1)

    def lengths(self, batches: Sequence[Mapping[str, torch.Tensor]]) -> tuple[int, ...]:
        """Return the tokens of each text of a pass up to its end token, which counts; without one all of them."""
        found: list[int] = []
        with torch.no_grad():
            for batch in batches:
                ended = torch.isin(self(**batch), self._ends)  # [batch, new]
                first = ended.int().argmax(dim=1) + 1
                found += torch.where(ended.any(dim=1), first, ended.shape[1]).tolist()
        return tuple(found)


def prompt_of(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the prompt of a batch: token ids [batch, length], or the spectrograms of speech [batch, bins, frames]."""
    return batch["input_ids"] if "input_ids" in batch else batch["input_features"]


def called(model: Any, point: OperatingPoint, batch: Mapping[str, torch.Tensor], ends: Sequence[int] = ()) -> Any:
    """Return the callable that a window runs: the model itself, or its part in the point's phase.

    `batch` holds the prompt of a decode point, `ends` the end tokens of requests that stop.
    """
    if point.phase is None or not keeps_cache(model):
        return model
    if point.phase == "prefill":
        return Prefill(caching(model))
    new_tokens = point.new_tokens or 1
    if point.stop:
        return Stopping(caching(model), new_tokens, torch.tensor(ends, device=prompt_of(batch).device))
    if point.phase == "generate":
        return Generation(caching(model), new_tokens)
    return Decoding(caching(model), new_tokens, prompt_of(batch))
