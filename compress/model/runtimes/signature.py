"""The signature of a graph: name, type and shape of its inputs and outputs.

    {"name": "input_ids", "type": "int64", "shape": ["batch", "sequence"]}
    {"name": "logits", "type": "float32", "shape": ["batch", 2]}

Variable dimensions are names. ONNX stores them in the graph; OpenVINO stores them as a layout, `[N,SEQUENCE]`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compress.model.manifest import Signature, TensorInfo

DIMENSIONS = ("batch", "sequence")
"""Names of variable dimensions, by axis."""


def variable(rank: int) -> dict[int, str]:
    """Return the variable axes of an input with `rank` dimensions: of tokens both, of images the batch."""
    return dict(enumerate(DIMENSIONS if rank == 2 else DIMENSIONS[:1]))


def onnx_signature(path: Path) -> Signature:
    """Return the signature of an ONNX file, without reading weights from other files."""
    import onnx

    def described(item: Any) -> TensorInfo:
        tensor = item.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        return {
            "name": item.name,
            "type": str(dtype.name),
            "shape": [dimension.dim_param or dimension.dim_value for dimension in tensor.shape.dim],
        }

    graph = onnx.load(str(path), load_external_data=False).graph
    return {"inputs": [*map(described, graph.input)], "outputs": [*map(described, graph.output)]}


def openvino_signature(inputs: Iterable[Any], outputs: Iterable[Any]) -> Signature:
    """Return the signature of a model with these ports."""

    def described(port: Any) -> TensorInfo:
        return {
            "name": port.get_any_name(),
            "type": str(port.get_element_type().to_dtype().name),
            "shape": [
                DIMENSIONS[axis] if dimension.is_dynamic else dimension.get_length()
                for axis, dimension in enumerate(port.get_partial_shape())
            ],
        }

    return {"inputs": [*map(described, inputs)], "outputs": [*map(described, outputs)]}


def name_dimensions(model: Any) -> None:
    """Set the layout of every input and output of an OpenVINO model: the names of its variable dimensions."""
    import openvino

    for node in (*model.get_parameters(), *model.get_results()):
        shape = node.get_output_partial_shape(0)
        names = [DIMENSIONS[axis] if dimension.is_dynamic else "?" for axis, dimension in enumerate(shape)]
        node.set_layout(openvino.Layout(f"[{','.join(names)}]"))
