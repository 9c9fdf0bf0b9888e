"""Statistics of the inputs of linear layers on training examples, one block of the model at a time.

The model runs on the same examples once per block, up to that block's last layer. Memory holds the model and one
block's statistics. A later block sees the changes made to earlier ones.

    for name, inputs in walk(bundle, step, sample, names):
        ...                                      # change that layer

Some layers run several times in a forward pass: ALBERT's shared layers, a loop, query and key of relative positions.
Such a layer is captured over all its runs: they share one weight, so one sum of x x^T is its Hessian. A block is
captured before any of its layers changes. If a change alters the inputs of the same layer's later runs, they are not
captured again.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from compress.methods.calibrate import batches
from compress.model.bundle import Bundle
from compress.model.convolutions import patches
from compress.spec.steps import Sample

Batch = Mapping[str, torch.Tensor]


@dataclass
class Inputs:
    """Sums over the rows x [in] that entered a layer, without padding; of a convolution, over its patches."""

    gram: torch.Tensor
    """[in, in], float32: the sum of x x^T, the layer's Hessian for squared errors of its outputs (up to a factor)."""
    absolute: torch.Tensor
    """[in], float64: the sum of |x|."""
    largest: torch.Tensor
    """[in], float64: the largest |x|."""
    rows: int = 0

    @classmethod
    def none_yet(cls, size: int, device: torch.device | str = "cpu") -> "Inputs":
        """Return empty sums for a layer with `size` input features."""
        zeros = torch.zeros(size, dtype=torch.float64, device=device)
        return cls(torch.zeros(size, size, device=device), zeros, zeros)

    @property
    def norms(self) -> torch.Tensor:
        """[in] L2 norms of the input features, in float64."""
        return self.gram.diagonal().double().clamp(min=0).sqrt()

    def add(self, rows: torch.Tensor, in_place: bool = False) -> None:
        """Add rows [n, in]. Tensors are replaced, unless `in_place` allows to change the largest of them."""
        exact = rows.float()
        self.gram = torch.addmm(self.gram, exact.T, exact, out=self.gram if in_place else None)
        magnitudes = exact.abs()
        self.absolute = self.absolute + magnitudes.sum(0).double()
        self.largest = torch.maximum(self.largest, magnitudes.amax(0).double()) if len(rows) else self.largest
        self.rows += len(rows)


class _Enough(Exception):
    """Raised when all requested layers have seen their input; the rest of the model need not run."""


def blocks(names: Iterable[str]) -> list[list[str]]:
    """Group consecutive names that agree up to their first number; a name without a number is its own block."""

    def block(name: str) -> str:
        parts = name.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        return name if number is None else ".".join(parts[: number + 1])

    return [list(group) for _, group in itertools.groupby(names, block)]


class _Sums:
    """Statistics by layer. Layers share one `Inputs` as long as they receive the same tensors."""

    def __init__(self) -> None:
        self.by_layer: dict[str, Inputs] = {}
        self.last: torch.Tensor | None = None
        self.version = -1
        self.updates: dict[int, tuple[Inputs | None, Inputs]] = {}
        """id of statistics before the last tensor -> (statistics before it, statistics with it)."""

    def add(self, name: str, given: torch.Tensor, mask: torch.Tensor | None) -> None:
        """Add one input of a layer; the product is computed once for all layers with the same history."""
        if given is not self.last or given._version != self.version:
            self.last, self.version, self.updates = given, given._version, {}
        before = self.by_layer.get(name)
        if id(before) not in self.updates:
            after = Inputs.none_yet(given.shape[-1], given.device) if before is None else replace(before)
            alone = before is None or sum(held is before for held in self.by_layer.values()) == 1
            after.add(token_rows(given.detach(), mask), in_place=alone)
            self.updates[id(before)] = before, after
        self.by_layer[name] = self.updates[id(before)][1]


def _pass(model: nn.Module, batch: Batch) -> None:
    """Run the model on a batch."""
    model(**{key: value for key, value in batch.items() if key != "labels"})


def capture(
    model: nn.Module,
    examples: Sequence[Batch],
    names: Sequence[str],
    once: Collection[str] = (),
    run: Callable[[nn.Module, Batch], object] = _pass,
) -> dict[str, Inputs]:
    """Return statistics of these layers' inputs over these batches and all their runs, in eval mode.

    Layers with the same input tensors (query, key and value) share one `Inputs`. A layer that never ran is absent.
    `once` are layers that run at most once in a pass (`run_once`). If it contains all of `names`, a pass ends after the
    last of them. `run` runs the model, or a part of it, on a batch.
    """
    sums = _Sums()
    waiting: set[str] = set()
    read: Batch = {}

    def record(name: str, given: torch.Tensor) -> None:
        module = model.get_submodule(name)
        sums.add(name, patches(module, given), mask_of(read, of_source(module, given)))
        waiting.discard(name)
        if not waiting:
            raise _Enough

    with _reading_source(model) as of_source, _watched(model, names, record):
        for batch in examples:
            waiting = set(names) if set(names) <= set(once) else {"the end of the pass"}
            read = batch
            sums.last = None
            with suppress(_Enough):
                run(model, batch)
    return sums.by_layer


def run_once(model: nn.Module, examples: Sequence[Batch], names: Sequence[str]) -> set[str]:
    """Return those of these layers that run at most once in every pass over these batches."""
    repeated: set[str] = set()
    ran: set[str] = set()

    def record(name: str, _given: torch.Tensor) -> None:
        (repeated if name in ran else ran).add(name)

    with _watched(model, names, record):
        for batch in examples:
            ran.clear()
            _pass(model, batch)
    return set(names) - repeated


@contextmanager
def _watched(model: nn.Module, names: Sequence[str], look: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """Put the model in eval mode without gradients; `look` receives each layer's name and input at every run."""

    def hook(name: str) -> Any:
        return lambda _module, given: look(name, given[0])

    hooks = [model.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for handle in hooks:
            handle.remove()
        model.train(training)


def walk(bundle: Bundle, step: str, sample: Sample, names: Iterable[str]) -> Iterator[tuple[str, Inputs | None]]:
    """Yield every layer with the statistics of its inputs on a sample of the training examples; None if it never ran.

    All layers of a block are yielded before the next block is captured, so the next block sees their changes. If one of
    them runs several times in a pass, the model runs to the end of each pass.
    """
    if bundle.inputs is not None:
        yield from ((name, bundle.inputs(step, sample, name)) for name in names)
        return
    examples = list(batches(bundle, step, sample))
    groups = blocks(names := list(names))
    once = run_once(bundle.model, examples, names) if len(groups) > 1 else set[str]()
    for block in groups:
        captured = capture(bundle.model, examples, block, once)
        yield from ((name, captured.get(name)) for name in block)


def remembered(bundle: Bundle, names: Iterable[str]) -> Callable[[str, Sample, str], Inputs | None]:
    """Return `Bundle.inputs` for a model that does not change: a block is captured once for all its layers.

    Memory holds one block's statistics.
    """
    block_of = {name: block for block in blocks(names) for name in block}
    cached: dict[tuple[Sample, str], dict[str, Inputs]] = {}

    def inputs(step: str, sample: Sample, name: str) -> Inputs | None:
        block = block_of.get(name, [name])
        key = (sample, block[0])
        if key not in cached:
            cached.clear()
            cached[key] = capture(bundle.model, list(batches(bundle, step, sample)), block)
        return cached[key].get(name)

    return inputs


@contextmanager
def _reading_source(model: Any) -> Iterator[Callable[[nn.Module, torch.Tensor], bool]]:
    """Give a function (layer, its input) -> whether it reads the source's tokens, which all do without a decoder.

    In an encoder-decoder these are the encoder's layers, and those that read the states which it returns: the decoder
    hands them on as the same tensor, whatever the layers are named.
    """
    if not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        yield lambda _module, _given: True
        return
    encoder = model.get_encoder()
    own = {id(module) for module in encoder.modules()}
    returned: list[torch.Tensor] = []

    def keep(_module: nn.Module, _given: object, outputs: Any) -> None:
        returned[:] = [outputs[0]]

    handle = encoder.register_forward_hook(keep)
    try:
        yield lambda module, given: id(module) in own or any(given is states for states in returned)
    finally:
        handle.remove()


def mask_of(batch: Batch, of_source: bool) -> torch.Tensor | None:
    """Return the mask of the tokens that a layer reads: the source's, or those of a batch that has targets too."""
    own = "decoder_attention_mask" in batch and not of_source
    return batch.get("decoder_attention_mask" if own else "attention_mask")


def token_rows(given: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return [n, in]: the real tokens of [batch, length, in]; all positions if the mask has another shape."""
    if mask is not None and mask.shape == given.shape[:-1]:
        return given[mask.bool()]
    return given.reshape(-1, given.shape[-1])
