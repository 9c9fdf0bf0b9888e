"""OpenVINO graphs with the artifact's integers, which its products expand (`compress.model.runtimes.integers`).

Language models become graphs with a cache (`compress.model.runtimes.stateful_export`), all others these.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.model.bundle import Bundle
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.runtimes.check import checked
from compress.model.runtimes.integers import insert
from compress.model.runtimes.onnx import layer_of

FILE = "openvino_model.xml"
"""The name that OpenVINO's tools expect."""


def write(bundle: Bundle, layers: Mapping[str, GroupedLinear], folder: Path) -> None:
    """Write the bundle's model, in floating point, as a graph with the integers of these layers.

    Raises InputError for a layer that is no product of the graph.
    """
    import onnx
    import openvino

    from compress.model.runtimes.openvino import converted

    exported = checked(bundle, "openvino")
    names = {node.name: layer_of(node) for node in onnx.load(str(exported.path)).graph.node}
    made = converted(exported)  # its file lasts as long as the object
    graph = openvino.Core().read_model(str(made.path)).clone()
    products: dict[str, list[Any]] = {}
    for node in graph.get_ops():
        if node.get_type_name() == "MatMul":
            name = names.get(node.get_friendly_name().removesuffix("/WithoutBiases"), "")
            products.setdefault(name, []).append(node)
    insert(products, layers)
    graph.validate_nodes_and_infer_types()
    openvino.save_model(graph, str(folder / FILE), compress_to_fp16=False)
