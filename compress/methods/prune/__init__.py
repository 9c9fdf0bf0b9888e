"""Prune: remove whole structures, which shrinks and speeds up the model, or zero single weights, which does neither.

structure      cut by                               one structure is
feed_forward   torch-pruning's dependency graph     a neuron: a row of the first matrix, a column of the second
heads          a table of names (prune.heads)       a key/value head with all query heads that share it
hidden         torch-pruning's dependency graph     a channel of the residual stream, through the whole model
channels       torch-pruning's dependency graph     a channel of a convolution and of everything added to it
layers         removing modules (prune.layers)      a transformer layer
unstructured   a mask (prune.weights)               a single weight
vocabulary     a corpus (prune.vocabulary)          a token: a row of the embedding and of the head
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
    "vocabulary": "compress.methods.prune.vocabulary:vocabulary",
}


def prune(bundle: Bundle, config: Prune) -> Bundle:
    """Return the bundle with `fraction` of the parameters of the chosen structures removed.

    The actual fraction deviates, because heads are whole and widths stay multiples of 8; a note states it. Raises
    InputError for unsupported architectures.
    """
    if config.structure == "feed_forward" and config.cost == "parameters":
        prune_width.check_fraction(bundle, config)
    module, _, name = CUTS[config.structure].partition(":")
    cut: Callable[[Bundle, Prune], Bundle] = getattr(import_module(module), name)
    for fraction in schedule(config):
        bundle = cut(bundle, config.model_copy(update={"fraction": fraction, "rounds": 1}))
    return bundle


def schedule(config: Prune) -> list[float]:
    """Return the fraction of each round: of the remainder for structures, of the total for zeros, which stay counted.

    Structures shrink by equal factors, zeros grow by equal steps.
    """
    rounds = config.rounds
    if config.structure == "unstructured":
        return [config.fraction * (index + 1) / rounds for index in range(rounds)]
    return [1 - (1 - config.fraction) ** (1 / rounds)] * rounds
