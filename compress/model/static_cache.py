"""A transformers language model whose cache has a fixed size: memory for all tokens of a request, allocated before it.

    reserve   48 tokens       keys, values [batch, heads, 48, width] of every layer, once per batch size and length
    prefill   prompt of 32    positions 0 .. 31 are written
    step      one token       position 32, 33, ... is written; attention reads all 48 and masks the empty ones
    rewind                    the count goes back to 32; a layer with a window gets its prompt's keys and values back

No shape changes from token to token, so a step can be compiled as one graph, which a GPU replays as a CUDA graph.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch._dynamo
from transformers import StaticCache
from transformers.cache_utils import StaticLayer, StaticSlidingWindowLayer

from compress.base.errors import InputError
from compress.model.caching import EagerCache, Wrapped
from compress.model.runtimes.compiled import Compiler, compile_model, compile_step
from compress.model.runtimes.graph import GraphModel

MOST_ROOMS = 2
"""Caches that are kept: one of requests, and one of their prompts alone."""
REMOVE = "remove kv_cache: the cache then grows with the text"


def refusal(model: Any) -> str | None:
    """Return why transformers has no static cache for a model, and what to do; None if it has one."""
    name = type(model).__name__
    if not getattr(type(model), "_can_compile_fullgraph", False):
        return f"transformers does not compile {name} with a static cache; {REMOVE}"
    try:
        layers = StaticCache(config=model.config, max_cache_len=1).layers
    except (AttributeError, KeyError) as error:  # a kind of layer that StaticCache does not know
        return f"transformers has no static cache for a layer of {name} ({error}); {REMOVE}"
    kinds = {type(layer).__name__ for layer in layers if type(layer) not in (StaticLayer, StaticSlidingWindowLayer)}
    return f"{name} keeps its cache in {', '.join(sorted(kinds))}, which has no fixed size; {REMOVE}" if kinds else None


def with_static_cache(model: Any, compiled: bool, backend: Compiler = "inductor") -> "StaticCacheModel":
    """Return a language model with a static cache; `compiled`: prompts and tokens run through torch.compile.

    Raises InputError for a model that has no static cache, and without a C++ compiler.
    """
    if isinstance(model, GraphModel):
        raise InputError("kv_cache static: the exported graph keeps a cache of its own or none; use runtime eager")
    if problem := refusal(model):
        raise InputError(f"kv_cache static: {problem}")
    return StaticCacheModel(model, compiled, backend)


@dataclass
class _Room:
    """A cache of one batch size and length, and the inputs of a step, which keep their addresses for CUDA graphs."""

    cache: StaticCache
    ids: torch.Tensor  # [batch, 1]
    positions: torch.Tensor  # [1, 1]
    windows: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    """Keys and values of layers with a window, after the prompt."""

    @property
    def sliding(self) -> list[StaticSlidingWindowLayer]:
        """Layers with a window, which drop tokens."""
        return [layer for layer in self.cache.layers if isinstance(layer, StaticSlidingWindowLayer)]

    def fix(self) -> None:
        """Have torch.compile take the shapes and addresses of all tensors as constants."""
        states = [state for layer in self.cache.layers for state in (layer.keys, layer.values)]
        for tensor in (self.ids, self.positions, *states):
            torch._dynamo.mark_static(tensor)
            torch._dynamo.mark_static_address(tensor)

    def hold(self, tokens: int) -> None:
        """Set the number of tokens in the cache; what lies behind them is masked until it is overwritten."""
        for layer in self.cache.layers:
            layer.cumulative_length.fill_(tokens)
        for layer in self.sliding:
            layer.cumulative_length_int = tokens

    def keep_windows(self) -> None:
        """Copy what layers with a window hold now."""
        if not self.windows:
            self.windows = [(layer.keys.clone(), layer.values.clone()) for layer in self.sliding]
        for layer, (keys, values) in zip(self.sliding, self.windows, strict=True):
            keys.copy_(layer.keys)
            values.copy_(layer.values)

    def restore_windows(self) -> None:
        """Copy back what layers with a window held."""
        for layer, (keys, values) in zip(self.sliding, self.windows, strict=True):
            layer.keys.copy_(keys)
            layer.values.copy_(values)


class _StaticEager(EagerCache):
    """A transformers model with a static cache, compiled or not."""

    def __init__(self, model: Any, compiled: bool, backend: Compiler) -> None:
        super().__init__(model)
        self.texts = compile_model(model, backend=backend) if compiled else model
        """The model as it reads whole texts and prompts."""
        windows = any(StaticCache(config=model.config, max_cache_len=1).is_sliding)
        self._single = compile_step(model, windows, backend) if compiled else model
        self._rooms: dict[tuple[int, int], _Room] = {}  # by batch size and tokens, the latest last
        self._tokens, self._rewinds = 0, False
        self._used = self._prompt = 0

    def reserve(self, tokens: int, rewinds: bool = False) -> None:
        """Announce texts of at most so many tokens; `rewinds`: they are cut back to their prompts."""
        self._tokens, self._rewinds = tokens, rewinds

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Forget all texts, read prompts [batch, length] and return the likeliest next ids [batch, 1].

        The first prompts of a batch size and length allocate the cache, uncompiled.
        """
        self._used = self._prompt = ids.shape[1]
        self._capacity = max(self._tokens, ids.shape[1])
        key = ids.shape[0], self._capacity
        positions = torch.arange(ids.shape[1], device=ids.device)[None]  # [1, length]
        if key in self._rooms:
            room = self._rooms[key] = self._rooms.pop(key)
            room.hold(0)
            self._cache = room.cache
            logits = self._logits(self.texts, ids, positions)
        else:
            while len(self._rooms) >= MOST_ROOMS:
                del self._rooms[next(iter(self._rooms))]
            self._cache = StaticCache(config=self._model.config, max_cache_len=self._capacity)
            room = self._rooms[key] = _Room(self._cache, ids[:, :1].clone(), positions[:, :1].clone())
            logits = self._logits(self._model, ids, positions)
            room.fix()
        if self._rewinds:
            room.keep_windows()
        self._room = room
        return logits.argmax(dim=-1)

    def append(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, 1] to the texts and return the logits [batch, 1, vocabulary].

        Raises RuntimeError if the cache is full.
        """
        if self._used >= self._capacity:
            raise RuntimeError(f"the static cache holds {self._capacity} tokens and is full: reserve more")
        self._room.ids.copy_(ids)
        self._room.positions.fill_(self._used)
        self._used += 1
        return self._logits(self._single, self._room.ids, self._room.positions)

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, 1] to the texts and return the likeliest next ids [batch, 1]."""
        return self.append(ids).argmax(dim=-1)

    def rewind(self) -> None:
        """Cut the texts back to their prompts."""
        self._room.restore_windows()
        self._room.hold(self._prompt)
        self._used = self._prompt

    def bytes_with(self, tokens: int, now: int) -> int:
        """Return the bytes that are allocated, whatever number of tokens they hold."""
        return self.cache_bytes

    def _logits(self, model: Any, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the logits [batch, 1, vocabulary] of the last token."""
        given: dict[str, Any] = {"logits_to_keep": 1} if self._keeps_logits else {}
        if self._takes_positions:  # a model without this input derives them from the number of tokens in the cache
            given["position_ids"] = positions
        found: torch.Tensor = model(input_ids=ids, past_key_values=self._cache, use_cache=True, **given).logits
        return found[:, -1:]


class StaticCacheModel(Wrapped):
    """A causal language model with a static cache."""

    _cached: _StaticEager

    def __init__(self, model: Any, compiled: bool, backend: Compiler = "inductor") -> None:
        super().__init__(model, _StaticEager(model, compiled, backend))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **options: Any) -> Any:
        """Return the model's output for whole texts [batch, length], which are read without the cache."""
        return self._cached.texts(input_ids=input_ids, attention_mask=attention_mask, **options)

    def generate(self, *args: Any, **options: Any) -> Any:
        """Return what transformers' `generate` returns, with its own static cache."""
        return self.model.generate(*args, **{"cache_implementation": "static", **options})

    def append(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, 1] to the texts and return the logits [batch, 1, vocabulary].

        Raises RuntimeError if the cache is full.
        """
        return self._cached.append(ids)
