"""Whole layers: remove those that change the direction of the hidden states least.

    influence of layer i = 1 - mean over tokens of cos(x_i, x_i+1)        ShortGPT, Men et al. 2024, arXiv:2403.03853

All layers are scored once, before any is removed, as in the paper.
"""

from collections.abc import Iterable
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
    """Return the bundle without the `fraction` of its layers with the least influence, among the allowed ones."""
    model = bundle.model
    present = separate_layers(model, "prune layers")
    allowed = [index for index, layer in enumerate(present) if matches(layer.name, config)]
    config = in_parameters(bundle, config, _fewer, [index / len(present) for index in range(1, len(present))])
    count = round(config.fraction * len(present))
    if not 0 < count < len(present) or count > len(allowed):
        raise InputError(
            f"prune layers: fraction {config.fraction} of {len(present)} layers is {count}, and {len(allowed)} may be "
            f"removed; use a multiple of {1 / len(present):.3f} that leaves one"
        )
    scores = [0.0] * len(present)
    if bundle.stream is not None:
        scores = bundle.stream.influences(bundle, "prune layers", config.sample, influence)
    elif not is_empty(model):
        scores = influences(model, list(batches(bundle, "prune layers", config.sample)))
    removed = sorted(sorted(allowed, key=lambda index: (scores[index], index))[:count])
    kept = tuple(index for index in range(len(present)) if index not in removed)
    path = layers_path(model, architecture_of(model, "prune layers"))
    attributes = keep_layers(model, kept, "prune layers")
    if bundle.stream is not None:
        bundle.stream.keep_blocks(path, kept)
    removed_list = ", ".join(f"{index} (influence {scores[index]:.3f})" for index in removed)
    note = f"prune: layers {removed_list} of {len(present)} removed"
    return replace(bundle, layers=rename(bundle.layers, path, kept)).changed(model, attributes, note)


def _fewer(bundle: Bundle, config: Prune) -> Bundle:
    """Remove the last layers: all cost the same, so any choice shows how many must be removed."""
    count = len(layers_of(bundle.model, "prune layers"))
    keep_layers(bundle.model, tuple(range(count - round(config.fraction * count))), "prune layers")
    return bundle


def influences(model: Any, examples: list[dict[str, torch.Tensor]]) -> list[float]:
    """Return 1 - mean cosine between each layer's input and output, over all real tokens of these batches."""
    all_layers = layers_of(model, "prune layers")
    cosines: list[list[torch.Tensor]] = [[] for _ in all_layers]
    mask: list[torch.Tensor | None] = [None]

    def hook(index: int) -> Any:
        def look(_module: Any, given: Any, named: Any, output: Any) -> None:
            before = given[0] if given else named["hidden_states"]
            after = output[0] if isinstance(output, tuple) else output
            cosines[index].append(_cosines(before, after, mask[0]))

        return look

    hooks = [layer.module.register_forward_hook(hook(i), with_kwargs=True) for i, layer in enumerate(all_layers)]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in examples:
                mask[0] = batch.get("attention_mask")
                model(**{key: value for key, value in batch.items() if key != "labels"})
    finally:
        for handle in hooks:
            handle.remove()
        model.train(training)
    return [1 - float(torch.cat(values).mean()) for values in cosines]


def influence(states: Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]) -> float:
    """Return 1 - mean cosine between a layer's inputs and outputs, given (input, output, mask) of every batch."""
    return 1 - float(torch.cat([_cosines(*each) for each in states]).mean())


def _cosines(before: torch.Tensor, after: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the cosine between input and output [batch, length, width] of every real token."""
    rows = token_rows(before, mask).float(), token_rows(after, mask).float()
    return F.cosine_similarity(rows[0], rows[1], dim=-1).double()
