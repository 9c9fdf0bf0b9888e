"""The scores that a recipe asks for, of the structures of several layers."""

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
    """[count] for each set; `outputs` are the layers whose inputs the structures of each set are.

    Under allocation global they can be compared across sets: norms are divided by their mean within the set.
    """
    if is_empty(bundle.model):  # a rehearsal: which ones go does not matter
        return [torch.arange(one.count, dtype=torch.float) for one in sets]
    step, sample = f"prune with importance {config.importance}", config.sample
    if config.importance == "taylor":
        return importance.taylor(sets, gradients(bundle, step, sample))
    if config.importance == "obd":
        return importance.obd(sets, gradients(bundle, step, sample))
    if config.importance == "activation":
        found = []
        for (name, inputs), structures in zip(walk(bundle, step, sample, outputs), sets, strict=True):
            weight = matrix(bundle.model.get_submodule(name))
            norms = torch.ones(weight.shape[1]) if inputs is None else inputs.norms
            found.append(importance.activation(weight, norms, structures.count))
    else:
        found = [importance.magnitude(one) for one in sets]
    return [score / score.mean() for score in found] if config.allocation == "global" else found
