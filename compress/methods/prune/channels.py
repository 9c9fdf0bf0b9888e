"""Channels of convolutions, cut along torch-pruning's graph.

added residual branches     lose the same channels
depthwise                   one group per channel: groups shrink with the channels
grouped (RegNet)            every group loses the same positions, so the groups stay equal
squeeze-and-excitation      the gate loses the channels that it scales
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from compress.base.config import InputError
from compress.base.memory import ran_out
from compress.methods.calibrate import gradients
from compress.methods.prune.graph import example_inputs
from compress.methods.prune.shapes import arrangement, changes_since
from compress.methods.prune.targets import in_parameters
from compress.model.bundle import Bundle, matches_any
from compress.model.convolutions import CONVOLUTIONS
from compress.model.families import ARCHITECTURES
from compress.model.layers import is_empty
from compress.model.outputs import logits_of
from compress.spec.steps import Prune, Sample

STEPS = 100  # the width shrinks by a hundredth at a time until the counted parameters are few enough

CLASSIFIER = "*classifier*"
"""Name of layers whose outputs are the classes: of a segmenter a convolution."""


def channels(bundle: Bundle, config: Prune) -> Bundle:
    """Return the bundle with `fraction` of the parameters of all convolutions removed.

    Each convolution loses the same share of channels. Scores come from torch-pruning: the group's norm, or its
    first-order Taylor term summed over all examples.
    """
    model = bundle.model
    check(model)
    before = count(model)
    config = in_parameters(bundle, config, channels)
    if config.importance == "taylor" and not is_empty(model):
        _accumulate(bundle, config.sample)
    before_cut = arrangement(model)
    training = model.training
    with torch.no_grad():
        shape = logits_of(model.eval()(**example_inputs(model))).shape
    with _refusing(model), warnings.catch_warnings(), torch.enable_grad():
        # bare parameters (a layer's scale, global response norm) are cut along their last dimension, which is right
        warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
        pruner = tp.pruner.BasePruner(
            model.eval(),
            example_inputs(model),
            importance=_importance(model, config),
            pruning_ratio=1.0,
            max_pruning_ratio=1.0,
            iterative_steps=STEPS,
            root_module_types=[nn.Conv1d, nn.Conv2d, nn.Conv3d],
            ignored_layers=[
                m for n, m in model.named_modules() if isinstance(m, CONVOLUTIONS) and matches_any(n, (CLASSIFIER,))
            ],
            forward_fn=lambda m, inputs: logits_of(m(**inputs)),
        )
        for _ in range(STEPS - 1):
            pruner.step()
            if count(model) <= (1 - config.fraction) * before:
                break
        with torch.no_grad():
            if logits_of(model(**example_inputs(model))).shape != shape:
                raise RuntimeError("an output of the model would be cut")
    model.zero_grad(set_to_none=True)
    model.train(training)
    note = f"prune: {1 - count(model) / before:.1%} of the parameters of convolutions removed"
    return bundle.changed(model, changes_since(before_cut, model), note)


def _importance(model: Any, config: Prune) -> Any:
    """Return the score of channels; for an empty model, whose shapes alone count, a random one."""
    if is_empty(model):
        return tp.importance.RandomImportance()
    taylor = config.importance == "taylor"
    return tp.importance.GroupTaylorImportance() if taylor else tp.importance.GroupMagnitudeImportance(p=2)


@contextmanager
def _refusing(model: Any) -> Iterator[None]:
    """Raise InputError for a model that cannot be cut, or does not run afterwards: its graph lacks a dependency.

    Want of memory and other bad input are no property of the graph: their errors pass unchanged.
    """
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, InputError) or ran_out(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"prune channels: {model.config.model_type} cannot be narrowed ({reason}): some of its layers depend on "
            "the width of convolutions in a way that the dependency graph does not show; use quantize or lowrank"
        ) from error


def check(model: Any) -> None:
    """Raise InputError for a model without convolutions that can be narrowed."""
    kind = model.config.model_type
    channels_in = getattr(model.config, "num_channels", None)
    layers = [module for module in model.modules() if isinstance(module, CONVOLUTIONS)]
    patches = all(m.stride == m.kernel_size and m.in_channels == channels_in for m in layers)
    if kind in ARCHITECTURES or patches:
        instead = "structure hidden or feed_forward" if kind in ARCHITECTURES else "quantize or lowrank"
        raise InputError(
            f"prune channels: {kind} has no convolutions to narrow (a patch embedding is as wide as the hidden size); "
            f"use {instead}"
        )


def count(model: nn.Module) -> int:
    """Return the number of parameters of all convolutions."""
    return sum(p.numel() for m in model.modules() if isinstance(m, CONVOLUTIONS) for p in m.parameters())


def _accumulate(bundle: Bundle, sample: Sample) -> None:
    """Set every parameter's `.grad` to the sum over all batches, for torch-pruning to read."""
    total: dict[int, Any] = {}
    for size in gradients(bundle, "prune with importance taylor", sample):
        for parameter in bundle.model.parameters():
            if parameter.grad is not None:
                grad = parameter.grad.detach() * size
                total[id(parameter)] = total[id(parameter)] + grad if id(parameter) in total else grad
    for parameter in bundle.model.parameters():
        parameter.grad = total.get(id(parameter))
