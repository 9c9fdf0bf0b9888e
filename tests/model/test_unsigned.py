"""int8 weights that were stored signed give the exact integer products on a CPU without VNNI too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from compress.base import devices
from compress.base.config import InputError
from compress.methods import apply_step
from compress.model import artifact
from compress.model.runtimes import unsigned
from compress.model.runtimes.graph import OnnxModel
from compress.model.runtimes.providers import Place, open_session
from compress.spec.steps import Quantize
from tests import made_models
from tests.made_models import bundle, trainable

DRAW = np.random.default_rng(0)
INPUTS, OUTPUTS = 64, 48
ACTIVATIONS = DRAW.integers(200, 256, (5, INPUTS)).astype(np.uint8)
WEIGHT = np.where(DRAW.random((INPUTS, OUTPUTS)) < 0.8, DRAW.integers(100, 128, (INPUTS, OUTPUTS)), -100).astype(
    np.int8
)
"""Pairs of products add up to 64,770, twice what 16 bits hold."""
EXACT = ACTIVATIONS.astype(np.int64) @ WEIGHT.astype(np.int64)
SCALES = {"a_scale": np.float32(0.02), "w_scale": np.float32(0.01), "y_scale": np.float32(2), "zero": np.uint8(0)}
ROUNDED = np.clip(np.rint(EXACT * 1e-4), 0, 255)
STATIC = ["a", "a_scale", "zero", "w", "w_scale", "z"]
KINDS: dict[str, tuple[str, list[str], Any, float]] = {
    "a zero point each channel": ("MatMulInteger", ["a", "w", "zero", "channels"], EXACT, 0),
    "one zero point": ("MatMulInteger", ["a", "w", "zero", "z"], EXACT, 0),
    "no zero point": ("MatMulInteger", ["a", "w"], EXACT, 0),
    "scaled inside": ("DynamicQuantizeMatMul", ["x", "w", "w_scale", "z"], EXACT * 2e-4, 1e-3),
    "static": ("QLinearMatMul", [*STATIC, "y_scale", "zero"], ROUNDED, 1),
    "static with bias": ("QGemm", [*STATIC, "", "y_scale", "zero"], ROUNDED, 1),
    "convolution": ("QLinearConv", ["images", *STATIC[1:3], "kernels", *STATIC[4:], "y_scale", "zero"], ROUNDED, 1),
}


def graph(nodes: list[Any], inputs: list[str], output: int, **more: np.ndarray) -> Any:
    """A model of these nodes; `a`: uint8, `x`: the same as floats, `images`: of one pixel, `y`: the output."""
    kinds = {"a": (TensorProto.UINT8, ACTIVATIONS.shape), "x": (TensorProto.FLOAT, ACTIVATIONS.shape)}
    kinds["images"] = (TensorProto.UINT8, (*ACTIVATIONS.shape, 1, 1))
    held = {"w": WEIGHT, "z": np.int8(0), "channels": np.zeros(OUTPUTS, np.int8), **SCALES, **more}
    held["kernels"] = WEIGHT.T.reshape(OUTPUTS, INPUTS, 1, 1).copy()
    taken = {name for node in nodes for name in node.input}
    made = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info(name, *kinds[name]) for name in inputs],
        [helper.make_tensor_value_info("y", output, None)],
        [onnx.numpy_helper.from_array(np.asarray(each), name) for name, each in held.items() if name in taken],
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=sets, ir_version=9)


def answer(path: Path, inputs: list[str]) -> np.ndarray:
    import onnxruntime

    given = {"a": ACTIVATIONS, "x": ACTIVATIONS * np.float32(0.02), "images": ACTIVATIONS[..., None, None]}
    session = open_session(path, Place(), onnxruntime.SessionOptions())
    found: np.ndarray = session.run(["y"], {name: given[name] for name in inputs})[0]
    return found.reshape(len(ACTIVATIONS), -1)


@pytest.fixture
def vnni(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Has this CPU taken for one with VNNI, or for one without."""
    return lambda present: monkeypatch.setattr(devices, "has_vnni", lambda: present)


@pytest.mark.parametrize(("operator", "names", "expected", "within"), KINDS.values(), ids=list(KINDS))
def test_signed_weights_give_exact_products_on_a_cpu_without_vnni(
    operator: str, names: list[str], expected: Any, within: float, tmp_path: Path, vnni: Callable[[bool], None]
) -> None:
    vnni(False)
    domain = "com.microsoft" if operator in ("DynamicQuantizeMatMul", "QGemm") else ""
    output = {"MatMulInteger": TensorProto.INT32, "DynamicQuantizeMatMul": TensorProto.FLOAT}
    made = graph([helper.make_node(operator, names, ["y"], domain=domain)], names[:1], output.get(operator, 2))
    onnx.save(made, tmp_path / "model.onnx")
    if "x" in names:  # scaled inside: over what is there, from 0 on
        step = float((ACTIVATIONS * np.float32(0.02)).max()) / 255
        expected = np.rint(ACTIVATIONS * 0.02 / step).astype(int) @ WEIGHT.astype(int) * step * 0.01
    assert np.abs(answer(tmp_path / "model.onnx", names[:1]) - expected).max() <= within
    assert not unsigned.weights(made.graph) or onnx.load(tmp_path / "model.onnx") == made  # the file stays


@pytest.mark.parametrize("large", [False, True])
def test_a_weight_that_is_also_looked_up_stays_signed_there(large: bool, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMulInteger", ["a", "w", "zero"], ["product"]),
        helper.make_node("Gather", ["w", "row"], ["looked"]),
        helper.make_node("Cast", ["looked"], ["wide"], to=TensorProto.INT32),
        helper.make_node("Add", ["product", "wide"], ["y"]),
    ]
    source = tmp_path / "model.onnx"
    where = {"save_as_external_data": True, "location": "model.onnx.data"} if large else {}
    onnx.save(graph(nodes, ["a"], TensorProto.INT32, row=np.int64(3)), source, **where)
    unsigned.store(source, source, large)
    assert np.array_equal(answer(source, ["a"]), EXACT + WEIGHT[3])
    assert not unsigned.weights(onnx.load(source).graph)
    data_bytes = source.with_name("model.onnx.data").stat().st_size if large else 0
    assert data_bytes < 4 * WEIGHT.size  # written once, not appended


def test_floats_that_are_dequantized_into_products_are_exact_too(tmp_path: Path, vnni: Callable[[bool], None]) -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "a_scale", "zero"], ["left"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "z"], ["right"]),
        helper.make_node("MatMul", ["left", "right"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "y_scale", "zero"], ["y"]),
    ]
    vnni(False)
    onnx.save(graph(nodes, ["a"], TensorProto.UINT8), tmp_path / "model.onnx")
    assert np.abs(answer(tmp_path / "model.onnx", ["a"]) - ROUNDED).max() <= 1


def extreme() -> Any:
    """A BERT whose weights are near the ends of their range."""
    torch.manual_seed(0)
    model = made_models.bert()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "embeddings" not in name:
                weight.copy_(weight.std() * weight.sign() * (0.8 + 0.2 * torch.rand_like(weight)))
    return model


@pytest.mark.parametrize("per_channel", [True, False])
def test_an_artifact_made_with_vnni_answers_the_same_without(
    per_channel: bool, tmp_path: Path, vnni: Callable[[bool], None]
) -> None:
    model = extreme()
    batch = made_models.inputs(model)
    answers: dict[bool, torch.Tensor] = {}
    for made_with in (True, False):
        vnni(made_with)
        after = apply_step(bundle(model), Quantize(bits=8, per_channel=per_channel))
        artifact.save(after, tmp_path / str(made_with))
        vnni(False)
        loaded, _, _ = artifact.load(tmp_path / str(made_with))
        assert isinstance(loaded, OnnxModel)
        assert (unsigned.REMARK in loaded.remark()) == made_with
        answers[made_with] = loaded(**batch).logits
        vnni(True)
        assert unsigned.REMARK not in loaded.remark()
    assert torch.equal(answers[True], answers[False])
    with torch.no_grad():
        exact = model(**batch).logits
    assert float((answers[True] - exact).norm() / exact.norm()) < 0.05


def test_openvino_has_weights_of_7_bits_without_vnni_and_refuses_8(
    tmp_path: Path, vnni: Callable[[bool], None]
) -> None:
    model = extreme()
    batch = made_models.inputs(model)
    step = Quantize(format="int8_static", calibration_examples=8)
    vnni(True)
    artifact.save(apply_step(trainable(extreme()), step), tmp_path / "eight")
    vnni(False)
    seven = apply_step(trainable(model), step).model
    assert "7 bits" in seven.remark()
    with torch.no_grad():
        exact = model(**batch).logits
    assert float((seven(**batch).logits - exact).norm() / exact.norm()) < 0.1  # 0.147 with sums that saturate
    with pytest.raises(InputError, match=r"for CPUs with VNNI.*weights up to 64, got 127; quantize again here"):
        artifact.load(tmp_path / "eight")
    vnni(True)
    assert not artifact.load(tmp_path / "eight")[0].remark()
