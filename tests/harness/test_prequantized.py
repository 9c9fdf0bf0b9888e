"""Models whose weights are stored in few bits already: measured as what they are, or refused before they are loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import compress as package
from compress.base.config import InputError
from compress.base.devices import computes_bf16
from compress.data.stored import folder_problem, is_foreign_artifact, stored_format
from compress.harness.sensitivity import sensitivity
from compress.measure.size import parameter_counts
from compress.methods import apply_step
from compress.model import artifact
from compress.spec.recipe import Recipe
from compress.spec.steps import Quantize
from tests import made_models
from tests.helpers import QUICK, bert, compress, read_result, tokenizer, write_workload


@pytest.fixture(scope="module")
def nf4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workload whose BERT transformers and bitsandbytes have saved in NF4."""
    folder = tmp_path_factory.mktemp("nf4")
    workload = write_workload(folder, bert(width=64))  # bitsandbytes' kernel for AVX-512 takes no narrower layers
    dense = folder / "dense"
    (folder / "model").rename(dense)
    kind = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=["classifier"]
    )
    transformers.AutoModelForSequenceClassification.from_pretrained(
        dense, quantization_config=kind, dtype=torch.float32
    ).save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    return workload


@pytest.mark.parametrize(
    ("told", "name"),
    [
        (None, None),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4"),
        ({"load_in_4bit": True}, "fp4"),  # the library's default
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "llm_int8"),
        ({"quant_method": "gptq", "bits": 4}, "gptq int4"),
        ({"quant_method": "awq", "w_bit": 4}, "awq int4"),
        ({"quant_method": "hqq"}, "hqq"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "quanto", "weights": "int8"}, "quanto int8"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, "compressed-tensors"),
        ({"bits": 3}, "an unnamed format int3"),
    ],
)
def test_a_checkpoint_is_named_after_the_format_that_its_config_tells(told: Any, name: str | None) -> None:
    assert stored_format({"quantization_config": told}) == name


def test_a_model_in_nf4_is_measured_as_itself_and_against_itself(nf4: Path) -> None:
    plain = nf4.parent / "plain.yaml"
    plain.write_text("steps: []\n")
    done = compress("run", plain, "--workload", nf4, "--device", "cpu", *QUICK, cwd=nf4.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    result = read_result(nf4.parent, "plain")
    assert [reference.name for reference in result.references] == ["nf4 eager"]
    assert "fp32 eager" not in done.stdout + done.stderr
    given = made_models.inputs(bert(width=64))
    again, _, manifest = artifact.load(nf4.parent / "artifacts" / "my" / "plain")
    before = transformers.AutoModelForSequenceClassification.from_pretrained(nf4.parent / "model", dtype=torch.float32)
    with torch.no_grad():
        # with a unit for bf16, bitsandbytes multiplies in it: 8 bits of mantissa
        close = {"rtol": 0.0, "atol": 5e-4} if computes_bf16(torch.device("cpu")) else {"rtol": 1e-4, "atol": 1e-5}
        torch.testing.assert_close(again(**given).logits, before(**given).logits, **close)
    assert {entry["format"] for entry in manifest.layers.values()} == {"nf4"}
    assert manifest.extra["parameters"] == parameter_counts(bert(width=64))[0]


def test_steps_and_other_runtimes_are_refused_with_one_sentence_each(nf4: Path) -> None:
    recipes = {
        "cast": "steps: [{method: cast}]",
        "int4": "steps: [{method: quantize, bits: 4}]",
        "prune": "steps: [{method: prune, structure: unstructured, fraction: 0.5}]",
        "lowrank": "steps: [{method: lowrank, rank: 4}]",
        "distill": "steps: [{method: distill, keep_every: 2}]",
        "graph": "runtime: onnxruntime\nsteps: []",
        "compiled": "runtime: compile\nsteps: []",
    }
    files = [nf4.parent / f"{name}.yaml" for name in recipes]
    for file, text in zip(files, recipes.values(), strict=True):
        file.write_text(f"{text}\n")
    done = compress("run", *files, "--workload", nf4, "--device", "cpu", cwd=nf4.parent)
    assert done.returncode == 2, done.stdout + done.stderr
    told = " ".join((done.stdout + done.stderr).split())
    assert "Traceback" not in told
    assert told.count("start from the unquantized checkpoint") == len(recipes)
    for name in ("cast", "int4", "prune", "lowrank", "distill"):
        assert f"{name} steps.0" in told
    with pytest.raises(InputError, match="already stored in nf4"):
        sensitivity(Recipe.load(nf4.parent / "int4.yaml"), str(nf4), "cpu")
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(nf4.parent / "model")
    with pytest.raises(InputError, match="already stored in nf4"):
        package.apply(Recipe(name="mine", steps=(Quantize(),)), loaded, tokenizer())


def test_formats_that_are_not_measured_here_are_refused_whatever_the_recipe(nf4: Path, tmp_path: Path) -> None:
    folder = tmp_path / "gptq"
    shutil.copytree(nf4.parent, folder)
    config = json.loads((folder / "model" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    (folder / "plain.yaml").write_text("steps: []\n")
    done = compress("run", "plain.yaml", "--workload", "my.yaml", "--device", "cpu", cwd=folder)
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, told
    assert "already stored in gptq int4, a format that can neither be compressed further nor measured here" in told


def test_integers_without_a_format_and_artifacts_are_no_models_to_start_from(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path / "int8")
    assert folder_problem(tmp_path / "int8") is None
    tensors = load_file(tmp_path / "int8" / "model.safetensors")
    tensors["position_ids"] = torch.arange(4)  # a buffer of integers is none
    save_file(tensors, tmp_path / "int8" / "model.safetensors", metadata={"format": "pt"})
    assert folder_problem(tmp_path / "int8") is None
    tensors["classifier.weight"] = tensors["classifier.weight"].to(torch.int8)
    save_file(tensors, tmp_path / "int8" / "model.safetensors", metadata={"format": "pt"})
    assert "stores classifier.weight as I8" in str(folder_problem(tmp_path / "int8"))
    one = apply_step(made_models.bundle(made_models.bert()), Quantize(bits=4, format="nf4", group_size=32))
    artifact.save(one, tmp_path / "made")
    assert is_foreign_artifact(tmp_path / "made")
    artifact.save(made_models.bundle(made_models.bert()), tmp_path / "plain")
    assert folder_problem(tmp_path / "plain") is None and not is_foreign_artifact(
        tmp_path / "plain"
    )  # a plain artifact is a model like any other
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "model-q4.gguf").touch()
    assert "holds GGUF" in str(folder_problem(tmp_path / "gguf"))
