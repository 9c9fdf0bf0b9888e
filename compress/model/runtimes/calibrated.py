"""ONNX graphs with int8 products whose activation scales are calibrated beforehand (Jacob et al. 2018, 1712.05877).

    Q: round to 8 bits    D: back to floating point

    x - Q - D - Conv - Relu - Q - D - Conv - ...    onnxruntime fuses each D - Conv - Relu - Q into one int8 operator

Activations have the range of the calibration examples, one scale per tensor. Weights have one scale per output channel:
of a depthwise convolution, whose channels differ by orders of magnitude once their norms are folded in, one scale for
all would round whole channels to zero (Krishnamoorthi 2018, arXiv:1806.08342).

Additions, activations and pools between convolutions stay in 8 bits too. Linear layers return floating point: what
follows them in a transformer (sums along its residual stream) has outliers that one scale of 8 bits cannot hold.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch

from compress.model.runtimes.graph import OnnxModel
from compress.model.runtimes.onnx import rewritten

FLOAT_OUTPUTS = ("MatMul", "Gemm")
PRODUCTS = ("Conv", *FLOAT_OUTPUTS)
BETWEEN = ("Relu", "Clip", "MaxPool")
"""Operators that onnxruntime executes in 8 bits, or not at all, after a convolution in 8 bits."""


def quantize_calibrated(
    model: OnnxModel, layers: Collection[str], per_channel: bool, batches: Sequence[Mapping[str, torch.Tensor]]
) -> OnnxModel:
    """Return another graph in which these linear layers and convolutions are int8, calibrated on these batches.

    Raises InputError if the graph has none of the layers.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    def write(graph: Any, chosen: Sequence[str], file: str, settings: Mapping[str, Any]) -> None:
        quantize_static(
            graph,
            file,
            _Reader(model.feeds((), batch) for batch in batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=[*PRODUCTS, *BETWEEN, "Add"],
            nodes_to_quantize=[*chosen, *between(graph.graph.node, chosen)],
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": list(FLOAT_OUTPUTS)},
            **settings,
        )

    return rewritten(model, layers, PRODUCTS, "calibrating the graph", write)


def between(nodes: Sequence[Any], chosen: Collection[str]) -> Iterator[str]:
    """Yield operators that read the outputs of chosen convolutions alone, or of each other: they can stay in 8 bits.

    An addition needs one such input; its other one comes from an earlier layer. `nodes` are in the order of execution.
    """
    rounded: set[str] = set()
    for node in nodes:
        if node.op_type == "Conv" and node.name in chosen:
            rounded.update(node.output)
        elif (node.op_type in BETWEEN and node.input[0] in rounded) or (
            node.op_type == "Add" and rounded.intersection(node.input)
        ):
            rounded.update(node.output)
            yield node.name


class _Reader:
    """Calibration inputs in the form that onnxruntime reads them."""

    def __init__(self, feeds: Iterator[Mapping[str, torch.Tensor]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, Any] | None:
        """Return the next inputs; None after the last."""
        feed = next(self._feeds, None)
        return None if feed is None else {name: value.numpy() for name, value in feed.items()}
