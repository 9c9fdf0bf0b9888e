"""Prune: remove whole structures, which makes the model smaller and faster, or zero single weights, which does not.

structure      cut by                               one structure is
feed_forward   torch-pruning's dependency graph     a neuron: a row of the first matrix, a column of the second
heads          our table of names (prune_heads)     a key/value head with all query heads that share it
hidden         torch-pruning's dependency graph     a channel of the residual stream, through the whole model
channels       torch-pruning's dependency graph     a channel of a convolution and of all that is added to it
layers         leaving them out (prune_layers)      a transformer layer
unstructured   a mask (prune_weights)               a single weight
"""

from collections.abc import Callable
from importlib import import_module

from compress.methods.prune import width as prune_width
from compress.model.bundle import Bundle
from compress.spec.steps import Prune

CUTS: dict[str, str] = {
    "feed_forward": "compress.methods.prune.width:feed_forward",
    "heads": "compress.methods.prune.heads:heads",
    "hidden": "compress.methods.prune.width:hidden",
    "channels": "compress.methods.prune.channels:channels",
    "layers": "compress.methods.prune.layers:layers",
    "unstructured": "compress.methods.prune.weights:unstructured",
}


def prune(bundle: Bundle, config: Prune) -> Bundle:
    """The bundle with `fraction` of the parameters of the chosen structures removed.

    The fraction reached differs by whole heads and by widths that stay multiples of 8; a note states it. Raises
    InputError for architectures whose layers are unknown.
    """
    if config.structure == "feed_forward" and config.cost == "parameters":
        prune_width.check_fraction(bundle, config)
    module, _, name = CUTS[config.structure].partition(":")
    cut: Callable[[Bundle, Prune], Bundle] = getattr(import_module(module), name)
    for fraction in schedule(config):
        bundle = cut(bundle, config.model_copy(update={"fraction": fraction, "rounds": 1}))
    return bundle


def schedule(config: Prune) -> list[float]:
    """The fraction of each round: of what is left for structures, of everything for zeros, which stay counted.

    Structures go by equal factors, zeros by equal steps.
    """
    rounds = config.rounds
    if config.structure == "unstructured":
        return [config.fraction * (index + 1) / rounds for index in range(rounds)]
    return [1 - (1 - config.fraction) ** (1 / rounds)] * rounds
