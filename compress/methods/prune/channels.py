"""Channels of convolutions, cut along torch-pruning's graph: added residual branches lose the same channels."""

from typing import Any

import torch_pruning as tp
from torch import nn

from compress.base.config import InputError
from compress.methods.calibrate import gradients
from compress.methods.prune.graph import example_inputs
from compress.methods.prune.shapes import parameter_shapes, shape_changes
from compress.methods.prune.targets import in_parameters
from compress.model.bundle import Bundle
from compress.model.families import ARCHITECTURES
from compress.spec.steps import Prune, Sample

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
STEPS = 100  # the width shrinks by a hundredth at a time until the counted parameters are few enough


def channels(bundle: Bundle, config: Prune) -> Bundle:
    """Return the bundle with `fraction` of the parameters of all convolutions removed.

    Each convolution loses the same share of channels. Scores come from torch-pruning: the group's norm, or its
    first-order Taylor term summed over all examples.
    """
    model = bundle.model
    check(model)
    before = count(model)
    config = in_parameters(bundle, config, channels)
    if config.importance == "taylor":
        _accumulate(bundle, config.sample)
    shapes = parameter_shapes(model)
    training = model.training
    pruner = tp.pruner.BasePruner(
        model.eval(),
        example_inputs(model),
        importance=tp.importance.GroupTaylorImportance()
        if config.importance == "taylor"
        else tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=1.0,
        max_pruning_ratio=1.0,
        iterative_steps=STEPS,
        root_module_types=list(CONVOLUTIONS),
        forward_fn=lambda m, inputs: m(**inputs).logits,
    )
    for _ in range(STEPS - 1):
        pruner.step()
        if count(model) <= (1 - config.fraction) * before:
            break
    model.zero_grad(set_to_none=True)
    model.train(training)
    note = f"prune: {1 - count(model) / before:.1%} of the parameters of convolutions removed"
    return bundle.changed(model, shape_changes(shapes, model), note)


def check(model: Any) -> None:
    """Raise InputError for a model without convolutions that can be narrowed."""
    kind = model.config.model_type
    if count(model) == 0 or kind in ARCHITECTURES:
        raise InputError(
            f"prune channels: {kind} has no convolutions to narrow (a patch embedding is as wide as the hidden size); "
            f"use structure hidden or feed_forward"
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
