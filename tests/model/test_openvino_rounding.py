"""What OpenVINO multiplies where weights are integers and inputs are not: the kernel label rests on it."""

import numpy as np
import pytest

from compress.base import devices

GROUP, INPUTS, OUTPUTS = 32, 256, 128


def product() -> tuple[object, np.ndarray]:
    """Return a graph of one product with weights of 8 bits in groups, and its weights [outputs, inputs] in float64."""
    import openvino
    from openvino import opset13

    generator = np.random.default_rng(0)
    integers = generator.integers(-127, 128, (OUTPUTS, INPUTS // GROUP, GROUP)).astype(np.int8)
    scales = (generator.random((OUTPUTS, INPUTS // GROUP, 1)) / 127).astype(np.float16)
    inputs = opset13.parameter([-1, INPUTS], np.float32, name="inputs")
    weight = opset13.multiply(opset13.convert(opset13.constant(integers), "f16"), opset13.constant(scales))
    weight = opset13.convert(opset13.reshape(weight, [OUTPUTS, INPUTS], False), "f32")
    graph = openvino.Model([opset13.matmul(inputs, weight, False, True)], [inputs])
    return graph, (integers * scales.astype(np.float64)).reshape(OUTPUTS, INPUTS)


def rounded(inputs: np.ndarray) -> np.ndarray:
    """Return inputs [rows, width] rounded to 8 bits, with one scale for the largest of each group."""
    groups = inputs.astype(np.float64).reshape(len(inputs), -1, GROUP)
    scales = np.abs(groups).max(axis=-1, keepdims=True) / 127
    return (np.rint(groups / scales) * scales).reshape(inputs.shape)


@pytest.mark.parametrize("rounds", [True, False])
def test_openvino_multiplies_inputs_of_8_bits_exactly_where_the_cpu_multiplies_integers(rounds: bool) -> None:
    import openvino

    graph, weights = product()
    options = {"INFERENCE_PRECISION_HINT": "f32"} | ({} if rounds else {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
    inputs = np.random.default_rng(1).standard_normal((4, INPUTS)).astype(np.float32)
    request = openvino.Core().compile_model(graph, "CPU", options).create_infer_request()
    (outputs,) = request.infer({"inputs": inputs}).values()
    multiplied = rounded(inputs) if rounds and devices.has_vnni() else inputs
    expected = multiplied @ weights.T
    assert np.abs(outputs - expected).max() < 1e-5 * expected.std()
    assert np.abs(rounded(inputs) @ weights.T - inputs @ weights.T).max() > 1e-3 * expected.std()
