"""A language model under onnxruntime-genai: its ONNX graph, and its own cache.

Products of quantized layers round their inputs to 8 bits (`accuracy_level` 4), as its builder's do by default. It can
append tokens to one text only: several texts are read at once, and continued one by one (see MOST_TEXTS in
`compress.spec.formats`).
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from compress.base.errors import InputError
from compress.model.caching import Appending
from compress.model.manifest import Signature
from compress.model.runtimes.graph import GraphModel, OnnxModel, pinned_cores
from compress.model.runtimes.signature import onnx_signature

FILE = "model.onnx"
SETTINGS = "genai_config.json"
ROUNDING = "MatMulNBits"
"""Product with integers, whose inputs are rounded to 8 bits."""
BLOCK = 256
"""Tokens by which a cache grows: onnxruntime-genai makes room for all tokens of a text before it reads them."""


class GenaiModel(GraphModel, Appending):
    """A folder of onnxruntime-genai as a module."""

    kind: Literal["onnx", "openvino", "gguf", "genai"] = "genai"

    def __init__(self, path: Path, config: Any, temporary: bool = False) -> None:
        """Open the folder of this graph. `temporary`: it is deleted with this object. Raises InputError if it fails."""
        super().__init__(path, config, temporary)
        self._positions = int(json.loads((self.path.parent / SETTINGS).read_text())["model"]["context_length"])
        self._library = _library()
        cores = pinned_cores()
        threads = torch.get_num_threads()
        options: dict[str, Any] = {"intra_op_num_threads": threads}
        if 1 < threads <= len(cores):  # as for graphs of onnxruntime: its threads would share this thread's core
            pins = ";".join(str(core + 1) for core in cores[1:threads])
            options["session.intra_op_thread_affinities"] = pins
        try:
            settings = self._library.Config(str(self.path.parent))
            settings.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
            self._model = self._library.Model(settings)
        except RuntimeError as error:
            raise InputError(f"{self.path.parent}: onnxruntime-genai cannot open it ({error})") from error
        self._generators: list[Any] = []
        self._tokens = self._prompt = self._reserved = 0

    def files(self) -> list[Path]:
        """Return the graph's files, and the settings that onnxruntime-genai reads."""
        return [*super().files(), self.path.parent / SETTINGS]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that a batch may have."""
        return ("input_ids", "attention_mask")

    def signature(self) -> Signature:
        """Return name, type and shape of the inputs and outputs of its file."""
        return onnx_signature(self.path)

    def run(self, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits [batch, length, vocabulary] of whole texts, one after the other; 0 at padding."""
        ids, mask = feeds["input_ids"], feeds["attention_mask"].bool()
        found = torch.zeros(*ids.shape, int(self.config.vocab_size))
        for text, kept, row in zip(ids, mask, found, strict=True):
            if kept.any():
                generator = self._generator(1, int(kept.sum()))
                row[kept] = _append(generator, text[kept][None])[0]
        return found

    def _generator(self, texts: int, tokens: int) -> Any:
        """Return an empty cache for as many texts and tokens, with some room for further ones, or what was reserved."""
        if tokens > self._positions:
            raise InputError(f"onnxruntime-genai: {tokens} tokens; its graph has {self._positions} positions")
        room = min(max((tokens // BLOCK + 2) * BLOCK, self._reserved), self._positions)
        parameters = self._library.GeneratorParams(self._model)
        parameters.set_search_options(batch_size=texts, max_length=room, do_sample=False)
        return self._library.Generator(self._model, parameters)

    def reserve(self, tokens: int, rewinds: bool = False) -> None:
        """Announce texts of at most so many tokens: the next prompt gets a cache that holds them."""
        del rewinds
        self._reserved = tokens

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Forget all texts, read prompts [batch, length] and return the likeliest next ids [batch, 1].

        The caches of several texts cannot grow: each prompt gets a cache of its own when a token is appended.
        """
        self._tokens = self._prompt = ids.shape[1]
        self._generators = [self._generator(len(ids), self._tokens)]
        logits = _append(self._generators[0], ids)[:, -1:]
        self._texts = ids
        return logits.argmax(dim=-1)

    def append(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, new] to the texts and return the logits [batch, 1, vocabulary] of the last one."""
        if len(self._generators) != len(ids):  # after the prefill of several texts
            self._generators = [self._generator(1, self._tokens) for _ in ids]
            for generator, text in zip(self._generators, self._texts, strict=True):
                _append(generator, text[None])
        self._tokens += ids.shape[1]
        parts = [_append(g, text[None])[:, -1:] for g, text in zip(self._generators, ids, strict=True)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def rewind(self) -> None:
        """Cut the texts back to their prompts."""
        for generator in self._generators:
            generator.rewind_to(self._prompt)
        self._tokens = self._prompt

    @property
    def cache_bytes(self) -> int:
        """Bytes of the keys and values of the tokens that the cache holds, in fp32."""
        heads, width = self.heads
        return int(2 * self.config.num_hidden_layers * heads * width * 4 * self._tokens * len(self._texts))

    @property
    def heads(self) -> tuple[int, int]:
        """Number and width of the heads of keys and values."""
        config = self.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        return heads, getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def weights(self) -> Iterator[Any]:
        """Yield every floating-point weight of a product, as an array."""
        return OnnxModel(self.path, self.config).weights()

    def operator_seconds(self, batch: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """Return node type -> seconds, from onnxruntime's own trace of its graph on the batch's first text."""
        ids = self.feeds((), batch)["input_ids"][:1]
        graph = OnnxModel(self.path, self.config)
        seconds = graph.traced_seconds(self._from_nothing(graph, ids))
        return {f"{ROUNDING}:inputs_i8" if name == ROUNDING else name: spent for name, spent in seconds.items()}

    def _from_nothing(self, graph: OnnxModel, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return all inputs of the graph for a text [1, length] without earlier tokens."""
        heads, width = self.heads
        feeds = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return {name: feeds.get(name, torch.zeros(1, heads, 0, width)) for name in graph.inputs}


def _append(generator: Any, ids: torch.Tensor) -> torch.Tensor:
    """Append ids [batch, new]; return the logits [batch, new, vocabulary]."""
    generator.append_tokens(ids.numpy().astype(np.int32))
    return torch.from_numpy(np.asarray(generator.get_output("logits")))


def _library() -> Any:
    """Return onnxruntime-genai. Raises InputError if it is not installed."""
    try:
        import onnxruntime_genai
    except ImportError as error:
        raise InputError(
            f"runtime onnxruntime-genai: cannot be imported ({error}); install it: pip install "
            "'compress[onnxruntime-genai]'"
        ) from error
    return onnxruntime_genai
