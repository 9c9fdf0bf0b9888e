"""Scores of the structures of several layers, by the recipe's importance."""

from collections.abc import Sequence

import torch

from compress.methods.calibrate import gradients
from compress.methods.capture import Inputs
from compress.methods.layerwise import change_layers
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
    if bundle.stream is None and is_empty(bundle.model):  # a rehearsal: any choice gives the same shapes
        return [torch.arange(structures.count, dtype=torch.float) for structures in sets]
    step, sample = f"prune with importance {config.importance}", config.sample
    if config.importance == "taylor":
        return importance.taylor(sets, gradients(bundle, step, sample))
    if config.importance == "obd":
        return importance.obd(sets, gradients(bundle, step, sample))
    structures_of = dict(zip(outputs, sets, strict=True)) if outputs else {}

    def score(name: str, inputs: Inputs | None) -> list[float]:
        structures = structures_of[name]
        if config.importance == "magnitude":
            return importance.magnitude(structures).tolist()
        weight = matrix(bundle.model.get_submodule(name))
        norms = torch.ones(weight.shape[1]) if inputs is None else inputs.norms
        return importance.activation(weight, norms, structures.count).tolist()

    if outputs:
        calibration = sample if config.importance == "activation" else None
        records = change_layers(bundle, step, calibration, outputs, score, "scores")
        scored = [torch.tensor(records[name]) for name in outputs]
    else:
        scored = [importance.magnitude(structures) for structures in sets]
    return [score / score.mean() for score in scored] if config.allocation == "global" else scored
