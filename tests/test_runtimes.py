"""Runtimes: graphs answer like the model at every batch size and length; the runtime of a bundle is settled by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from compress import runtimes
from compress.config import InputError
from compress.graph import OnnxModel, export
from compress.methods import apply_step
from compress.methods.steps import Cast, Quantize
from tests import made_models
from tests.made_models import MODELS, bundle

TASKS = {"bert": "text-classification", "vit": "image-classification", "llama": "causal-lm"}


def batch(name: str, size: int, length: int) -> dict[str, torch.Tensor]:
    """A batch of any shape, its first text padded."""
    generator = torch.Generator().manual_seed(size * 100 + length)
    if name == "vit":
        return {"pixel_values": torch.rand(size, 1, 8, 8, generator=generator)}
    ids = torch.randint(4, 64, (size, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, max(1, length // 2) :] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture(scope="module")
def graphs() -> dict[str, Any]:
    """Name -> the made model as a graph."""
    return {
        name: runtimes.finish(bundle(MODELS[name](), task=task), "onnxruntime").model for name, task in TASKS.items()
    }


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(("size", "length"), [(1, 7), (5, 40), (2, 11), (1, 1), (16, 2)])
def test_a_graph_answers_like_the_model_at_every_shape(
    name: str, size: int, length: int, graphs: dict[str, Any]
) -> None:
    inputs = batch(name, size, length)
    with torch.no_grad():
        expected = MODELS[name]()(**inputs).logits
        answer = graphs[name](**inputs).logits
    if "attention_mask" in inputs and name == "llama":  # what a padded position says means nothing
        kept = inputs["attention_mask"].bool()
        expected, answer = expected[kept], answer[kept]
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)  # other order of the same fp32 sums


def test_a_graph_ignores_labels_and_fills_in_masks(graphs: dict[str, Any]) -> None:
    graph, ids = graphs["bert"], batch("bert", 3, 9)["input_ids"]
    ones, zeros = torch.ones_like(ids), torch.zeros_like(ids)
    full = graph(input_ids=ids, attention_mask=ones, token_type_ids=zeros, labels=torch.zeros(3)).logits
    assert torch.equal(full, graph(input_ids=ids).logits)
    assert torch.equal(full, graph(ids).logits)


def test_a_graph_looks_like_a_model(graphs: dict[str, Any]) -> None:
    graph = graphs["bert"]
    assert graph.config.num_labels == 2
    assert (graph.device, graph.dtype) == (torch.device("cpu"), torch.float32)
    assert list(graph.parameters()) == []
    assert not graph.training


def test_the_folder_of_a_graph_goes_with_it() -> None:
    graph = runtimes.finish(bundle(made_models.vit(), task="image-classification"), "onnxruntime").model
    folder = graph.path.parent
    assert folder.is_dir()
    del graph
    assert not folder.exists()


def test_exporting_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = made_models.vit().train()
    attention = model.config._attn_implementation
    export(model, tmp_path)
    assert model.training
    assert model.config._attn_implementation == attention


def test_exporting_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    export(made_models.vit(), tmp_path)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_half_precision_model_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bfloat16; expected float32"):
        runtimes.finish(apply_step(bundle(made_models.bert()), Cast()), "onnxruntime")


def test_a_quantized_model_cannot_be_exported() -> None:
    one = apply_step(bundle(made_models.bert()), Quantize(bits=4, format="nf4", group_size=32))
    with pytest.raises(InputError, match="expected float32"):
        runtimes.finish(one, "onnxruntime")


def test_plain_models_run_eager_for_auto_and_quantized_ones_what_their_row_says() -> None:
    assert runtimes.finish(bundle(made_models.bert()), "auto").runtime == "eager"
    assert runtimes.finish(bundle(made_models.bert()), "compile").runtime == "compile"
    one = apply_step(bundle(made_models.bert(), runtime="compile"), Quantize(bits=8))
    assert runtimes.finish(one, "auto").runtime == runtimes.finish(one, one.runtime).runtime == "compile"


def test_runtimes_that_do_not_exist_on_the_device_are_refused() -> None:
    one = bundle(made_models.bert(), device=torch.device("cuda"))
    with pytest.raises(InputError, match="onnxruntime does not exist on cuda"):
        runtimes.finish(one, "onnxruntime")


def test_a_graph_runs_under_onnxruntime_only(graphs: dict[str, Any]) -> None:
    one = bundle(graphs["bert"])
    assert runtimes.finish(one, "auto").runtime == "onnxruntime"
    with pytest.raises(InputError, match="is an ONNX graph"):
        runtimes.finish(one, "compile")


def test_prepare_leaves_eager_models_and_graphs_alone(graphs: dict[str, Any]) -> None:
    model = made_models.bert()
    assert runtimes.prepare(model, "eager") is model
    assert isinstance(runtimes.prepare(graphs["bert"], "onnxruntime"), OnnxModel)


def test_compiling_without_a_compiler_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"install g\+\+"):
        runtimes.prepare(made_models.bert(), "compile")


@pytest.mark.long
@pytest.mark.parametrize("quantize", [False, True], ids=["plain", "int8"])
@pytest.mark.parametrize("name", TASKS)
def test_a_compiled_model_answers_like_the_eager_one(name: str, quantize: bool) -> None:
    one = bundle(MODELS[name](layers=1), task=TASKS[name], runtime="compile")
    if quantize:
        one = apply_step(one, Quantize(bits=8))
    compiled = runtimes.prepare(one.model, "compile")
    with torch.no_grad():
        for size, length in ((2, 11), (5, 24)):
            inputs = batch(name, size, length)
            expected = one.model(**inputs).logits
            # int8: another order of the same sums can move an activation by one step of 1/127
            tolerance = 0.05 if quantize else 1e-5
            torch.testing.assert_close(compiled(**inputs).logits, expected, rtol=1e-3, atol=tolerance)
