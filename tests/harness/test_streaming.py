"""Models made layer by layer from disk: the same tensors as a whole, the same after a kill, and clear refusals."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.base.config import InputError
from compress.harness import preflight, streaming, transform
from compress.model.runtimes import onnx
from compress.spec.recipe import Recipe
from tests import made_models, streams
from tests.helpers import ROOT, environment

GPTQ = {"method": "quantize", "bits": 4, "group_size": 32, "rounding": "gptq", "calibration_examples": 6}
WANDA = {"method": "prune", "structure": "unstructured", "importance": "wanda", "calibration_examples": 6}
SVD = {"method": "lowrank", "parameters": 0.7, "weighting": "whitened", "calibration_examples": 6}
WIDTH = {"method": "prune", "structure": "feed_forward", "fraction": 0.25, "calibration_examples": 6}
CASES: dict[str, list[dict[str, Any]]] = {
    "nearest": [{**GPTQ, "rounding": "nearest", "backend": "torch"}],
    "gptq": [GPTQ],
    "gptq by activation": [{**GPTQ, "bits": 3, "act_order": True}],
    "hqq": [{**GPTQ, "rounding": "hqq"}],
    "awq": [{**GPTQ, "rounding": "nearest", "scaling": "awq"}],
    "awq and gptq": [{**GPTQ, "scaling": "awq"}],
    "int8": [{"method": "quantize", "bits": 8}],
    "smoothquant": [
        {"method": "quantize", "bits": 8, "scaling": "smoothquant", "backend": "torchao", "calibration_examples": 6}
    ],
    "nf4": [{"method": "quantize", "bits": 4, "format": "nf4"}],
    "overrides": [{**GPTQ, "overrides": {"*.v_proj": {"bits": 8}}}],
    "head": [{**GPTQ, "exclude": []}],
    "magnitude in rounds": [{**WANDA, "importance": "magnitude", "rounds": 2}],
    "wanda": [WANDA],
    "sparsegpt": [{**WANDA, "importance": "sparsegpt"}],
    "2:4": [{**WANDA, "importance": "sparsegpt", "pattern": "2:4", "fraction": 0.5}],
    "feed-forward": [{**WIDTH, "importance": "activation"}],
    "feed-forward, global": [{**WIDTH, "importance": "activation", "allocation": "global"}],
    "heads": [{**WIDTH, "structure": "heads", "importance": "magnitude"}],
    "depth": [{"method": "prune", "structure": "layers", "importance": "influence", "fraction": 0.34}],
    "plain svd, grouped": [{"method": "lowrank", "parameters": 0.7, "grouped": True}],
    "whitened svd": [SVD],
    "energy": [{"method": "lowrank", "energy": 0.8, "weighting": "activation", "calibration_examples": 6}],
    "several steps": [WANDA, {**WIDTH, "fraction": 0.5}, SVD, {**GPTQ, "group_size": "row"}],
    "depth, then integers": [
        {"method": "prune", "structure": "layers", "importance": "influence", "fraction": 0.34},
        GPTQ,
    ],
    "cast, then integers": [{"method": "cast", "dtype": "bf16"}, GPTQ],
}


@pytest.mark.parametrize("case", CASES)
def test_layer_by_layer_gives_the_tensors_and_the_manifest_of_the_whole(case: str, tmp_path: Path) -> None:
    source = streams.source(tmp_path, made_models.llama(layers=3, tied=case != "head"))
    whole, layers = (streams.made(tmp_path, source, CASES[case], memory) for memory in ("whole", "layers"))
    assert streams.different(whole, layers) == []
    one, other = streams.manifest(whole), streams.manifest(layers)
    for field in ("kind", "plain", "layers", "packing", "task", "versions"):
        assert one[field] == other[field], field
    for field in ("parameters", "nonzero", "runtime"):
        assert one["extra"][field] == other["extra"][field], field
    assert ["memory layers: made layer by layer from disk", *one["extra"]["notes"]] == other["extra"]["notes"]
    steps = [
        [(step["changed_layers"], step["shares"]) for step in m["extra"]["transform"]["steps"]] for m in (one, other)
    ]
    assert steps[0] == steps[1]
    ids = torch.arange(12)[None] + 4
    logits = [transform.load(place)[0](input_ids=ids).logits for place in (whole, layers)]
    assert torch.equal(*logits)


@pytest.mark.parametrize("steps", [[GPTQ], [WANDA], [SVD]], ids=["gptq", "wanda", "svd"])
def test_a_real_model_gets_the_same_tensors_both_ways(steps: list[dict[str, Any]], tmp_path: Path) -> None:
    source = streams.stories(tmp_path)
    whole, layers = (streams.made(tmp_path, source, steps, memory) for memory in ("whole", "layers"))
    assert streams.different(whole, layers) == []


def test_what_no_step_touches_keeps_its_stored_type_and_what_one_changes_gets_it(tmp_path: Path) -> None:
    source = streams.source(tmp_path, made_models.llama(layers=2, tied=False).half())
    whole, layers = (streams.made(tmp_path, source, [GPTQ], memory) for memory in ("whole", "layers"))
    exact, kept, before = streams.tensors(whole), streams.tensors(layers), streams.tensors(tmp_path / "model")
    for name, tensor in kept.items():
        if name in before:
            assert tensor.dtype == torch.float16 and torch.equal(tensor, before[name]), name
    integers = [name for name in exact if name.endswith(".packed")]
    assert len(integers) == 14 and all(torch.equal(exact[name], kept[name]) for name in integers)
    model, _ = transform.load(layers)
    assert model(input_ids=torch.arange(9)[None] + 4).logits.dtype == torch.float16
    pruned = streams.made(tmp_path / "pruned", source, [WANDA], "layers")
    assert {tensor.dtype for tensor in streams.tensors(pruned).values()} == {torch.float16}
    assert json.loads((pruned / "config.json").read_text())["dtype"] == "float16"


KILLED = """
import os, sys
from pathlib import Path
from compress.methods import stream
from tests import streams

folder, left = Path(sys.argv[1]), int(sys.argv[2])
put = stream.put

def killed(*given):
    global left
    put(*given)
    left -= 1
    if not left:
        os.kill(os.getpid(), 9)

stream.put = killed
steps = __import__("json").loads(sys.argv[3])
splits = {"train": streams.text(400, 1), "test": "a b"}
source = streams.located(folder / sys.argv[2], str(folder / "model"), splits, 16)
streams.made(folder, source, steps, "layers")
"""


@pytest.mark.parametrize("after", [2, 5])
def test_a_killed_run_goes_on_with_the_first_missing_layer_and_leaves_the_same_bytes(
    after: int, tmp_path: Path
) -> None:
    steps = [WANDA, GPTQ]  # 3 layers each: killed within the first step, and within the second
    source = streams.source(tmp_path, made_models.llama(layers=3))
    undisturbed = streams.made(tmp_path / "undisturbed", source, steps, "layers")
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(after), json.dumps(steps)]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    work = tmp_path / "work-layers"
    finished = {file: file.stat().st_mtime_ns for file in work.rglob("0*.safetensors") if "hidden" not in str(file)}
    assert len(finished) == after
    resumed = streams.made(tmp_path, source, steps, "layers")
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert (resumed / "compress.safetensors").read_bytes() == (undisturbed / "compress.safetensors").read_bytes()
    assert streams.manifest(resumed)["layers"] == streams.manifest(undisturbed)["layers"]


def refused(steps: list[dict[str, Any]], folder: Path, model: Any = None, **fields: Any) -> str:
    """Return the error of a run layer by layer, before any weight is loaded."""
    shutil.rmtree(folder, ignore_errors=True)
    source = streams.source(folder, model or made_models.llama())
    with pytest.raises(InputError) as error:
        preflight.check([streams.recipe(steps, "layers", **fields)], source)
    return str(error.value)


def test_what_needs_the_whole_model_is_refused_with_the_reason(tmp_path: Path) -> None:
    for steps, reason in (
        ([{"method": "prune", "structure": "hidden"}], "prune hidden cuts through all layers at once"),
        ([{**WIDTH, "importance": "taylor"}], "prune taylor needs gradients of the whole model"),
        ([{"method": "lowrank", "weighting": "fisher"}], "lowrank fisher needs gradients of the whole model"),
        ([{"method": "distill"}], "distill trains the whole model"),
    ):
        assert f"little memory layers: steps.0: {reason}; use memory whole" in refused(steps, tmp_path / "a")
    eight = {"method": "quantize", "bits": 8}
    for backend, runtime in (("openvino", "auto"), ("torch", "openvino")):
        group = {"group_size": 32, "symmetric": True} if backend == "torch" else {}
        message = refused([{**eight, "backend": backend, **group}], tmp_path / "a", runtime=runtime)
        assert "exports the whole model as a graph" in message and "does not exist" not in message
    half = refused([CASES["nf4"][0]], tmp_path / "a", made_models.llama().half())
    assert "bitsandbytes packs weights for fp32 inputs, and the model is stored in half precision" in half


@pytest.mark.parametrize("step", [GPTQ, {"method": "quantize", "bits": 8}], ids=["gptq", "int8"])
def test_auto_runs_what_is_made_layer_by_layer_in_torch(step: dict[str, Any], tmp_path: Path) -> None:
    source = streams.source(tmp_path, made_models.llama())
    recipe = streams.recipe([step], "layers", runtime="auto")
    preflight.check([recipe], source)
    folder = streams.made(tmp_path, source, [step], "layers", runtime="auto")
    model, _ = transform.load(folder)
    ids = torch.tensor([[5, 6, 7]])
    assert torch.isfinite(model(input_ids=ids).logits).all()
    assert json.loads((folder / "manifest.json").read_text())["extra"]["runtime"] == "eager"


def test_a_tied_head_that_a_step_would_untie_is_refused(tmp_path: Path) -> None:
    assert "lm_head: its weight is tied to the input embedding" in refused([{**GPTQ, "exclude": []}], tmp_path / "a")


def test_auto_takes_layers_when_twice_the_weights_do_not_fit_and_says_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = streams.source(tmp_path, made_models.llama(tied=False))
    size = sum(4 * t.numel() for t in streams.tensors(tmp_path / "model").values())
    auto = streams.recipe([GPTQ], "auto")
    assert streaming.fp32_bytes(source) == size
    monkeypatch.setattr(streaming, "free_bytes", lambda: 2 * size)
    assert streaming.wanted(auto, source, streams.CPU) is None
    monkeypatch.setattr(streaming, "free_bytes", lambda: 2 * size - 1)
    note = streaming.wanted(auto, source, streams.CPU)
    assert note is not None and note.startswith("memory auto: made layer by layer from disk, because 2 x 0.0 GB")
    assert streaming.wanted(streams.recipe([GPTQ], "whole"), source, streams.CPU) is None
    taylor = streams.recipe([{**WIDTH, "importance": "taylor"}], "auto")
    assert streaming.wanted(taylor, source, streams.CPU) is None  # it needs the whole model


def test_an_export_that_needs_more_memory_than_is_free_is_refused_with_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = streams.source(tmp_path, made_models.llama())
    recipe = Recipe.model_validate({"name": "big", "steps": [], "runtime": "onnxruntime"})
    preflight.check([recipe], source)
    monkeypatch.setattr(onnx, "free_bytes", lambda: 100_000)
    with pytest.raises(InputError, match=r"exporting the model takes about .* GB \(5\.4 times .* are free"):
        preflight.check([recipe], source)
    with pytest.raises(InputError, match="which are loaded"):
        onnx.exported(made_models.llama(), made_models.inputs(made_models.llama()))
