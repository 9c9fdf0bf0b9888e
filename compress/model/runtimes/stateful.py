"""A language model under OpenVINO with its own cache: whole texts, or a prompt and single tokens after it."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from compress.base.errors import InputError
from compress.model.caching import Appending
from compress.model.manifest import Signature
from compress.model.runtimes.openvino import Counters, OpenVinoModel
from compress.model.runtimes.signature import openvino_signature
from compress.spec.formats import NO_FOUR_BITS

CACHE_GROUP = 32
"""Channels of a token's key or value that share a scale in a rounded cache."""
SCALES = 8
"""Bytes of the scale and the zero point of a group, both fp32."""
KEPT = "kept_positions"
"""Input of the compiled graph: positions whose logits are computed."""


class StatefulModel(OpenVinoModel, Appending):
    """An OpenVINO graph that keeps keys and values as states."""

    def __init__(self, path: Path, config: Any, temporary: bool = False, exact: bool = False) -> None:
        """Open the graph; see `OpenVinoModel`."""
        self._signature: Signature | None = None
        self._selects = False
        self._tokens = self._prompt = 0
        self._rewinds = False
        self._after_prompt: list[Any] = []
        self._cache_bits: int | None = None
        self._cache_group = CACHE_GROUP
        super().__init__(path, config, temporary, exact)

    def graph(self) -> Any:
        """Return the graph in which only the logits of the chosen positions are computed, if it allows that.

        A prompt needs those of its last token; with a large vocabulary, the others would take as long as the model.
        """
        graph = super().graph()
        self._signature = openvino_signature(graph.inputs, graph.outputs)
        self._selects = _select_logits(graph)
        return graph

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that a batch may have."""
        return ("input_ids", "attention_mask")

    def signature(self) -> Signature:
        """Return name, type and shape of the inputs and outputs of its file."""
        assert self._signature is not None
        return self._signature

    def feeds(self, args: tuple[torch.Tensor, ...], batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return all inputs of the graph for whole texts; positions do not count padding."""
        given = super().feeds(args, batch)
        ids, mask = given["input_ids"], given["attention_mask"]
        positions = (mask.long().cumsum(dim=1) - 1).clamp(min=0)
        return self._inputs(ids, mask, positions, torch.arange(ids.shape[1]))

    def _inputs(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, kept: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        found = {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": positions,
            "beam_idx": torch.arange(ids.shape[0], dtype=torch.int32),
        }
        return {**found, KEPT: kept} if self._selects else found

    def begin(self, request: Any) -> None:
        """Forget all texts."""
        request.reset_state()

    def with_cache_of(self, bits: int) -> "StatefulModel":
        """Return this model with its cache rounded to 8 bits (OpenVINO's u8). Raises InputError for other numbers.

        A scale and a zero point are for `CACHE_GROUP` channels of a token: with OpenVINO's default, one for a whole
        head, 8 bits raise the perplexity of SmolLM2-135M by 0.24 %, in groups of 32 by 0.002 %.
        """
        if bits != 8:
            raise InputError(f"kv_cache int{bits}: {NO_FOUR_BITS}")
        width = next(iter(self._request.query_state())).state.shape[-1]
        self._cache_bits, self._cache_group = bits, CACHE_GROUP if width % CACHE_GROUP == 0 else width
        self._cache = {"KV_CACHE_PRECISION": f"u{bits}"}
        if self._cache_group != width:
            self._cache |= {"KEY_CACHE_GROUP_SIZE": CACHE_GROUP, "VALUE_CACHE_GROUP_SIZE": CACHE_GROUP}
        self._request = self._compiled(profiled=False)
        return self

    def run(self, feeds: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the logits of whole texts; of a rounded cache token by token, since a whole text never reads it.

        Raises InputError for padding on the left of a text that is read token by token.
        """
        self.begin(self._request)
        if self._cache_bits is None:
            return super().run(feeds)
        ids, mask = feeds["input_ids"], feeds["attention_mask"]
        if bool((mask.long().diff(dim=1) > 0).any()):
            raise InputError("kv_cache: the batch is padded on the left; expected padding on the right")
        self._tokens = 0
        return torch.cat([self.append(ids[:, i : i + 1]).clone() for i in range(ids.shape[1])], dim=1)

    def reserve(self, tokens: int, rewinds: bool = False) -> None:
        """Announce texts that are cut back to their prompts: their states are kept after the next prompt."""
        del tokens
        self._rewinds = rewinds

    def prefill(self, ids: torch.Tensor) -> torch.Tensor:
        """Forget all texts, read prompts [batch, length] and return the likeliest next ids [batch, 1]."""
        import openvino

        self.begin(self._request)
        self._tokens, self._prompt = 0, ids.shape[1]
        last = self.append(ids).argmax(dim=-1)
        states = self._request.query_state() if self._rewinds else ()
        self._after_prompt = [openvino.Tensor(state.state.data.copy()) for state in states]
        return last

    def append(self, ids: torch.Tensor) -> torch.Tensor:
        """Append ids [batch, new] to the texts and return the logits [batch, 1, vocabulary] of the last one."""
        feeds = self._appending(ids, self._tokens)
        self._tokens += ids.shape[1]
        return super().run(feeds)[:, -1:]

    def prompt_feeds(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return all inputs of the graph for prompts [batch, length] after an empty cache."""
        return self._appending(ids, 0)

    def _appending(self, ids: torch.Tensor, tokens: int) -> dict[str, torch.Tensor]:
        """Return the inputs for ids [batch, new] after this many tokens."""
        texts, new = ids.shape
        positions = torch.arange(tokens, tokens + new)[None].expand(texts, -1)
        mask = torch.ones(texts, tokens + new, dtype=torch.long)
        return self._inputs(ids, mask, positions, torch.tensor([new - 1]))

    def rewind(self) -> None:
        """Cut the texts back to their prompts.

        Reading the states takes as long as two tokens, and is done once per prompt; writing takes a tenth of that. A
        rounded cache is read in fp32 and rounded once more.
        """
        for state, kept in zip(self._request.query_state(), self._after_prompt, strict=True):
            state.state = kept
        self._tokens = self._prompt

    @contextlib.contextmanager
    def aside(self, request: Any) -> Iterator[None]:
        """Compute with another request; texts of the own one are as before afterwards."""
        kept = (self._tokens, self._prompt, self._after_prompt)
        try:
            with super().aside(request):
                yield
        finally:
            self._tokens, self._prompt, self._after_prompt = kept

    def token_seconds(self, ids: torch.Tensor, tokens: int, with_prompt: bool) -> dict[str, float]:
        """Return `operator:kernel` -> seconds of `tokens` single tokens after prompts [batch, length].

        They are those of a second pass. `with_prompt`: the time of the prompts counts too.
        """
        counters = Counters(self._compiled(profiled=True))
        with self.aside(counters.request):
            for _ in range(2):  # the first pass is a warm one
                if with_prompt:
                    counters.start()
                last = self.prefill(ids)
                counters.count(1)
                if not with_prompt:
                    counters.start()
                for _ in range(tokens):
                    last = self.step(last)
                counters.count(tokens)
            seconds = counters.seconds()
        del counters  # a graph holds all weights
        return self.with_inputs(seconds, {"input_ids": ids})

    @property
    def cache_bytes(self) -> int:
        """Bytes of keys and values, with the scales of a rounded cache; states are read as fp32 whatever they are."""
        shapes = [state.state.shape for state in self._request.query_state()]  # [batch, heads, tokens, width]
        return sum(math.prod(shape[:-1]) * self._bytes_of(shape[-1]) for shape in shapes)

    def _bytes_of(self, width: int) -> int:
        """Return the bytes of one head's key or value of a token."""
        if self._cache_bits is None:
            return width * (2 if self.bf16 else 4)
        return width * self._cache_bits // 8 + width // self._cache_group * SCALES


def _select_logits(graph: Any) -> bool:
    """Compute only the logits of the positions that a further input names; return whether the graph allows that.

    The last product reads the hidden states [batch, tokens, width] of these positions alone.
    """
    import openvino
    import openvino.opset13 as ops

    node = graph.output("logits").get_node().input_value(0).get_node()
    while node.get_type_name() in ("Convert", "Divide", "Multiply", "Tanh", "Add"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "MatMul" or len(node.input_value(0).get_partial_shape()) != 3:
        return False
    kept = ops.parameter(openvino.PartialShape([-1]), openvino.Type.i64, name=KEPT)
    kept.output(0).get_tensor().set_names({KEPT})
    chosen = ops.gather(node.input_value(0), kept, ops.constant(1))
    node.input(0).replace_source_output(chosen.output(0))
    graph.add_parameters([kept])
    graph.validate_nodes_and_infer_types()
    return True
