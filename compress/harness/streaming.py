"""Whether a recipe's steps take the model as a whole or layer by layer from disk, and its bundle for the latter.

    memory auto    layer by layer if 2 x the fp32 weights > the memory that is free: the weights, and as much again for
                   the changed model, statistics and activations

What a step cannot do layer by layer is in `refusals`; memory auto takes the whole model then.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from compress.base.config import InputError
from compress.base.memory import free_bytes
from compress.data import checkpoints, loading
from compress.data.empty import unfilled_model
from compress.data.locate import folder_of
from compress.data.source import Source
from compress.harness import prequantized
from compress.methods.stream import Stream
from compress.methods.stream.blocks import blocks_of
from compress.model.bundle import Bundle
from compress.model.layers import weight_layers
from compress.model.sharing import aliases, merged, tied_problem
from compress.model.store import Store
from compress.spec.formats import GRAPH_RUNTIMES, Row, choose
from compress.spec.recipe import Recipe
from compress.spec.steps import Layers, Quantize

if TYPE_CHECKING:
    import datasets

TASK = "causal-lm"
COMFORT = 2
"""Times the fp32 weights that making a model as a whole takes, at least."""
GRADIENTS = ("taylor", "obd", "fisher")
"""Scores that need gradients of the whole model."""


def wanted(recipe: Recipe, source: Source, device: torch.device) -> str | None:
    """Return the note of a run layer by layer, or None for one with the whole model in memory.

    Raises InputError if the recipe demands layers and cannot have them.
    """
    if recipe.memory == "whole" or not recipe.steps:
        return None
    if recipe.memory == "layers":
        check(recipe, source, device)
        return "memory layers: made layer by layer from disk"
    needed, free = COMFORT * fp32_bytes(source), free_bytes()
    if free is None or needed <= free:
        return None
    try:
        check(recipe, source, device)
    except InputError:
        return None  # as a whole, it may still succeed
    return (
        f"memory auto: made layer by layer from disk, because {COMFORT} x {needed / COMFORT / 1e9:.1f} GB of fp32 "
        f"weights are more than the {free / 1e9:.1f} GB of memory that are free"
    )


def runtime_of(recipe: Recipe) -> str:
    """Return the runtime of a model made layer by layer: `auto` is eager, since graphs are exported as a whole."""
    return "eager" if recipe.runtime == "auto" else recipe.runtime


def check(recipe: Recipe, source: Source, device: torch.device) -> None:
    """Raise InputError with every reason why a recipe's model cannot be made layer by layer."""
    if problems := [f"{recipe.name} memory layers: {reason}" for reason in refusals(recipe, source, device)]:
        raise InputError(f"{problem}; use memory whole" for problem in problems)
    model, _ = _opened(source)
    if problems := list(_tied_heads(recipe, model)):
        raise InputError(f"{recipe.name} memory layers: {problem}, or use memory whole" for problem in problems)


def _tied_heads(recipe: Recipe, model: Any) -> Iterator[str]:
    """Yield every chosen head that is tied to the input embedding: each tensor is written under one name."""
    for step in recipe.steps:
        for part in step.parts if isinstance(step, Quantize) else ():
            for name, module in weight_layers(model, part):
                if problem := tied_problem(model, module, name, "quantize"):
                    yield problem


def refusals(recipe: Recipe, source: Source, device: torch.device) -> Iterator[str]:
    """Yield why a recipe cannot be made layer by layer, one sentence each."""
    if source.workload.task != TASK:
        yield f"a model of {source.workload.task} is made as a whole; only {TASK} is made layer by layer"
    if device.type != "cpu":
        yield f"layers are taken from disk on the CPU only; the device is {device}"
    if recipe.runtime in GRAPH_RUNTIMES:
        yield f"runtime {recipe.runtime} exports the whole model as a graph"
    for index, step in enumerate(recipe.steps):
        for part in step.parts if isinstance(step, Layers) else (step,):
            for reason in (*_step_refusals(part, recipe), *_half_refusals(part, recipe, source)):
                yield f"steps.{index}: {reason}"


def _step_refusals(step: Any, recipe: Recipe) -> Iterator[str]:
    if step.method == "distill":
        yield "distill trains the whole model"
    if step.method == "quantize":
        row = _row(step, recipe)
        if row.runtime in GRAPH_RUNTIMES:
            yield f"{row.format} through {row.backend} exports the whole model as a graph; set another backend"
    if step.method == "prune" and step.structure in ("hidden", "channels"):
        yield f"prune {step.structure} cuts through all layers at once"
    if step.method == "prune" and step.structure == "vocabulary":
        yield "prune vocabulary cuts the embedding and the head, and numbers the tokens anew"
    if step.method == "prune" and step.cost != "parameters":
        yield f"prune cost {step.cost} is counted on the whole model"
    scores = {getattr(step, "importance", ""), getattr(step, "weighting", "")}
    for score in sorted(scores & set(GRADIENTS)):
        yield f"{step.method} {score} needs gradients of the whole model"
    if step.method == "lowrank" and step.allocation == "shared":
        yield "lowrank allocation shared needs gradients of the whole model"


def _row(step: Quantize, recipe: Recipe) -> Row:
    """Return the combination of format, backend and runtime that a step uses on the CPU, or would use with a graph."""
    request: dict[str, Any] = {"bits": step.bits, "format": step.wanted_format, "backend": step.wanted_backend}
    try:
        return choose(**request, runtime=runtime_of(recipe), device="cpu", with_cache=True)
    except InputError:
        return choose(**request, runtime=recipe.runtime, device="cpu", with_cache=True)


def _half_refusals(step: Any, recipe: Recipe, source: Source) -> Iterator[str]:
    """Yield why a library cannot quantize weights stored in half precision: it would pack them for inputs in fp32."""
    if step.method != "quantize" or any(other.method == "cast" for other in recipe.steps):
        return
    row = _row(step, recipe)
    held = _headers(source)
    half = held is not None and any(t.dtype in ("F16", "BF16") for t in held.tensors.values())
    if half and row.backend != "torch":
        yield f"{row.backend} packs weights for fp32 inputs, and the model is stored in half precision; cast it first"


def _headers(source: Source) -> checkpoints.Stored | None:
    """Return the tensors of a model's files, by their headers; None if none are there to be read."""
    folder = folder_of(source)
    return None if folder is None else checkpoints.stored(folder)[0]


def fp32_bytes(source: Source) -> int:
    """Return the bytes of a model's weights in fp32, by their headers; 0 if none are there to be read."""
    held = _headers(source)
    return 0 if held is None else sum(4 * torch.Size(t.shape).numel() for t in held.tensors.values())


def _opened(source: Source) -> tuple[Any, Store]:
    """Return the empty model and its tensors on disk.

    Raises InputError if they are not stored as its modules hold them, or layers share weights.
    """
    folder = folder_of(source)
    if folder is None:
        raise InputError(f"{source.place}: memory layers: its weights are not on this machine")
    config = loading.config_of(source)
    model = merged(unfilled_model(config, source.workload.task, source.workload.trust_remote_code))
    try:
        blocks_of(model)
        store = Store.of(folder, model)
        if shared := aliases(model):
            raise InputError(f"{next(iter(shared))} is another name of {next(iter(shared.values()))}")
    except InputError as error:
        raise InputError(f"{source.place}: memory layers: {p}; use memory whole" for p in error.problems) from None
    return model, store


def open_streamed(recipe: Recipe, source: Source, device: torch.device, work: Path, limit: int | None) -> Bundle:
    """Return the bundle of a model that stays on disk; files of finished layers are below `work`."""
    if refused := list(prequantized.problems([recipe], source, prequantized.found_format(source))):
        raise InputError(refused)
    processor = loading.load_processor(source)
    model, store = _opened(source)

    def train() -> "datasets.Dataset":
        return loading.training_examples(source, processor, model.config, limit)

    return Bundle(
        model=model,
        processor=processor,
        task=source.workload.task,
        device=device,
        workload=source.workload,
        train=train,
        runtime=runtime_of(recipe),
        seed=recipe.seed,
        work=work,
        stream=Stream(store, work / "layers"),
    )
