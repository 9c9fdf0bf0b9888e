"""What flows into linear layers on training examples, one block of the model at a time.

The model runs on the same examples once per block, up to that block's last layer, so memory holds the model and one
block's statistics; and a later block sees what an earlier one has become.

    for name, inputs in walk(bundle, step, sample, names):
        ...                                      # change that layer
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compress.bundle import Bundle
from compress.methods.calibrate import batches
from compress.steps import Sample

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
        """Counts rows [n, in]: products in float32, sums in float64."""
        exact = rows.float()
        self.gram += (exact.T @ exact).double()
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


def capture(model: nn.Module, examples: Sequence[Batch], names: Sequence[str]) -> dict[str, Inputs]:
    """Statistics of the inputs of these layers over these batches, in eval mode.

    Layers that are given the same tensor (query, key and value) share one `Inputs`. A layer that never ran has none.
    """
    found: dict[str, Inputs] = {}
    last: list[Any] = [None, None]  # the tensor seen last and its statistics
    waiting: set[str] = set()
    mask: list[torch.Tensor | None] = [None]

    def look(name: str, given: torch.Tensor) -> None:
        if given is not last[0]:
            mine = found.get(name)
            if mine is None:
                mine = Inputs.none_yet(given.shape[-1], given.device)
            mine.add(token_rows(given.detach(), mask[0]))
            last[:] = given, mine
        found[name] = last[1]
        waiting.discard(name)
        if not waiting:
            raise _Enough

    def hook(name: str) -> Any:
        return lambda _module, given: look(name, given[0])

    hooks = [model.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in examples:
                waiting = set(names)
                mask[0] = batch.get("attention_mask")
                last[:] = None, None
                try:
                    model(**{key: value for key, value in batch.items() if key != "labels"})
                except _Enough:
                    continue
    finally:
        for each in hooks:
            each.remove()
        model.train(training)
    return found


def walk(bundle: Bundle, step: str, sample: Sample, names: Iterable[str]) -> Iterator[tuple[str, Inputs | None]]:
    """Every layer with what enters it on a sample of the training examples; None where it never ran.

    A block's layers come before the next block is captured, so that it sees what they have become.
    """
    if bundle.inputs is not None:
        yield from ((name, bundle.inputs(step, sample, name)) for name in names)
        return
    examples = list(batches(bundle, step, sample))
    for block in blocks(names):
        found = capture(bundle.model, examples, block)
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
