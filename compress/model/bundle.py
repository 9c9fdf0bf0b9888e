"""The live model and what a step needs beside it. Steps take a bundle and return a bundle.

Also here: walking a model's linear layers by include/exclude patterns.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from compress.base.config import InputError
from compress.data.workload import Workload
from compress.spec.steps import Layers, Sample

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Bundle:
    """A model on its way through a recipe."""

    model: Any
    """A transformers model, or an exported graph wrapped as a module (`compress.model.runtimes.onnx`)."""
    processor: Any
    """Tokenizer or image processor."""
    task: str
    device: torch.device
    workload: Workload | None = None
    train: Callable[[], "datasets.Dataset"] | None = None
    """Loads the training examples (normalised columns); None when the caller brought none."""
    examples: Callable[[int], "datasets.Dataset"] | None = None
    """Loads so many of the examples that are tested: only to see whether an exported graph answers like the model."""
    teacher: Callable[[], Any] | None = None
    """Loads the dense model that the recipe started from."""
    cost: Callable[[Any, str], float] | None = None
    """What a model costs at the workload's headline point: cost(model, "macs" or "latency"); a method that needs one
    must not measure by itself."""
    inputs: Callable[[str, Sample, str], Any] | None = None
    """What enters a layer on training examples, where somebody keeps it: inputs(step, sample, layer)."""
    coming: tuple[Any, ...] = ()
    """The recipe's steps after the present one."""
    runtime: str = "auto"
    """What will execute the model, as the recipe asks."""
    seed: int = 0
    work: Path | None = None
    """Folder for checkpoints that outlive a killed run; None keeps nothing."""
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What every changed layer became: name -> {kind: ..., settings}. Goes into the artifact's manifest."""
    notes: tuple[str, ...] = ()
    """What was picked or left out on the user's behalf, one sentence each."""

    def train_examples(self, step: str) -> "datasets.Dataset":
        """The training examples, or an InputError that says which step needs them."""
        if self.train is None:
            raise InputError(f"{step} needs training examples; give a workload with a train split, or dataset=")
        return self.train()

    def changed(self, model: Any, layers: Mapping[str, Mapping[str, Any]], *notes: str) -> "Bundle":
        """This bundle with another model; `layers` are merged over what earlier steps recorded per layer."""
        merged = {name: dict(entry) for name, entry in self.layers.items()}
        for name, entry in layers.items():
            before = merged.get(name, {})
            attributes = {**before.get("attributes", {}), **entry.get("attributes", {})}
            merged[name] = {**before, **entry, **({"attributes": attributes} if attributes else {})}
        return replace(self, model=model, layers=merged, notes=(*self.notes, *notes))


def matches(name: str, layers: Layers) -> bool:
    """Whether a layer's name is included and not excluded; patterns are those of the shell."""
    return any(fnmatchcase(name, p) for p in layers.include) and not any(fnmatchcase(name, p) for p in layers.exclude)


SAME_AS_LINEAR = ("FalconLinear",)
"""Subclasses with a forward of their own that computes what a linear layer does."""


def is_plain_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer that another one may replace: called as such, with a weight of its own.

    A subclass with a forward of its own (a router) is not, nor one that `nn.MultiheadAttention` reads instead of calls.
    """
    if not isinstance(module, nn.Linear) or isinstance(module, NonDynamicallyQuantizableLinear):
        return False
    own = type(module).forward is not nn.Linear.forward and type(module).__name__ not in SAME_AS_LINEAR
    return not own and module._parameters.get("weight") is not None


def linear_layers(model: nn.Module, layers: Layers) -> Iterator[tuple[str, nn.Linear]]:
    """Name and module of every chosen linear layer, in the model's order. Raises InputError when none is chosen."""
    chosen = [(n, m) for n, m in model.named_modules() if is_plain_linear(m) and matches(n, layers)]
    if not chosen:
        every = [n for n, m in model.named_modules() if is_plain_linear(m)]
        raise InputError(
            f"no linear layer matches include {list(layers.include)} without exclude {list(layers.exclude)}; "
            f"the model has {', '.join(every[:6]) or 'none'}{' ...' if len(every) > 6 else ''}"
        )
    yield from chosen
