"""Whole layers: those go that turn the hidden states least on their way through.

    influence of layer i = 1 - mean over tokens of cos(x_i, x_i+1)        ShortGPT, Men et al. 2024, arXiv:2403.03853

All layers are scored once, on the model as it is, as in the paper.
"""

from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from compress.base.config import InputError
from compress.methods.calibrate import batches
from compress.methods.capture import token_rows
from compress.methods.depth import keep_layers
from compress.methods.distill.students import rename
from compress.methods.prune.targets import in_parameters
from compress.model.architectures import architecture_of, layers_of, layers_path, separate_layers
from compress.model.bundle import Bundle, matches
from compress.model.layers import is_empty
from compress.spec.steps import Prune


def layers(bundle: Bundle, config: Prune) -> Bundle:
    """The bundle without the `fraction` of its layers that has the least influence, of those that may go."""
    model = bundle.model
    every = separate_layers(model, "prune layers")
    allowed = [index for index, layer in enumerate(every) if matches(layer.name, config)]
    config = in_parameters(bundle, config, _fewer, [index / len(every) for index in range(1, len(every))])
    going = round(config.fraction * len(every))
    if not 0 < going < len(every) or going > len(allowed):
        raise InputError(
            f"prune layers: fraction {config.fraction} of {len(every)} layers is {going}, and {len(allowed)} may go; "
            f"use a multiple of {1 / len(every):.3f} that leaves one"
        )
    found = [0.0] * len(every)
    if not is_empty(model):
        found = influences(model, list(batches(bundle, "prune layers", config.sample)))
    gone = sorted(sorted(allowed, key=lambda index: (found[index], index))[:going])
    kept = tuple(index for index in range(len(every)) if index not in gone)
    path = layers_path(model, architecture_of(model, "prune layers"))
    attributes = keep_layers(model, kept, "prune layers")
    said = ", ".join(f"{index} (influence {found[index]:.3f})" for index in gone)
    note = f"prune: layers {said} of {len(every)} removed"
    return replace(bundle, layers=rename(bundle.layers, path, kept)).changed(model, attributes, note)


def _fewer(bundle: Bundle, config: Prune) -> Bundle:
    """The bundle without its last layers: all cost alike, so any will do to find how many have to go."""
    count = len(layers_of(bundle.model, "prune layers"))
    keep_layers(bundle.model, tuple(range(count - round(config.fraction * count))), "prune layers")
    return bundle


def influences(model: Any, examples: list[dict[str, torch.Tensor]]) -> list[float]:
    """1 - mean cosine between what enters and what leaves each layer, over all real tokens of these batches."""
    every = layers_of(model, "prune layers")
    cosines: list[list[torch.Tensor]] = [[] for _ in every]
    mask: list[torch.Tensor | None] = [None]

    def hook(index: int) -> Any:
        def look(_module: Any, given: Any, named: Any, output: Any) -> None:
            before = given[0] if given else named["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            rows = token_rows(before, mask[0]).float(), token_rows(after, mask[0]).float()
            cosines[index].append(F.cosine_similarity(rows[0], rows[1], dim=-1).double())

        return look

    hooks = [layer.module.register_forward_hook(hook(i), with_kwargs=True) for i, layer in enumerate(every)]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in examples:
                mask[0] = batch.get("attention_mask")
                model(**{key: value for key, value in batch.items() if key != "labels"})
    finally:
        for each in hooks:
            each.remove()
        model.train(training)
    return [1 - float(torch.cat(each).mean()) for each in cosines]
