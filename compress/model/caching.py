"""Language models that keep keys and values of earlier tokens: one prompt, then one token at a time.

`caching` returns this interface over a transformers model. Runtimes with caches of their own have it already.
"""

from abc import ABC, abstractmethod
from inspect import signature
from typing import Any

import torch

from compress.base.errors import InputError
from compress.data.speech.whisper import PROMPT
from compress.data.tasks.decoding import settings_of
from compress.model.runtimes.graph import GraphModel
from compress.model.wrapper import Wrapper


class Caching(ABC):
    """A language model with a cache of one batch of texts."""

    def reserve(self, tokens: int, rewinds: bool = False) -> None:
        """Announce texts of at most so many tokens; `rewinds`: they are cut back to their prompts.

        A cache of fixed size allocates for them at the next prompt. Caches that grow need no announcement.
        """
        del tokens, rewinds

    @abstractmethod
    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Forget all texts, read prompts [batch, length] and return the likeliest next ids [batch, 1]."""

    @abstractmethod
    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, 1] to the texts and return the likeliest next ids [batch, 1]."""

    @abstractmethod
    def rewind(self) -> None:
        """Cut the texts back to their prompts."""

    @property
    @abstractmethod
    def cache_bytes(self) -> int:
        """Bytes of the cache."""

    def bytes_with(self, tokens: int, now: int) -> int:
        """Return the bytes of the cache with so many tokens in each text, where it has `now` at present."""
        return self.cache_bytes // now * tokens


class Appending(Caching):
    """A runtime whose cache takes any number of tokens at once, and returns logits."""

    config: Any

    @abstractmethod
    def append(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, new] to the texts and return the logits [batch, 1, vocabulary] of the last one."""

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, 1] to the texts and return the likeliest next ids [batch, 1]."""
        return self.append(ids).argmax(dim=-1)

    def generate(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, max_new_tokens: int = 20
    ) -> torch.Tensor:
        """Return prompts [batch, length] with the tokens that follow greedily [batch, length + new].

        A text that has ended repeats its end token. Raises InputError for prompts with padding.
        """
        if attention_mask is not None and not bool(attention_mask.all()):
            raise InputError("generate: the prompts differ in length; expected prompts of one length, or one at a time")
        ends = _ends(self.config)
        self.reserve(input_ids.shape[1] + max_new_tokens)
        with torch.no_grad():
            found = [self.prefill(input_ids)]
            done = torch.isin(found[-1], ends)
            while len(found) < max_new_tokens and not bool(done.all()):
                found.append(torch.where(done, found[-1], self.step(found[-1])))
                done = done | torch.isin(found[-1], ends)
        return torch.cat([input_ids, *found], dim=1)


def _ends(config: Any) -> torch.Tensor:
    """Return the ids of end tokens; empty if the model has none."""
    end = getattr(config, "eos_token_id", None)
    return torch.tensor([end] if isinstance(end, int) else list(end or []), dtype=torch.long)


class EagerCache(Caching):
    """A transformers model with its dynamic cache."""

    def __init__(self, model: Any):
        self._model = model
        self._cache: Any = None
        self._steps = 0
        inputs = signature(model.forward).parameters
        self._keeps_logits, self._takes_positions = "logits_to_keep" in inputs, "position_ids" in inputs

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Forget all texts, read prompts [batch, length] and return the likeliest next ids [batch, 1]."""
        self._cache, self._steps = self.new_cache(), 0
        return self._run(ids)

    def new_cache(self) -> Any:
        """Return an empty cache."""
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config)
        if hasattr(cache, "activate_past_recording"):  # a sliding window drops tokens that `crop` needs
            cache.activate_past_recording()
        return cache

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, 1] to the texts and return the likeliest next ids [batch, 1]."""
        self._steps += 1
        return self._run(ids)

    def rewind(self) -> None:
        """Cut the texts back to their prompts."""
        self._cache.crop(-self._steps)
        self._steps = 0

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values."""
        return _bytes_of(self._cache)

    def bytes_with(self, tokens: int, now: int) -> int:
        """Return the bytes of the cache with so many tokens in each text.

        A layer with a sliding window counts as its window: tokens before it are recorded only to cut texts back.
        """
        del now
        total = 0
        for layer in self._cache.layers:
            for states in (layer.keys, layer.values):  # [texts, heads, tokens, width]
                if isinstance(states, torch.Tensor) and states.numel():
                    most = layer.sliding_window - 1 if getattr(layer, "is_sliding", False) else tokens
                    total += states.numel() * states.element_size() // states.shape[2] * min(tokens, most)
        return total

    def _run(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the likeliest next ids [batch, 1]; only the last token's logits are computed."""
        last = {"logits_to_keep": 1} if self._keeps_logits else {}
        output = self._model(**self.inputs(ids), past_key_values=self._cache, use_cache=True, **last)
        self._cache = output.past_key_values
        found: torch.Tensor = output.logits[:, -1:].argmax(dim=-1)
        return found

    def inputs(self, ids: torch.Tensor) -> dict[str, Any]:
        """Return the model's inputs for ids [batch, new], besides the cache."""
        return {"input_ids": ids}


class EncodedCache(EagerCache):
    """An encoder-decoder of transformers: a prompt is a source, which is encoded once, and the texts are targets.

    Its cache has keys and values of the source's tokens in every layer of the decoder, and those of the target's.
    """

    def __init__(self, model: Any):
        super().__init__(model)
        self._encoded: Any = None
        self._first = 1

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Encode sources, token ids [batch, length] or spectrograms [batch, bins, frames], and return the likeliest
        first ids [batch, 1] of their targets."""
        encoder, settings = self._model.get_encoder(), settings_of(self._model.config)
        self._encoded = encoder(ids.to(self._model.dtype)) if ids.is_floating_point() else encoder(input_ids=ids)
        start = settings.get(PROMPT) or [settings["decoder_start_token_id"]]
        self._first = len(start)
        return super().prefill(torch.tensor([start] * len(ids), device=ids.device))

    def new_cache(self) -> Any:
        """Return an empty cache of sources and targets."""
        from transformers import DynamicCache, EncoderDecoderCache

        return EncoderDecoderCache(DynamicCache(), DynamicCache())

    def inputs(self, ids: torch.Tensor) -> dict[str, Any]:
        """Return the model's inputs for ids [batch, new] of targets, besides the cache."""
        return {"encoder_outputs": self._encoded, "decoder_input_ids": ids}

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values, of sources and targets."""
        return sum(map(_bytes_of, (self._cache.self_attention_cache, self._cache.cross_attention_cache)))

    def bytes_with(self, tokens: int, now: int) -> int:
        """Return the bytes of the cache with so many tokens of source and target, where it has `now` at present."""
        targets = _bytes_of(self._cache.self_attention_cache)
        return self.cache_bytes + (tokens - now) * (targets // (self._steps + self._first))


def _bytes_of(cache: Any) -> int:
    """Return the bytes of keys and values of a dynamic cache."""
    tensors = (tensor for layer in cache.layers for tensor in (layer.keys, layer.values))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, torch.Tensor))


class Wrapped(Wrapper, Caching):
    """A transformers model inside a module of its own, with another cache than transformers' dynamic one."""

    def __init__(self, model: Any, cached: EagerCache) -> None:
        super().__init__(model)
        self._cached = cached

    def reserve(self, tokens: int, rewinds: bool = False) -> None:
        """Announce texts of at most so many tokens; `rewinds`: they are cut back to their prompts."""
        self._cached.reserve(tokens, rewinds)

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Forget all texts, read prompts [batch, length] and return the likeliest next ids [batch, 1]."""
        return self._cached.prefill(ids)

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, 1] to the texts and return the likeliest next ids [batch, 1]."""
        return self._cached.step(ids)

    def rewind(self) -> None:
        """Cut the texts back to their prompts."""
        self._cached.rewind()

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache."""
        return self._cached.cache_bytes

    def bytes_with(self, tokens: int, now: int) -> int:
        """Return the bytes of the cache with so many tokens in each text, where it has `now` at present."""
        return self._cached.bytes_with(tokens, now)


def caching(model: Any) -> Caching:
    """Return the model's interface for single tokens."""
    if isinstance(model, Caching):
        return model
    encodes = bool(getattr(model.config, "is_encoder_decoder", False))
    return EncodedCache(model) if encodes else EagerCache(model)


def keeps_cache(model: Any) -> bool:
    """Return whether a model has a cache: exported graphs do only if their runtime gives them one."""
    return isinstance(model, Caching) or not isinstance(model, GraphModel)
