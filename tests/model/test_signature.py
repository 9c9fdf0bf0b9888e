"""Signatures: dimensions of graphs have names, in the file and in the manifest; graphs without names still load."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from compress.base.config import InputError
from compress.methods import apply_step
from compress.model import artifact, runtimes
from compress.model.manifest import sealed, sha256
from compress.model.runtimes.providers import Shapes, shape_profile
from compress.model.runtimes.signature import onnx_signature, variable
from compress.spec.steps import Quantize
from tests import made_models
from tests.made_models import MODELS, bundle, trainable

TOKENS = ["batch", "sequence"]
IDS = {"name": "input_ids", "type": "int64", "shape": TOKENS}
MASK = {"name": "attention_mask", "type": "int64", "shape": TOKENS}
EXPECTED: dict[str, dict[str, list[dict[str, Any]]]] = {
    "bert": {
        "inputs": [IDS, MASK],
        "outputs": [{"name": "logits", "type": "float32", "shape": ["batch", 2]}],
    },
    "vit": {
        "inputs": [{"name": "pixel_values", "type": "float32", "shape": ["batch", 1, 8, 8]}],
        "outputs": [{"name": "logits", "type": "float32", "shape": ["batch", 5]}],
    },
    "llama": {
        "inputs": [IDS, MASK],
        "outputs": [{"name": "logits", "type": "float32", "shape": [*TOKENS, 64]}],
    },
}
"""Model -> its signature: `made_models` has 2 classes, 5 classes of 8 x 8 grey images, and 64 words."""


CACHED = {
    "inputs": [IDS, MASK, {**IDS, "name": "position_ids"}, {"name": "beam_idx", "type": "int32", "shape": ["batch"]}],
    "outputs": EXPECTED["llama"]["outputs"],
}
"""The signature of a language model's graph with a cache."""


def by_name(signature: Any) -> dict[str, list[dict[str, Any]]]:
    """The signature with inputs in alphabetical order: a tokenizer decides theirs."""
    return {part: sorted(signature[part], key=lambda item: str(item["name"])) for part in ("inputs", "outputs")}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Makes the artifact of a model's dense graph, once each."""
    folder = tmp_path_factory.mktemp("signatures")

    def make(name: str, runtime: str) -> Path:
        path = folder / f"{name}-{runtime}"
        if not path.exists():
            artifact.save(runtimes.finish(trainable(MODELS[name]()), runtime), path, {"runtime": runtime})
        return path

    return make


@pytest.mark.parametrize("name", EXPECTED)
def test_dimensions_of_an_onnx_file_are_named(name: str, saved: Callable[[str, str], Path]) -> None:
    graph = onnx.load(str(saved(name, "onnxruntime") / "model.onnx")).graph
    found = {
        part: [
            {
                "name": item.name,
                "type": {onnx.TensorProto.INT64: "int64", onnx.TensorProto.FLOAT: "float32"}[
                    item.type.tensor_type.elem_type
                ],
                "shape": [d.dim_param or d.dim_value for d in item.type.tensor_type.shape.dim],
            }
            for item in items
        ]
        for part, items in (("inputs", graph.input), ("outputs", graph.output))
    }
    assert by_name(found) == by_name(EXPECTED[name])


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", EXPECTED)
def test_the_manifest_describes_inputs_and_outputs(name: str, runtime: str, saved: Callable[[str, str], Path]) -> None:
    extra = json.loads((saved(name, runtime) / "manifest.json").read_text())["extra"]
    assert by_name(extra) == by_name(CACHED if (name, runtime) == ("llama", "openvino") else EXPECTED[name])
    model, _, manifest = artifact.load(saved(name, runtime))
    assert by_name(model.signature()) == by_name(manifest.extra)
    assert manifest.extra["runtime"] == runtime


@pytest.mark.parametrize("step", [Quantize(bits=8), Quantize(format="int8_static", calibration_examples=8)])
def test_quantized_graphs_have_the_same_signature(step: Quantize, tmp_path: Path) -> None:
    one = apply_step(trainable(MODELS["bert"]()), step)
    artifact.save(runtimes.finish(one, "auto"), tmp_path / "a")
    assert by_name(artifact.verify(tmp_path / "a").extra) == by_name(EXPECTED["bert"])


def test_dimensions_of_an_openvino_file_are_found_by_name(saved: Callable[[str, str], Path]) -> None:
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(str(saved("llama", "openvino") / "model.xml"))
    for node in (*model.get_parameters(), *model.get_results()):
        named = TOKENS[: len(node.get_output_partial_shape(0))]
        assert [node.layout.get_index_by_name(name) for name in named] == [*range(len(named))]
    openvino.set_batch(model, 3)
    assert {str(node.get_output_partial_shape(0)[0]) for node in model.get_parameters()} == {"3"}


def test_a_model_of_transformers_has_no_signature_in_its_manifest(tmp_path: Path) -> None:
    artifact.save(bundle(made_models.bert()), tmp_path / "a")
    assert artifact.verify(tmp_path / "a").extra == {}


def test_an_artifact_without_signature_and_names_loads_and_answers_as_before(
    saved: Callable[[str, str], Path], tmp_path: Path
) -> None:
    """What an earlier version wrote: dimensions named by torch, and a manifest that does not describe them."""
    ids = {"input_ids": torch.tensor([[2, 5, 9, 3], [2, 7, 3, 0]])}
    expected = artifact.load(saved("bert", "onnxruntime"))[0](**ids).logits
    older = tmp_path / "older"
    older.mkdir()
    for file in saved("bert", "onnxruntime").iterdir():
        (older / file.name).write_bytes(file.read_bytes())
    model = onnx.load(str(older / "model.onnx"))
    del model.graph.value_info[:]
    for item in (*model.graph.input, *model.graph.output):
        for dimension in item.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = {"batch": "s72", "sequence": "s70"}[dimension.dim_param]
    onnx.save(model, str(older / "model.onnx"))
    change(older, lambda plain: [plain["extra"].pop("inputs"), plain["extra"].pop("outputs")])
    model, _, manifest = artifact.load(older)
    assert "inputs" not in manifest.extra
    torch.testing.assert_close(model(**ids).logits, expected, rtol=1e-4, atol=1e-5)  # other fusions of the same graph
    assert {dimension for item in model.signature()["inputs"] for dimension in item["shape"]} == {"s72", "s70"}


@pytest.mark.parametrize(
    "wrong", [{"name": "input_ids"}, {**IDS, "shape": "batch"}, {**IDS, "shape": [-1]}, {**IDS, "type": 7}, "ids"]
)
def test_a_description_of_another_form_is_refused(
    wrong: Any, saved: Callable[[str, str], Path], tmp_path: Path
) -> None:
    for file in saved("vit", "onnxruntime").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change(tmp_path, lambda plain: plain["extra"].update(inputs=[wrong]))
    with pytest.raises(InputError, match=r"manifest\.json: extra\.inputs"):
        artifact.verify(tmp_path)


def change(folder: Path, edit: Callable[[Any], object]) -> None:
    """Edits the manifest, and seals it again over the files that are there."""
    plain = json.loads((folder / "manifest.json").read_text())
    plain.pop("sha256")
    edit(plain)
    plain["files"] = {name: sha256(folder / name) for name in plain["files"]}
    (folder / "manifest.json").write_text(sealed(plain))


def test_only_the_batch_of_images_varies() -> None:
    assert (variable(2), variable(4)) == ({0: "batch", 1: "sequence"}, {0: "batch"})


def test_tensorrt_gets_a_range_for_every_named_dimension(saved: Callable[[str, str], Path]) -> None:
    signature = onnx_signature(saved("llama", "onnxruntime") / "model.onnx")
    shapes = {item["name"]: item["shape"] for item in signature["inputs"]}
    largest = shape_profile(shapes, Shapes((8, 64), (32, 128)))["trt_profile_max_shapes"]
    assert set(largest.split(",")) == {"input_ids:32x128", "attention_mask:32x128"}
