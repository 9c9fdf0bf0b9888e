"""Feed-forward parts whose gate and projection are one matrix (ModernBERT, Phi-3): both halves are cut alike.

rows of ffn_in     [ g0 g1 g2 g3 | u0 u1 u2 u3 ]   ->   [ g0 g2 | u0 u2 ]
columns of ffn_out [ d0 d1 d2 d3 ]                 ->   [ d0 d2 ]
"""

from typing import Any

import torch

from compress.methods.prune.importance import Part, Structures
from compress.model.architectures import Layer
from compress.model.layers import keep_inputs, keep_outputs, output_dim


def structures(layer: Layer, width: int) -> Structures:
    """Return the parts of each of `width` neurons: two rows with their biases, and a column."""
    gate, output = _matrices(layer)
    parts = [Part(output.weight, 1 - output_dim(output))]
    for start in (0, width):
        parts.append(Part(gate.weight, output_dim(gate), start, width))
        if gate.bias is not None:
            parts.append(Part(gate.bias, 0, start, width))
    return Structures(tuple(parts), width)


def keep(layer: Layer, width: int, kept: torch.Tensor) -> None:
    """Keep these of `width` neurons (ascending indices), in place."""
    gate, output = _matrices(layer)
    keep_outputs(gate, torch.cat([kept, kept + width]))
    keep_inputs(output, kept)


def _matrices(layer: Layer) -> tuple[Any, Any]:
    return layer.get(layer.architecture.ffn_in[0]), layer.get(layer.architecture.ffn_out)
