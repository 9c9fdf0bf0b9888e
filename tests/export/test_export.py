"""Exports: written, loaded back by other programs with equal answers, and kept only then."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.base.errors import InputError
from compress.export import RECORD, default_folder, export, gptq
from compress.export import folder as layout
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.model.packing.expanding import grouped_layers
from compress.model.packing.integers import Integers
from compress.model.runtimes import integers as openvino_integers
from compress.model.runtimes.check import checked
from compress.spec.exports import Target
from tests import made_models
from tests.export import made
from tests.helpers import tokenizer


@pytest.fixture(scope="module")
def llama4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with int4 weights, but for one layer."""
    folder = tmp_path_factory.mktemp("artifacts") / "work" / "llama4"
    folder.parent.mkdir()
    exclude = ("*lm_head*", "model.layers.1.mlp.down_proj")
    return made.save(folder, made.llama(), made.tokenizer(), exclude=exclude, **made.SYMMETRIC)


@pytest.mark.parametrize("dtype", [None, "fp16"], ids=str)
@pytest.mark.parametrize("bits", [4, 8])
def test_transformers_reads_equal_logits_from_compressed_tensors(
    bits: int, dtype: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("compressed_tensors")
    settings = {**made.SYMMETRIC, "bits": bits}
    source = made.save(tmp_path / "a", made.llama(), made.tokenizer(), dtype=dtype, **settings)
    capfd.readouterr()
    (check,) = export(source, "compressed-tensors", tmp_path / "b").checks
    assert "Dispatching model" not in capfd.readouterr().err  # a progress bar of compressed-tensors
    assert (check.difference, check.bound) == (0, 0)
    config = json.loads((tmp_path / "b" / "config.json").read_text())["quantization_config"]
    (group,) = config["config_groups"].values()
    assert (group["weights"]["num_bits"], group["weights"]["group_size"]) == (bits, 32)
    assert config["ignore"] == ["lm_head"]


def test_a_type_that_would_round_scales_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    sevenths = {**made.SYMMETRIC, "symmetric": True}  # an eighth of a bf16 number is one
    source = made.save(tmp_path / "a", made.llama(), made.tokenizer(), dtype="bf16", **sevenths)
    with pytest.raises(
        InputError, match=r"model\.layers\.0\.self_attn\.q_proj has scales in fp16 and the model is in bf16"
    ):
        export(source, "compressed-tensors", tmp_path / "b")


def test_layers_of_other_bits_and_groups_are_named(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    overrides = {"*down_proj": {"bits": 8, "group_size": "row"}}
    source = made.save(tmp_path / "a", made.llama(), made.tokenizer(), overrides=overrides, **made.SYMMETRIC)
    export(source, "compressed-tensors", tmp_path / "b")
    groups = json.loads((tmp_path / "b" / "config.json").read_text())["quantization_config"]["config_groups"]
    by_bits = {group["weights"]["num_bits"]: group for group in groups.values()}
    assert by_bits[8]["targets"] == [f"model.layers.{i}.mlp.down_proj" for i in (0, 1)]
    assert by_bits[8]["weights"]["strategy"] == "channel"
    assert len(by_bits[4]["targets"]) == 12
    with pytest.raises(InputError, match=r"gptq: one size of integers .* has 8 bits in groups of 96"):
        export(source, "gptq", tmp_path / "c")


def test_gptq_holds_the_integers_in_its_layout(llama4: Path, tmp_path: Path) -> None:
    (check,) = export(llama4, "gptq", tmp_path / "b").checks
    assert check.bound == 0
    stored = load_file(tmp_path / "b" / "model.safetensors")
    model, _, _ = artifact.load(llama4)
    for name, layer in grouped_layers(model).items():
        ints = Integers.of(layer).ints
        packed = stored[f"{name}.qweight"]
        assert packed.shape == (ints.shape[1] // 8, ints.shape[0])
        for row, column in ((0, 0), (9, 1), (31, 5)):  # [in, out]
            assert int(packed[row // 8, column]) >> 4 * (row % 8) & 15 == int(ints[column, row])
        assert set(stored[f"{name}.qzeros"].flatten().tolist()) == {0x77777777}  # 8 - 1, eight times
        assert torch.equal(stored[f"{name}.scales"].T, layer.scale)
    config = json.loads((tmp_path / "b" / "config.json").read_text())["quantization_config"]
    assert (config["bits"], config["group_size"], config["sym"], config["checkpoint_format"]) == (4, 32, True, "gptq")
    assert config["dynamic"] == {r"-:^model\.layers\.1\.mlp\.down_proj$": {}}


@pytest.mark.parametrize("included", [True, False])
def test_gptq_states_whether_the_head_is_quantized(included: bool, tmp_path: Path) -> None:
    layers = {"include": ["*"], "exclude": ["*embed*"]} if included else {}
    model = made.llama(tie_word_embeddings=False, intermediate_size=128)
    source = made.save(tmp_path / "a", model, made.tokenizer(), **layers, **made.SYMMETRIC)
    export(source, "gptq", tmp_path / "b")
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["quantization_config"]["lm_head"] is included
    assert ("lm_head.qweight" in load_file(tmp_path / "b" / "model.safetensors")) is included
    config["quantization_config"]["lm_head"] = not included
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="lm_head"):
        gptq.read(tmp_path / "b")


@pytest.mark.parametrize("target", ["openvino", "onnx", "gguf"])
def test_a_model_in_bf16_leaves_in_fp32_graphs(target: Target, tmp_path: Path) -> None:
    source = made.save(
        tmp_path / "a", made.llama(intermediate_size=128), made.tokenizer(), dtype="bf16", **made.SYMMETRIC
    )
    stored, _, _ = artifact.load(source)
    assert {layer.dtype for layer in grouped_layers(stored).values()} == {torch.bfloat16}
    assert export(source, target, tmp_path / "b").checks


def test_asymmetric_weights_leave_as_gptq_of_the_second_version(tmp_path: Path) -> None:
    settings = {"bits": 4, "backend": "torch", "group_size": 32}
    source = made.save(tmp_path / "a", made.qwen2(), made.tokenizer("qwen2"), **settings)
    export(source, "gptq", tmp_path / "b")
    assert (
        json.loads((tmp_path / "b" / "config.json").read_text())["quantization_config"]["checkpoint_format"]
        == "gptq_v2"
    )
    layers, _ = gptq.read(tmp_path / "b")
    model, _, _ = artifact.load(source)
    zeros = grouped_layers(model)["model.layers.0.self_attn.q_proj"].zero
    assert torch.equal(layers["model.layers.0.self_attn.q_proj"].zero, zeros)
    assert len(zeros.unique()) > 3


@pytest.fixture(scope="module")
def dense() -> Any:
    """The graph of a Llama of one layer, in floating point."""
    bundle = Bundle(made.llama(num_hidden_layers=1), made.tokenizer(), "causal-lm", torch.device("cpu"))
    return checked(bundle, "onnxruntime")


@pytest.fixture
def exporter(dense: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take that graph in place of another export: all layers that differ get their own integers."""
    for module in ("compress.export", "compress.export.openvino"):
        monkeypatch.setattr(f"{module}.checked", lambda bundle, runtime: dense)


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, "full", False])
def test_graphs_hold_the_integers(symmetric: Any, bits: int, tmp_path: Path) -> None:
    import onnx
    import openvino

    settings = {"bits": bits, "backend": "torch", "format": "int4" if bits == 4 else "int8_weight", "group_size": 32}
    source = made.save(
        tmp_path / "a", made.llama(num_hidden_layers=1), made.tokenizer(), symmetric=symmetric, **settings
    )
    model, _, _ = artifact.load(source)
    name, layer = next(iter(grouped_layers(model).items()))
    integers = Integers.of(layer)
    (check,) = export(source, "onnx", tmp_path / "onnx").checks
    assert check.difference < 1e-4 < check.bound
    graph = onnx.load(str(tmp_path / "onnx" / "model.onnx")).graph
    assert sum(node.op_type == "MatMulNBits" for node in graph.node) == 7
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    read = torch.from_numpy(stored[f"{name}.B"].copy()).flatten(1)
    read = torch.stack([read & 15, read >> 4], -1).flatten(1) if bits == 4 else read
    assert torch.equal(read.int(), integers.ints)
    assert (f"{name}.zero_points" in stored) is not bool(symmetric)

    made_openvino = export(source, "openvino", tmp_path / "openvino")
    assert made_openvino.checks[0].difference < 1e-4
    operations = openvino.Core().read_model(str(tmp_path / "openvino" / "openvino_model.xml")).get_ops()
    kinds = [op.get_element_type().get_type_name() for op in operations if op.get_type_name() == "Constant"]
    assert kinds.count(f"{'i' if symmetric else 'u'}{bits}") == (7 if symmetric else 14)  # integers, and zeros


@pytest.mark.usefixtures("exporter")
def test_a_graph_with_another_weight_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made.save(tmp_path / "a", made.llama(num_hidden_layers=1), made.tokenizer(), **made.SYMMETRIC)
    true = openvino_integers.unpacked
    monkeypatch.setattr(openvino_integers, "unpacked", lambda packed, bits: true(packed, bits).flip(1))
    with pytest.raises(InputError, match=r"openvino: .* the exported graph differs from the model"):
        export(source, "openvino", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.long
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_graph_is_exported_and_answers_like_the_artifact(target: Target, tmp_path: Path) -> None:
    source = made.save(tmp_path / "a", made.llama(), made.tokenizer(), **made.SYMMETRIC)
    assert export(source, target, tmp_path / "b").checks[0].difference < 1e-4


def test_a_classifier_leaves_as_compressed_tensors(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    source = made.save(tmp_path / "a", made_models.bert(), tokenizer(), "text-classification", **made.SYMMETRIC)
    assert export(source, "compressed-tensors", tmp_path / "b").checks[0].bound == 0
    pytest.importorskip("gguf")
    with pytest.raises(InputError, match="gguf: architecture bert; expected one of llama, mistral, qwen2"):
        export(source, "gguf", tmp_path / "c")


@pytest.mark.usefixtures("exporter")
def test_a_model_without_quantized_layers_leaves_as_a_graph_only(tmp_path: Path) -> None:
    source = made.save(tmp_path / "a", made.llama(num_hidden_layers=1), made.tokenizer())
    assert export(source, "onnx", tmp_path / "b").checks[0].difference < 1e-4
    with pytest.raises(InputError, match="has no quantized layer"):
        export(source, "gptq", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_layers_that_readers_would_build_otherwise_are_refused(tmp_path: Path) -> None:
    source = made.save(tmp_path / "a", made_models.gpt2(), tokenizer(), **made.SYMMETRIC)
    with pytest.raises(InputError, match=r"gptq: transformer\.h\.0\.attn\.c_attn is not what its readers build"):
        export(source, "gptq", tmp_path / "b")


def test_graphs_are_copied_to_their_own_format_and_refused_for_others(dense: Any, tmp_path: Path) -> None:
    artifact.save(Bundle(dense, made.tokenizer(), "causal-lm", torch.device("cpu")), tmp_path / "a")
    assert export(tmp_path / "a", "onnx", tmp_path / "b").checks[0].difference == 0
    assert (tmp_path / "b" / "model.onnx").read_bytes() == (tmp_path / "a" / "model.onnx").read_bytes()
    with pytest.raises(InputError, match="--to gptq: the artifact is a graph for onnxruntime"):
        export(tmp_path / "a", "gptq", tmp_path / "c")


def test_a_file_with_other_integers_is_not_kept(llama4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = layout.write

    def damaged(model: Any, processor: Any, tensors: Any, quantization: Any, folder: Path) -> None:
        write(model, processor, tensors, quantization, folder)
        stored = load_file(folder / "model.safetensors")
        stored["model.layers.0.mlp.up_proj.qweight"][0, 0] ^= 1
        save_file(stored, folder / "model.safetensors")

    monkeypatch.setattr(layout, "write", damaged)
    with pytest.raises(InputError) as refused:
        export(llama4, "gptq", tmp_path / "b")
    assert f"{tmp_path / 'b'}: model.layers.0.mlp.up_proj has other ints than the artifact" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_an_export_replaces_an_export_and_nothing_else(llama4: Path, tmp_path: Path) -> None:
    export(llama4, "gptq", tmp_path / "b")
    export(llama4, "gptq", tmp_path / "b")
    record = json.loads((tmp_path / "b" / RECORD).read_text())
    assert record["format"] == "gptq" and "model.safetensors" in record["files"]
    assert (tmp_path / "b" / "model.safetensors").stat().st_mode & 0o044 == 0o044
    (tmp_path / "b" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=r"mine\.txt is not part of the export; not overwritten"):
        export(llama4, "gptq", tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match=f"holds files but no {RECORD}; not overwritten"):
        export(llama4, "gptq", tmp_path / "c")


def test_a_missing_package_is_named_with_its_extra(
    llama4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.records.exported.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"gguf is not installed.*pip install 'compress\[gguf\]'"):
        export(llama4, "gguf", tmp_path / "b")


def test_the_default_folder_is_named_by_workload_recipe_and_format() -> None:
    assert default_folder(Path("artifacts/stories/llama_int4"), "gguf") == Path("exports/stories/llama_int4/gguf")
