"""Scores of the structures of several layers, by the recipe's importance."""

from collections.abc import Sequence

import torch

from compress.methods.calibrate import gradients
from compress.methods.capture import walk
from compress.methods.prune import importance
from compress.methods.prune.importance import Structures
from compress.model.bundle import Bundle
from compress.model.layers import is_empty, matrix
from compress.spec.steps import Prune


def scores(
    bundle: Bundle, config: Prune, sets: Sequence[Structures], outputs: Sequence[str] = ()
) -> list[torch.Tensor]:
    """Return [count] scores for each set; `outputs` are the layers whose inputs are the structures of each set.

    Under allocation global they are comparable across sets: each is divided by its mean within the set.
    """
    if is_empty(bundle.model):  # a rehearsal: any choice gives the same shapes
        return [torch.arange(structures.count, dtype=torch.float) for structures in sets]
    step, sample = f"prune with importance {config.importance}", config.sample
    if config.importance == "taylor":
        return importance.taylor(sets, gradients(bundle, step, sample))
    if config.importance == "obd":
        return importance.obd(sets, gradients(bundle, step, sample))
    if config.importance == "activation":
        scored = []
        for (name, inputs), structures in zip(walk(bundle, step, sample, outputs), sets, strict=True):
            weight = matrix(bundle.model.get_submodule(name))
            norms = torch.ones(weight.shape[1]) if inputs is None else inputs.norms
            scored.append(importance.activation(weight, norms, structures.count))
    else:
        scored = [importance.magnitude(structures) for structures in sets]
    return [score / score.mean() for score in scored] if config.allocation == "global" else scored
