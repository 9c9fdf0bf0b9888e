"""What flows into linear layers on training examples, one block of the model at a time.

The model runs on the same examples once per block, up to that block's last layer, so memory holds the model and one
block's statistics; and a later block sees what an earlier one has become.

    for name, inputs in walk(bundle, step, sample, names):
        ...                                      # change that layer

A layer that a forward pass runs several times (ALBERT's shared layers, a loop, query and key of relative positions) is
captured over all its runs: they share one weight, so one sum of x x^T is its Hessian. Its block is captured as it is
before any of its layers changes; what its own change does to the inputs of its later runs is not captured again.
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
from compress.spec.steps import Sample

Batch = Mapping[str, torch.Tensor]


@dataclass
class Inputs:
    """Sums over the rows x [in] that entered a layer; padding does not count."""

    gram: torch.Tensor
    """[in, in], float64: the sum of x x^T, the layer's Hessian for squared errors of its outputs (up to a factor)."""
    absolute: torch.Tensor
    """[in], float64: the sum of |x|."""
    largest: torch.Tensor
    """[in], float64: the largest |x|."""
    rows: int = 0

    @classmethod
    def none_yet(cls, size: int, device: torch.device | str = "cpu") -> "Inputs":
        """Of a layer with so many input features that has not run."""
        nothing = torch.zeros(size, dtype=torch.float64, device=device)
        return cls(nothing.diag(), nothing, nothing)

    @property
    def norms(self) -> torch.Tensor:
        """[in] L2 norms of the input features."""
        return self.gram.diagonal().clamp(min=0).sqrt()

    def add(self, rows: torch.Tensor) -> None:
        """Counts rows [n, in]: products in float32, sums in float64. Its tensors are replaced, never written into."""
        exact = rows.float()
        self.gram = self.gram + (exact.T @ exact).double()
        sizes = exact.abs()
        self.absolute = self.absolute + sizes.sum(0).double()
        self.largest = torch.maximum(self.largest, sizes.amax(0).double()) if len(rows) else self.largest
        self.rows += len(rows)


class _Enough(Exception):
    """All layers asked for have seen their input; the rest of the model need not run."""


def blocks(names: Iterable[str]) -> list[list[str]]:
    """Names of one block together, in order: those that agree up to their first number; others stand alone."""

    def block(name: str) -> str:
        parts = name.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        return name if number is None else ".".join(parts[: number + 1])

    return [list(group) for _, group in itertools.groupby(names, block)]


class _Sums:
    """Statistics by layer. Layers share an `Inputs` for as long as every tensor that they were given was the same."""

    def __init__(self) -> None:
        self.found: dict[str, Inputs] = {}
        self.last: torch.Tensor | None = None
        self.version = -1
        self.made: dict[int, tuple[Inputs | None, Inputs]] = {}
        """id of the statistics before the last tensor -> those, and the same with the last tensor."""

    def add(self, name: str, given: torch.Tensor, mask: torch.Tensor | None) -> None:
        """Counts what a layer was given; a product is computed once for all layers with the same past."""
        if given is not self.last or given._version != self.version:
            self.last, self.version, self.made = given, given._version, {}
        before = self.found.get(name)
        if id(before) not in self.made:
            after = Inputs.none_yet(given.shape[-1], given.device) if before is None else replace(before)
            after.add(token_rows(given.detach(), mask))
            self.made[id(before)] = before, after
        self.found[name] = self.made[id(before)][1]


def capture(
    model: nn.Module, examples: Sequence[Batch], names: Sequence[str], once: Collection[str] = ()
) -> dict[str, Inputs]:
    """Statistics of the inputs of these layers over these batches and over all their runs, in eval mode.

    Layers that are given the same tensors (query, key and value) share one `Inputs`. A layer that never ran has none.
    `once` are layers that run at most once in a pass (`run_once`): when all of `names` are, a pass ends with the last.
    """
    sums = _Sums()
    waiting: set[str] = set()
    mask: torch.Tensor | None = None

    def look(name: str, given: torch.Tensor) -> None:
        sums.add(name, given, mask)
        waiting.discard(name)
        if not waiting:
            raise _Enough

    with _watched(model, names, look):
        for batch in examples:
            waiting = set(names) if set(names) <= set(once) else {"the end of the pass"}
            mask = batch.get("attention_mask")
            sums.last = None
            _pass(model, batch)
    return sums.found


def run_once(model: nn.Module, examples: Sequence[Batch], names: Sequence[str]) -> set[str]:
    """Those of these layers that no pass over these batches runs more than once."""
    several: set[str] = set()
    ran: set[str] = set()

    def look(name: str, _given: torch.Tensor) -> None:
        (several if name in ran else ran).add(name)

    with _watched(model, names, look):
        for batch in examples:
            ran.clear()
            _pass(model, batch)
    return set(names) - several


@contextmanager
def _watched(model: nn.Module, names: Sequence[str], look: Callable[[str, torch.Tensor], None]) -> Iterator[None]:
    """The model in eval mode, without gradients, with `look` called on each layer's name and input at every run."""

    def hook(name: str) -> Any:
        return lambda _module, given: look(name, given[0])

    hooks = [model.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for each in hooks:
            each.remove()
        model.train(training)


def _pass(model: nn.Module, batch: Batch) -> None:
    """Runs the model on a batch, up to where a hook has seen enough."""
    with suppress(_Enough):
        model(**{key: value for key, value in batch.items() if key != "labels"})


def walk(bundle: Bundle, step: str, sample: Sample, names: Iterable[str]) -> Iterator[tuple[str, Inputs | None]]:
    """Every layer with what enters it on a sample of the training examples; None where it never ran.

    A block's layers come before the next block is captured, so that it sees what they have become. Where one of them
    runs several times in a pass, the pass goes on to its end.
    """
    if bundle.inputs is not None:
        yield from ((name, bundle.inputs(step, sample, name)) for name in names)
        return
    examples = list(batches(bundle, step, sample))
    several = blocks(names := list(names))
    once = run_once(bundle.model, examples, names) if len(several) > 1 else set[str]()
    for block in several:
        found = capture(bundle.model, examples, block, once)
        yield from ((name, found.get(name)) for name in block)


def remembered(bundle: Bundle, names: Iterable[str]) -> Callable[[str, Sample, str], Inputs | None]:
    """`Bundle.inputs` for a model that stays as it is: a block is captured once, though its layers are asked for alone.

    Memory holds one block's statistics.
    """
    of = {name: block for block in blocks(names) for name in block}
    held: dict[tuple[Sample, str], dict[str, Inputs]] = {}

    def inputs(step: str, sample: Sample, name: str) -> Inputs | None:
        block = of.get(name, [name])
        key = (sample, block[0])
        if key not in held:
            held.clear()
            held[key] = capture(bundle.model, list(batches(bundle, step, sample)), block)
        return held[key].get(name)

    return inputs


def token_rows(given: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """[n, in]: the real tokens of [batch, length, in]; everything where the mask does not fit."""
    if mask is not None and mask.shape == given.shape[:-1]:
        return given[mask.bool()]
    return given.reshape(-1, given.shape[-1])
