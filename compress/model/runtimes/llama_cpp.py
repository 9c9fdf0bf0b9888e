"""A language model under llama.cpp: a GGUF file with our integers, and llama.cpp's own cache and products.

Its products with quantized weights round their inputs to 8 bits, and keys and values are fp16: llama.cpp's defaults,
which are also those that evaluation and perplexity use. `exact` keeps keys and values in fp32.
"""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from compress.model.caching import Appending
from compress.model.manifest import Signature
from compress.model.runtimes.graph import GraphModel
from compress.model.runtimes.llama_library import Context, LlamaModel, operator

BLOCK = 256
"""Tokens by which a cache grows; llama.cpp rounds up to as many."""


class LlamaCppModel(GraphModel, Appending):
    """A GGUF file under llama.cpp."""

    kind: Literal["onnx", "openvino", "gguf", "genai"] = "gguf"

    def __init__(self, path: Path, config: Any, temporary: bool = False, exact: bool = False) -> None:
        """Open the file. `temporary`: its folder is deleted with this object. Raises InputError if it is unreadable."""
        super().__init__(path, config, temporary)
        self._exact = exact
        self._model = LlamaModel(self.path)
        self._context: Context | None = None
        self._history = torch.empty(0, 0, dtype=torch.long)
        self._reserved = 0
        self._prompt = 0
        self.append_to(torch.zeros(1, 1, dtype=torch.long))  # the file is mapped: a first token reads every weight

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that a batch may have."""
        return ("input_ids", "attention_mask")

    def signature(self) -> Signature:
        """Return name, type and shape of the inputs and outputs of a batch of texts."""
        shape: list[int | str] = ["batch", "sequence"]
        logits: list[int | str] = [*shape, self._model.vocabulary]
        return {
            "inputs": [{"name": name, "type": "int64", "shape": shape} for name in self.inputs],
            "outputs": [{"name": "logits", "type": "float32", "shape": logits}],
        }

    def run(self, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits [batch, length, vocabulary] of whole texts, one after the other; 0 at padding."""
        ids, mask = feeds["input_ids"], feeds["attention_mask"].bool()
        found = torch.zeros(*ids.shape, self._model.vocabulary)
        for text, kept, row in zip(ids, mask, found, strict=True):
            if kept.any():
                self.forget()
                row[kept] = self.append_to(text[kept][None], every=True)[0]
        return found

    def forget(self) -> None:
        """Forget all texts."""
        self._history = torch.empty(0, 0, dtype=torch.long)

    def reserve(self, tokens: int, rewinds: bool = False) -> None:
        """Announce texts of at most so many tokens: the next prompt gets a cache that holds them."""
        del rewinds
        self._reserved = tokens

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Forget all texts, read prompts [batch, length] and return the likeliest next ids [batch, 1]."""
        self.forget()
        self._prompt = ids.shape[1]
        return self.append_to(ids).argmax(dim=-1)

    def step(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, 1] to the texts and return the likeliest next ids [batch, 1]."""
        return self.append_to(ids).argmax(dim=-1)

    def append(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, new] to the texts and return the logits [batch, 1, vocabulary] of the last one."""
        return self.append_to(ids).clone()

    def append_to(self, ids: torch.Tensor, every: bool = False) -> torch.Tensor:
        """Append ids [batch, new]; return the logits of all new tokens, or of the last in llama.cpp's own memory."""
        start = self._history.shape[1]
        context, kept = self._room(ids.shape[0], start + ids.shape[1])
        if not kept and start:  # a larger cache is a new one
            context.append(self._history.numpy(), 0, every=False)
        if start == 0:
            context.clear()
        logits = context.append(ids.numpy(), start, every)
        self._history = torch.cat([self._history, ids], dim=1) if start else ids
        return torch.from_numpy(logits)

    def _room(self, texts: int, tokens: int) -> tuple[Context, bool]:
        """Return a cache for as many texts and tokens, and whether it still holds the texts."""
        if self._context is not None and self._context.texts == texts and self._context.tokens >= tokens:
            return self._context, True
        self._context = None  # frees the old one before
        needed = max(tokens, self._reserved)
        size = (needed // BLOCK + 2) * BLOCK  # at least 256 tokens more than asked for
        self._context = Context(self._model, texts, size, torch.get_num_threads(), self._exact)
        return self._context, False

    def rewind(self) -> None:
        """Cut the texts back to their prompts."""
        assert self._context is not None
        self._context.cut(self._prompt)
        self._history = self._history[:, : self._prompt]

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values of the tokens that the cache holds."""
        config = self.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return int(2 * config.num_hidden_layers * heads * width * (4 if self._exact else 2) * self._history.numel())

    def weights(self) -> Iterator[Any]:
        """Yield every floating-point weight of a product, as an array."""
        from gguf import GGMLQuantizationType, GGUFReader

        tensors = GGUFReader(self.path).tensors
        tied = all(tensor.name != "output.weight" for tensor in tensors)
        for tensor in tensors:
            product = len(tensor.shape) == 2 and (tied or tensor.name != "token_embd.weight")
            if product and tensor.tensor_type in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
                yield tensor.data

    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return `operator:type of weight` -> seconds in the texts of a batch, each computed before it is timed again.

        llama.cpp then computes one operator at a time.
        """
        seconds: dict[str, float] = {}
        started = 0.0

        def at_operator(tensor: int, before: bool) -> bool:
            nonlocal started
            if before:
                started = time.perf_counter()
            else:
                name = operator(tensor)
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started
            return True

        ids = self.feeds((), batch)["input_ids"][:1]
        size = (ids.shape[1] // BLOCK + 1) * BLOCK
        context = Context(self._model, 1, size, torch.get_num_threads(), self._exact, at_operator)
        for _ in range(2):
            seconds.clear()
            context.clear()
            context.append(ids.numpy(), 0, every=True)
        return seconds
