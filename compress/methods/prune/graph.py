"""torch-pruning's dependency graph of a transformers model: which parameters must be cut together.

The graph is traced from one forward pass. Cutting output j of one layer also cuts everything that reads j or is added
to it.
"""

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch_pruning as tp
from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.base.config import InputError
from compress.methods.prune.importance import Part
from compress.model.layers import keep_inputs, keep_outputs
from compress.model.outputs import logits_of

SAMPLES = 4000
"""Samples of sound in a traced input: a quarter of a second."""
Group = Any  # torch_pruning.Group: (dependency, indices) pairs


class Conv1DPruner(tp.BasePruningFunc):
    """Adds support for GPT-2's transposed linear layer to torch-pruning."""

    TARGET_MODULES = Conv1D

    def prune_out_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Return the layer without these outputs."""
        keep_outputs(layer, _without(idxs, layer.nf))
        return layer

    def prune_in_channels(self, layer: Any, idxs: Sequence[int]) -> Any:
        """Return the layer without these inputs."""
        keep_inputs(layer, _without(idxs, layer.nx))
        return layer

    def get_out_channels(self, layer: Any) -> int:
        """Return the number of outputs."""
        return int(layer.nf)

    def get_in_channels(self, layer: Any) -> int:
        """Return the number of inputs."""
        return int(layer.nx)


def _without(removed: Sequence[int], count: int) -> torch.Tensor:
    kept = torch.ones(count, dtype=torch.bool)
    kept[list(removed)] = False
    return kept.nonzero().flatten()


def trace(model: Any) -> Any:
    """Return the dependency graph of a model, traced on a synthetic input."""
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())  # the graph comes from autograd
    training = model.training
    with warnings.catch_warnings(), torch.enable_grad():
        # bare parameters (RMSNorm, class token) are cut along their last dimension, which is right here
        warnings.filterwarnings("ignore", message="Unwrapped parameters detected")
        graph = tp.DependencyGraph().build_dependency(
            model.eval(),
            example_inputs=example_inputs(model),
            forward_fn=lambda m, inputs: logits_of(m(**inputs)),
            customized_pruners={Conv1D: Conv1DPruner()},
        )
    model.train(training)
    for module, node in graph.module2node.items():  # autograd's graph would hold the parameters
        node.grad_fn = None
        if not isinstance(module, nn.Parameter) and hasattr(module, "grad_fn"):
            module.grad_fn = None
    return graph


def example_inputs(model: Any) -> dict[str, Any]:
    """Return one small synthetic input: tokens, sound, or an image of the model's own resolution (224 if none)."""
    config, device = model.config, next(model.parameters()).device
    if model.main_input_name == "pixel_values":
        size = getattr(config, "image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        return {"pixel_values": torch.zeros(1, getattr(config, "num_channels", 3), height, width, device=device)}
    if model.main_input_name == "input_values":
        return {"input_values": torch.zeros(1, SAMPLES, device=device)}
    ids = torch.arange(8, device=device)[None] % config.vocab_size
    if model.main_input_name == "input_features":
        features = torch.zeros(1, config.num_mel_bins, 2 * config.max_source_positions, device=device)
        whole = {"decoder_attention_mask": torch.zeros(1, 1, 8, 8, device=device)} if ids.is_meta else {}  # as below
        return {"input_features": features, "decoder_input_ids": ids, **whole, "use_cache": False}
    # without a cache, which would add concatenations to the graph that link no channels
    # a skeleton gets a 4-D mask: transformers reads the values of a 2-D one to see whether it masks anything
    mask = {"attention_mask": torch.zeros(1, 1, 8, 8, device=device)} if ids.is_meta else {}
    if ids.is_meta and "position_ids" in inspect.signature(model.forward).parameters:
        mask["position_ids"] = torch.arange(8, device=device)[None]  # OPT would count them from a 2-D mask
    if getattr(config, "is_encoder_decoder", False):
        mask["decoder_input_ids"] = ids
    return {"input_ids": ids, **mask, **({"use_cache": False} if hasattr(config, "use_cache") else {})}


def outputs_group(graph: Any, module: nn.Module, indices: Sequence[int]) -> Group:
    """Return everything that must be cut together with these outputs of `module`."""
    return graph.get_pruning_group(module, graph.get_pruner_of_module(module).prune_out_channels, list(indices))


def parts_of(graph: Any, group: Group, width: int) -> tuple[Part, ...]:
    """Return the parameters of a full group and the dimension along which each is cut.

    Raises InputError if the graph maps a channel to another index somewhere: the cut would not be uniform.
    """
    parts: dict[tuple[int, int], Part] = {}
    for dependency, indices in group:
        module = dependency.target.module
        if not isinstance(module, nn.Parameter) and not any(True for _ in module.parameters(recurse=False)):
            continue  # an operation between layers
        name = _name(graph, module)
        if list(indices) != list(range(width)):
            raise InputError(
                f"{name}: the dependency graph does not map its channels one to one; this model cannot be cut"
            )
        for part in _parts(module, graph.is_out_channel_pruning_fn(dependency.handler), name):
            parts[(id(part.parameter), part.dim)] = part
    return tuple(parts.values())


def _parts(module: Any, outputs: bool, name: str) -> list[Part]:
    if isinstance(module, nn.Parameter):
        return [Part(module, module.dim() - 1)]
    if isinstance(module, nn.Embedding):
        return [Part(module.weight, 1)]
    if isinstance(module, Conv1D | nn.Linear | nn.Conv1d | nn.Conv2d):
        out = 1 if isinstance(module, Conv1D) else 0
        weight = Part(module.weight, out if outputs else 1 - out)
        return [weight, Part(module.bias, 0)] if outputs and module.bias is not None else [weight]
    if isinstance(module, nn.LayerNorm):
        return [Part(p, 0) for p in (module.weight, module.bias) if p is not None]
    raise InputError(f"{name}: a {type(module).__name__}, whose channels cannot be cut here")


def _name(graph: Any, module: Any) -> str:
    names = graph._param_to_name if isinstance(module, nn.Parameter) else graph._module2name
    return str(names.get(module, type(module).__name__))
