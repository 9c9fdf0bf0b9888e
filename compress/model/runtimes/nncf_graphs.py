"""OpenVINO graphs that nncf rounds: int8 with calibrated scales, or weights alone in 8 or 4 bits."""

from collections.abc import Collection, Mapping, Sequence

import torch

from compress.base import devices
from compress.base.config import InputError
from compress.base.console import bar
from compress.model.runtimes.graph import GraphModel, OnnxModel
from compress.model.runtimes.onnx import layer_of, quietly
from compress.model.runtimes.openvino import Opened, OpenVinoModel, arrays, saved

NO_PRODUCT = "openvino: the exported graph has none of the chosen layers as a product; widen include"


def quantize_static(
    model: OnnxModel,
    layers: Collection[str],
    others: Collection[str],
    batches: Sequence[Mapping[str, torch.Tensor]],
) -> OpenVinoModel:
    """Return another graph with int8 products, calibrated on these batches (nncf, including SmoothQuant).

    A CPU without VNNI adds products in 16 bits, which saturate: there weights get 7 bits.

    These `layers` and embeddings become int8. The `others` stay in floating point, and so do the products
    inside attention: with int8 scores, OpenVINO 2026.4 computes wrong outputs for texts with as many tokens as a head
    is wide.
    """
    import openvino

    with bar("calibrating the graph", None), quietly():
        import nncf

        graph = nncf.quantize(
            openvino.Core().read_model(str(model.path)),
            nncf.Dataset(list(batches), lambda batch: arrays(model.feeds((), batch))),
            subset_size=len(batches),
            model_type=nncf.ModelType.TRANSFORMER,
            advanced_parameters=None
            if devices.has_vnni()
            else nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
            ignored_scope=nncf.IgnoredScope(
                names=[*names_of(model, layers, others), *_products(model, {*layers, *others})], validate=False
            ),
        )
        return saved(graph, model.config, OpenVinoModel)


def _products(model: OnnxModel, weighted: Collection[str]) -> list[str]:
    """Return products outside these layers, as OpenVINO names them: attention scores, and values weighted by them."""
    import onnx

    nodes = onnx.load(str(model.path)).graph.node
    return [n.name for n in nodes if n.op_type == "MatMul" and layer_of(n) not in weighted]


def quantize_weights(
    model: GraphModel, ignored: Collection[str], opened: type[Opened], bits: int, group_size: int
) -> Opened:
    """Return another graph that stores weights of 8 bits (one scale per row) or 4 (one per group), by nncf.

    Where the CPU has VNNI, OpenVINO rounds the inputs of their products to 8 bits; elsewhere it expands the weights to
    floating point inside the product. Embeddings and products named `ignored` stay unchanged.
    """
    import openvino

    with bar("rounding the graph's weights", None), quietly():
        import nncf

        four = {"mode": nncf.CompressWeightsMode.INT4_ASYM, "group_size": group_size, "all_layers": True}
        graph = nncf.compress_weights(
            openvino.Core().read_model(str(model.path)),
            ignored_scope=nncf.IgnoredScope(names=list(ignored), types=["Gather"], validate=False),
            **(four if bits == 4 else {"mode": nncf.CompressWeightsMode.INT8_ASYM}),
        )
        return saved(graph, model.config, opened)


def names_of(model: OnnxModel, layers: Collection[str], others: Collection[str]) -> list[str]:
    """Return products of the `others`, as OpenVINO names them.

    Raises InputError if the graph has none of the `layers`.
    """
    import onnx

    nodes = [n for n in onnx.load(str(model.path)).graph.node if n.op_type in ("MatMul", "Gemm", "Conv")]
    if not any(layer_of(n) in layers for n in nodes):
        raise InputError(NO_PRODUCT)
    dense = [n.name for n in nodes if layer_of(n) in others]
    return [name for n in dense for name in (n, f"{n}/WithoutBiases")]
