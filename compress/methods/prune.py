"""Prune: remove whole structures, which makes the model smaller and faster, or zero single weights, which does not.

structure      cut by                               one structure is
feed_forward   torch-pruning's dependency graph     a neuron: a row of the first matrix, a column of the second
heads          our table of names (prune_heads)     a key/value head with all query heads that share it
hidden         torch-pruning's dependency graph     a channel of the residual stream, through the whole model
channels       torch-pruning's dependency graph     a channel of a convolution and of all that is added to it
unstructured   a mask                               a single weight
"""

from collections.abc import Callable
from importlib import import_module

import torch

from compress.bundle import Bundle
from compress.layers import weight_layers
from compress.methods.steps import Prune

CUTS: dict[str, str] = {
    "feed_forward": "compress.methods.prune_width:feed_forward",
    "heads": "compress.methods.prune_heads:heads",
    "hidden": "compress.methods.prune_width:hidden",
    "channels": "compress.methods.prune_channels:channels",
    "unstructured": "compress.methods.prune:unstructured",
}


def prune(bundle: Bundle, config: Prune) -> Bundle:
    """The bundle with `fraction` of the parameters of the chosen structures removed.

    The fraction reached differs by whole heads and by widths that stay multiples of 8; a note states it. Raises
    InputError for architectures whose layers are unknown.
    """
    module, _, name = CUTS[config.structure].partition(":")
    cut: Callable[[Bundle, Prune], Bundle] = getattr(import_module(module), name)
    return cut(bundle, config)


def unstructured(bundle: Bundle, config: Prune) -> Bundle:
    """The bundle with the smallest weights of every chosen linear layer set to zero, layer by layer."""
    layers = {}
    for name, module in weight_layers(bundle.model, config):
        weight: torch.Tensor = module.weight.data  # type: ignore[assignment]
        weight.mul_(mask(weight, config.fraction))
        layers[name] = {"sparsity": round((weight == 0).float().mean().item(), 6)}
    note = (
        f"prune: {config.fraction:.0%} of the weights of {len(layers)} layers are zero, but still stored and multiplied"
    )
    return bundle.changed(bundle.model, layers, note)


def mask(weight: torch.Tensor, sparsity: float) -> torch.Tensor:
    """1 where a weight stays and 0 for the `sparsity` of them that are smallest in size; of equals the later stays."""
    order = torch.argsort(weight.abs().flatten(), stable=True)
    kept = torch.ones(weight.numel(), dtype=weight.dtype, device=weight.device)
    kept[order[: round(sparsity * weight.numel())]] = 0
    return kept.view_as(weight)
