"""A transformers language model whose cache is rounded to 8 or 4 bits, also where a whole text is scored.

    text [batch, length] --token by token, through the cache--> logits [batch, length, vocabulary]

A forward pass over a whole text would never read the cache, and perplexity would not show what rounding costs.
"""

from typing import Any

import torch
from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from compress.base.errors import InputError
from compress.model.cache_layers import RoundedLayer, State
from compress.model.caching import EagerCache, Wrapped
from compress.model.runtimes.graph import GraphModel
from compress.model.runtimes.stateful import StatefulModel

BITS = {"int8": 8, "int4": 4}
"""Value of the recipe's `kv_cache` -> bits."""


def refusal(model: Any, kv_cache: str) -> str | None:
    """Return why a model's cache cannot be rounded to `kv_cache`; None if it can."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    config = model.config.get_text_config()
    kinds = {type(layer).__name__ for layer in DynamicCache(config=config).layers if type(layer) is not DynamicLayer}
    name = type(model).__name__
    if kinds:
        return f"{name} keeps its cache in {', '.join(sorted(kinds))}; expected layers that keep all tokens"
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if BITS[kv_cache] == 4 and width % 2:
        return f"{name} has heads of width {width}; two codes of 4 bits share a byte: expected an even width"
    return None


def right_padded(mask: torch.Tensor) -> bool:
    """Return whether all padding of a mask [batch, length] is on the right."""
    return bool((mask.long().diff(dim=1) <= 0).all())


class _RoundedEager(EagerCache):
    """A transformers model with a rounded cache."""

    def __init__(self, model: Any, bits: int) -> None:
        super().__init__(model)
        self._bits = bits
        self._prompt: list[State] = []

    def new_cache(self) -> Any:
        """Return an empty cache."""
        layers = self._model.config.get_text_config().num_hidden_layers
        return Cache(layers=[RoundedLayer(self._bits) for _ in range(layers)])

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Forget all texts, read prompts [batch, length] and return the likeliest next ids [batch, 1]."""
        found = super().prefill(ids)
        self._prompt = [layer.state() for layer in self._cache.layers]
        return found

    def rewind(self) -> None:
        """Cut the texts back to their prompts."""
        for layer, state in zip(self._cache.layers, self._prompt, strict=True):
            layer.restore(state)
        self._steps = 0

    @property
    def cache_bytes(self) -> int:
        """Bytes of codes, scales, minima and recent tokens."""
        return sum(layer.stored_bytes for layer in self._cache.layers)

    def bytes_with(self, tokens: int, now: int) -> int:
        """Return the bytes of the cache with so many tokens in each text."""
        return sum(layer.bytes_with(tokens) for layer in self._cache.layers)


def with_rounded_cache(model: Any, kv_cache: str) -> Any:
    """Return a language model that keeps earlier keys and values in these numbers. Raises InputError if it cannot."""
    if isinstance(model, GraphModel):
        if not isinstance(model, StatefulModel):
            raise InputError(f"kv_cache {kv_cache}: the exported graph keeps no cache; use runtime eager or openvino")
        return model.with_cache_of(BITS[kv_cache])
    if problem := refusal(model, kv_cache):
        raise InputError(f"kv_cache {kv_cache}: {problem}")
    return RoundedCacheModel(model, BITS[kv_cache])


class RoundedCacheModel(Wrapped):
    """A causal language model whose earlier keys and values are rounded."""

    _cached: _RoundedEager

    def __init__(self, model: Any, bits: int) -> None:
        super().__init__(model, _RoundedEager(model, bits))
        self.bits = bits

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> Any:
        """Return the logits [batch, length, vocabulary] of texts that are read token by token through the cache.

        Raises InputError for padding on the left, whose tokens the others would attend to.
        """
        if attention_mask is not None and not right_padded(attention_mask):
            raise InputError("kv_cache: the batch is padded on the left; expected padding on the right")
        cache = self._cached.new_cache()
        steps = [
            self.model(input_ids=input_ids[:, i : i + 1], past_key_values=cache, use_cache=True).logits
            for i in range(input_ids.shape[1])
        ]
        return CausalLMOutputWithPast(logits=torch.cat(steps, dim=1))

    def generate(self, *args: Any, **options: Any) -> Any:
        """Return what transformers' `generate` returns, with a rounded cache."""
        return self.model.generate(*args, **{"past_key_values": self._cached.new_cache(), **options})
