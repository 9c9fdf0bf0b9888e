"""The layers of a model of a family in the table, and their parts."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from compress.base.config import InputError
from compress.model.convolutions import LowRankConvolution
from compress.model.encoder_decoders import WRITERS, two_stacks
from compress.model.families import ARCHITECTURES, Architecture


@dataclass(frozen=True)
class Layer:
    """One transformer layer: its name in the model and its modules."""

    name: str
    module: nn.Module
    architecture: Architecture = field(repr=False)

    def child(self, path: str) -> str:
        """Return the full name of a path within the layer."""
        return f"{self.name}.{path}"

    def get(self, path: str) -> nn.Module:
        """Return the module at a path within the layer."""
        return self.module.get_submodule(path)


def architecture_of(model: Any, step: str) -> Architecture:
    """Return the names of the model's family.

    Raises InputError for a family, or a form of it, that is not in the table, and for a step that does not apply to it.
    """
    kind = getattr(getattr(model, "config", None), "model_type", None)
    names = two_stacks(model) or ARCHITECTURES.get(str(kind))
    if names is None:
        raise InputError(
            f"{step}: layers of model type {kind!r} are unknown; expected one of "
            f"{', '.join(dict.fromkeys((*ARCHITECTURES, *WRITERS)))}"
        )
    for name, value in names.assumes.items():
        if (found := getattr(model.config, name, value)) != value:
            raise InputError(f"{step}: {kind} with {name} {found} is unknown; expected {value}")
    if (reason := names.refused.get(step)) is not None:
        raise InputError(f"{step}: does not apply to model type {kind!r}: {reason}")
    return names


def projections(model: Any, names: Collection[str], step: str) -> list[tuple[str, ...]]:
    """Return these layers in order; query, key and value of one attention are one group if all three are included.

    Raises InputError for an unknown architecture.
    """
    group_of = {}
    for layer in layers_of(model, step):
        group = tuple(layer.child(getattr(layer.architecture, part)) for part in ("query", "key", "value"))
        if len(set(group)) == len(group) and set(group) <= set(names):
            group_of.update(dict.fromkeys(group, group))
    return list(dict.fromkeys(group_of.get(name, (name,)) for name in names))


def layers_path(model: Any, architecture: Architecture) -> str:
    """Return the full name of the list of layers."""
    prefix = model.base_model_prefix
    return f"{prefix}.{architecture.layers}" if hasattr(model, prefix) else architecture.layers


def stream_of(model: Any, architecture: Architecture) -> Any:
    """Return the layer whose outputs are the residual stream: the embedding, or what widens it."""
    embedding = model.get_input_embeddings()
    base = getattr(model, model.base_model_prefix, model)
    modules = dict(base.named_modules())
    plain = getattr(embedding, "projection", embedding)  # a ViT's patch embedding contains a convolution
    if isinstance(plain, LowRankConvolution):
        plain = plain.second
    return modules.get(architecture.stream, plain) if architecture.stream else plain


def layers_of(model: Any, step: str) -> list[Layer]:
    """Return the model's transformer layers in order: of an encoder-decoder the encoder's, then the decoder's.

    Raises InputError for an unknown architecture, and for a model without layers.
    """
    whole = architecture_of(model, step)
    path = layers_path(model, whole)
    layers = []
    for architecture in (whole, *([whole.decoder] if whole.decoder else [])):
        own = layers_path(model, architecture)
        layers += [Layer(f"{own}.{i}", m, architecture) for i, m in enumerate(model.get_submodule(own))]
    if not layers:
        raise InputError(f"{step}: the model has no layers ({path} is empty); expected one or more")
    return layers


def separate_layers(model: Any, step: str) -> list[Layer]:
    """Return the model's transformer layers, to be cut one by one. Raises InputError if two of them share a weight."""
    owner: dict[int, str] = {}
    layers = layers_of(model, step)
    for layer in layers:
        for name, parameter in layer.module.named_parameters():
            first = owner.setdefault(id(parameter), layer.name)
            if first != layer.name:
                raise InputError(
                    f"{step}: {first} and {layer.name} share their {name}; structures are cut from layers with weights "
                    "of their own: use quantize, lowrank, or prune with structure unstructured"
                )
    return layers
