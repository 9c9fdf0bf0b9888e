"""The live model and everything that steps need with it. Steps take a bundle and return a bundle.

The module also selects a model's linear layers by include/exclude patterns.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
    """Loads the training examples (normalised columns); None if the caller gave none."""
    examples: Callable[[int], "datasets.Dataset"] | None = None
    """Loads the given number of test examples, used only to check that an exported graph matches the model."""
    encoded: Callable[[Any], Mapping[str, Any]] | None = None
    """Returns `train` and `examples` for another tokenizer: encoded(tokenizer). None if the data is not known."""
    teacher: Callable[[], Any] | None = None
    """Loads the dense model that the recipe started from."""
    cost: Callable[[Any, str], float] | None = None
    """Cost of a model at the workload's headline point: cost(model, "macs" or "latency").

    A method that needs a cost calls it, because methods must not measure.
    """
    inputs: Callable[[str, Sample, str], Any] | None = None
    """Cached input statistics of a layer on training examples, if available: inputs(step, sample, layer)."""
    stream: Any | None = None
    """The model's tensors on disk, of which steps load one block at a time (`compress.methods.stream`); `model` is
    empty then. None for a model in memory."""
    coming: tuple[Any, ...] = ()
    """The recipe's steps after the present one."""
    runtime: str = "auto"
    """The runtime that will execute the model, as set in the recipe."""
    seed: int = 0
    work: Path | None = None
    """Folder for checkpoints that survive a killed run; None stores none."""
    layers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Entry of every changed layer: name -> {kind: ..., settings}. Goes into the artifact's manifest."""
    integers: "Bundle | None" = None
    """The bundle before it became a graph, if it has layers of our own formats: exports read their integers."""
    notes: tuple[str, ...] = ()
    """Automatic choices and omissions, one sentence each."""

    def train_examples(self, step: str) -> "datasets.Dataset":
        """Return the training examples. Raises InputError, naming the step, if there are none."""
        if self.train is None:
            raise InputError(f"{step} needs training examples; give a workload with a train split, or dataset=")
        return self.train()

    def changed(self, model: Any, layers: Mapping[str, Mapping[str, Any]], *notes: str) -> "Bundle":
        """Return this bundle with another model; `layers` are merged over the entries of earlier steps."""
        merged = {name: dict(entry) for name, entry in self.layers.items()}
        for name, entry in layers.items():
            before = merged.get(name, {})
            attributes = {**before.get("attributes", {}), **entry.get("attributes", {})}
            merged[name] = {**before, **entry, **({"attributes": attributes} if attributes else {})}
        return replace(self, model=model, layers=merged, notes=(*self.notes, *notes))


def matches(name: str, layers: Layers) -> bool:
    """Return whether a layer's name is included and not excluded, by shell patterns."""
    return matches_any(name, layers.include) and not matches_any(name, layers.exclude)


HEAD_NAMES = {"qa_outputs": "classifier", "proj_out": "lm_head"}
"""Name of a head -> the usual name of heads, whose patterns match it too: it is left out by default like them."""


def matches_any(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a layer's name, or the usual name of its head, matches a pattern."""
    names = {name, HEAD_NAMES.get(name, name)}
    return any(fnmatchcase(each, pattern) for pattern in patterns for each in names)


SAME_AS_LINEAR = ("FalconLinear",)
"""Subclasses whose own forward computes the same as a linear layer's."""


def is_plain_linear(module: nn.Module) -> bool:
    """Return whether a module is a linear layer that can be replaced: it is called, and owns its weight.

    A subclass with its own forward (a router) does not count. Nor does one that `nn.MultiheadAttention` reads instead
    of calling.
    """
    if not isinstance(module, nn.Linear) or isinstance(module, NonDynamicallyQuantizableLinear):
        return False
    own = type(module).forward is not nn.Linear.forward and type(module).__name__ not in SAME_AS_LINEAR
    return not own and module._parameters.get("weight") is not None


def linear_layers(model: nn.Module, layers: Layers) -> Iterator[tuple[str, nn.Linear]]:
    """Yield name and module of every chosen linear layer, in the model's order. Raises InputError if none is chosen."""
    chosen = [(n, m) for n, m in model.named_modules() if is_plain_linear(m) and matches(n, layers)]
    if not chosen:
        all_names = [n for n, m in model.named_modules() if is_plain_linear(m)]
        raise InputError(
            f"no linear layer matches include {list(layers.include)} without exclude {list(layers.exclude)}; "
            f"the model has {', '.join(all_names[:6]) or 'none'}{' ...' if len(all_names) > 6 else ''}"
        )
    yield from chosen
