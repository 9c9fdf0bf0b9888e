"""Detectors and segmenters from `init` to their card: metrics, int8 of both runtimes, steps, exports and refusals."""

import copy
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from compress import load
from compress.base.config import InputError
from compress.data import template
from compress.data.tasks import task_of
from compress.data.workload import Workload
from compress.methods import apply_step
from compress.model import artifact
from compress.model.bundle import Bundle
from compress.model.outputs import logits_of
from compress.model.runtimes.onnx import plain_attention
from compress.model.runtimes.openvino import OpenVinoModel
from compress.records import files as result_files
from compress.spec.steps import Cast, Distill, LowRank, Prune, Quantize, Step
from tests.helpers import QUICK, compress
from tests.pictured import (
    KINDS,
    detected,
    detector,
    detector_processor,
    segmented,
    segmenter,
    segmenter_processor,
    trained_detector,
    trained_segmenter,
    write_detected,
    write_segmented,
)
from tests.task_runs import bundled, graph_of, read_by, refused

FOUND = {"object-detection": "map", "image-segmentation": "mean_iou"}
"""Task -> its metric."""
MODELS = ("segformer", *KINDS)
RECIPES = ("conv_int8", "openvino_int8")


@pytest.fixture(scope="module", params=FOUND)
def workload(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "image-segmentation":
        return write_segmented(folder, trained_segmenter())
    return write_detected(folder, model=trained_detector())


@pytest.fixture(scope="module")
def finished(workload: Path) -> "subprocess.CompletedProcess[str]":
    return compress("run", *RECIPES, "--workload", workload, *QUICK, cwd=workload.parent)


def task_name(workload: Path) -> str:
    return Workload.load(workload).task


def result_of(workload: Path, recipe: str = RECIPES[0]) -> Path:
    (file,) = (workload.parent / "results" / "scenes").glob(f"{recipe}-*.json")
    return file


def bundle_of(kind: str) -> Bundle:
    """A bundle with a small model and a few made pictures, in the columns of a live data set."""
    is_segmenter = kind == "segformer"
    data = (segmented if is_segmenter else detected)(8, 3)
    label = "annotation" if is_segmenter else "objects"
    model, processor = (
        (segmenter(), segmenter_processor()) if is_segmenter else (detector(kind), detector_processor(kind))
    )
    task = task_of("image-segmentation" if is_segmenter else "object-detection")
    return bundled(model, task, {"image": list(data["image"]), "label": list(data[label])}, processor)


def logits(model: Any, batch: int = 3) -> torch.Tensor:
    pixels = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return logits_of(model(pixel_values=pixels.to(getattr(model, "dtype", None) or torch.float32)))


def test_init_finds_columns_and_metric(workload: Path) -> None:
    task = task_name(workload)
    text = template.init(str(workload.parent / "model"), str(workload.parent / "data"), task)
    assert f"metric: {FOUND[task]}\n" in text and "  image: image\n" in text
    assert f"  label: {'objects' if task == 'object-detection' else 'annotation'}\n" in text


@pytest.mark.parametrize("recipe", RECIPES)
def test_int8_of_both_runtimes_is_judged_per_picture(
    recipe: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    result = result_files.read(result_of(workload, recipe))
    accuracy, kernel = result.accuracy, result.kernel
    assert accuracy is not None and accuracy.metric == FOUND[task_name(workload)] and accuracy.unit == "points"
    assert accuracy.chance is not None and accuracy.estimate.bounded and accuracy.estimate.low > accuracy.chance
    assert accuracy.delta is not None and abs(accuracy.delta.value) < 0.1
    assert kernel is not None and kernel.label == "real"


@pytest.mark.parametrize("command", ["show", "card", "check", "verify", "pareto"])
def test_other_commands_read_its_result(
    command: str, finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    task = task_name(workload)
    saved = workload.parent / "artifacts" / "scenes" / RECIPES[0]
    assert FOUND[task] in read_by(command, result_of(workload), saved, task, FOUND[task], "20pt") or command == "verify"


def test_the_artifact_gives_boxes_or_pixels_of_the_same_classes(
    finished: "subprocess.CompletedProcess[str]", workload: Path
) -> None:
    assert finished.returncode == 0, finished.stderr
    model, _ = load(workload.parent / "artifacts" / "scenes" / RECIPES[0])
    expected = logits_of_file(workload)
    found = logits(model)
    assert found.shape == expected.shape
    assert (found - expected).abs().mean() < 0.1 * expected.std()


def logits_of_file(workload: Path) -> torch.Tensor:
    auto = task_of(task_name(workload)).auto
    model = auto(task_of(task_name(workload))).from_pretrained(workload.parent / "model").eval()
    return logits(model)


@pytest.mark.parametrize("kind", ["segformer", "yolos"])
def test_an_exported_graph_gives_equal_logits(kind: str) -> None:
    """DETR and RT-DETR take a minute each to export; `test_larger_graphs_give_equal_logits` has them."""
    _check_graphs(kind)


@pytest.mark.parametrize("kind", ["detr", "rt_detr"])
def test_attention_is_restored_after_an_export_in_every_part(kind: str) -> None:
    """The backbone has no fused attention, so the whole cannot be set to the model's at once."""
    model = detector(kind)
    parts = [part for part in model.modules() if hasattr(part, "config")]
    before = [part.config._attn_implementation for part in parts]
    with plain_attention(model):
        assert {part.config._attn_implementation for part in parts} == {"eager"}
    assert [part.config._attn_implementation for part in parts] == before and len(set(before)) == 2


@pytest.mark.long
@pytest.mark.parametrize("kind", ["detr", "rt_detr"])
def test_larger_graphs_give_equal_logits(kind: str) -> None:
    _check_graphs(kind)


def _check_graphs(kind: str) -> None:
    bundle = bundle_of(kind)
    expected = logits(bundle.model)
    for runtime, usual in (("onnxruntime", 1e-4), ("openvino", 5e-2)):
        graph = graph_of(bundle, runtime)
        assert [each["name"] for each in graph.signature()["inputs"]] == ["pixel_values"]
        assert [each["name"] for each in graph.signature()["outputs"]] == ["logits"]
        tolerance = usual
        if kind == "rt_detr" and runtime == "openvino":  # in bf16, it may choose other queries at equal scores
            graph, tolerance = OpenVinoModel(graph.path, graph.config, exact=True), 1e-4
        found = logits(graph)
        assert (found - expected).abs().max() < tolerance * expected.abs().max()


STEPS: dict[str, Step] = {
    "int4": Quantize(bits=4, group_size=32, backend="torch"),
    "gptq": Quantize(bits=4, group_size=32, rounding="gptq"),
    "bf16": Cast(dtype="bf16"),
    "weights": Prune(structure="unstructured", fraction=0.3, importance="wanda"),
    "low rank": LowRank(rank=2, weighting="fisher"),
    "student": Distill(max_steps=2, batch_size=4),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", MODELS)
def test_steps_apply_and_their_artifacts_reload(kind: str, step: str, tmp_path: Path) -> None:
    bundle = bundle_of(kind)
    before = logits(bundle.model)
    made = apply_step(bundle, STEPS[step])
    expected = logits(made.model)
    assert expected.isfinite().all() and not torch.equal(expected.float(), before)
    artifact.save(made, tmp_path / "artifact")
    again, _, _ = artifact.load(tmp_path / "artifact")
    assert torch.equal(logits(again), expected)


def test_narrowed_convolutions_leave_every_class_of_a_segmenter() -> None:
    bundle = bundle_of("segformer")
    before = logits(bundle.model)
    made = apply_step(bundle, Prune(structure="channels", fraction=0.3))
    assert logits(made.model).shape == before.shape
    assert sum(p.numel() for p in made.model.parameters()) < sum(p.numel() for p in segmenter().parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_convolutions_of_detectors_are_not_narrowed(kind: str) -> None:
    with pytest.raises(InputError, match=r"no convolutions to narrow|cannot be narrowed"):
        apply_step(bundle_of(kind), Prune(structure="channels", fraction=0.3))


def test_a_student_learns_boxes_of_its_teacher() -> None:
    def distance(steps: int) -> float:
        bundle = bundle_of("yolos")
        teacher = copy.deepcopy(bundle.model)
        with torch.no_grad():
            for parameter in bundle.model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        bundle = Bundle(**{**vars(bundle), "teacher": lambda: copy.deepcopy(teacher)})
        step = Distill(max_steps=steps, learning_rate=5e-3, soft_weight=1.0, batch_size=8, epochs=100)
        return float((logits(apply_step(bundle, step).model) - logits(teacher)).square().mean())

    assert distance(40) < 0.5 * distance(1)


UNKNOWN: dict[str, Step] = {
    "half of the layers": Distill(keep=0.5, max_steps=2),
    "layers": Prune(structure="layers", fraction=0.5, importance="influence"),
    "heads": Prune(structure="heads", fraction=0.5),
    "feed-forward": Prune(structure="feed_forward", fraction=0.5),
    "hidden width": Prune(structure="hidden", fraction=0.5),
    "hidden states": Distill(hidden_weight=1.0, max_steps=2),
}


@pytest.mark.parametrize("step", UNKNOWN)
@pytest.mark.parametrize("kind", ["segformer", "detr"])
def test_steps_that_need_known_layers_are_refused(kind: str, step: str) -> None:
    with pytest.raises(InputError, match=r"layers of model type|unknown"):
        apply_step(bundle_of(kind), UNKNOWN[step])


REFUSED = {
    "llama.cpp": ("runtime", "llama.cpp", "causal language models only"),
    "static cache": ("kv_cache", "static", "kv_cache"),
    "padding": ("padding", "fixed", "whose batches keep their own shapes"),
    "vocabulary": ("steps", "[{method: prune, structure: vocabulary}]", "expected a language model"),
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_does_not_apply_is_refused_with_the_reason(field: str, tmp_path: Path) -> None:
    refused(write_detected(tmp_path), *REFUSED[field])


def test_bad_rows_end_a_run_with_one_error_and_their_row(tmp_path: Path) -> None:
    path = write_detected(tmp_path)
    rows = detected(6, 2)
    bad = [{**own, "bbox": [[90.0, 1.0, 5.0, 5.0]] * len(own["bbox"])} if n == 4 else own
           for n, own in enumerate(rows["objects"])]  # fmt: skip
    features = rows.features
    import datasets

    datasets.Dataset.from_dict({"image": list(rows["image"]), "objects": bad}, features=features).to_parquet(
        tmp_path / "data" / "test.parquet"
    )
    done = compress("run", "vit_dense", "--workload", path, *QUICK, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("error:") == 1, done.stderr
    assert "row 4: label column 'objects': the box" in " ".join(done.stderr.split())
