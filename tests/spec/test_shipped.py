"""The list of shipped recipes agrees with the files, and with the check that a run makes before it starts."""

import subprocess
import sys
from dataclasses import replace

import pytest

import recipes
from compress import Recipe
from compress.base.config import InputError
from compress.base.device import DeviceKind
from compress.data.workload import Workload
from compress.harness.supported import supported_runtime
from compress.model.runtimes import providers
from compress.spec.shipped import first_sentence, how_it_runs, shipped
from tests import factory
from tests.helpers import environment


def supported(name: str, kind: DeviceKind) -> bool:
    machine = replace(factory.machine(device=kind), details={})
    try:
        recipe = Recipe.load(name)
        supported_runtime(recipe, machine, Workload.load(recipe.workload).task)
    except InputError:
        return False
    return True


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_recipe_is_listed_for_the_devices_on_which_a_run_accepts_it(
    kind: DeviceKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "check", lambda *_: None)  # packages for a GPU are not installed here
    listed = {recipe.name: kind in recipe.runs for recipe in shipped()}
    assert listed == {name: supported(name, kind) for name in recipes.names()}


def test_format_and_runtime_are_those_that_auto_chooses() -> None:
    places = {recipe.name: recipe.place for recipe in shipped()}
    assert places["bert_int8"] == "CPU: int8 under onnxruntime; GPU: int8 under compile"
    assert places["bert_dense"] == "CPU and GPU: fp32 under eager"
    assert places["graphs_bf16"] == "CPU and GPU: bf16 under compile"
    assert places["torchao_fp8"] == "GPU only: fp8 under compile"
    assert places["openvino_int8"] == "CPU only: int8_static under openvino"
    assert places["onnxruntime_fp16"] == "GPU only: fp16 under onnxruntime"
    assert (
        places["gptq_int4"] == "CPU: int4 under eager (int4 under openvino for a language model); GPU: int4 under eager"
    )
    assert places["llama_int4"] == "CPU: int4 under openvino; GPU: int4 under eager"
    assert how_it_runs(Recipe(runtime="tensorrt"), "cpu") is None


def test_a_sentence_may_span_lines_and_ends_before_what_to_expect() -> None:
    assert first_sentence("bert_int8") == "int8 weights and dynamic int8 activations."
    assert first_sentence("bitsandbytes_int8").endswith("the rest in fp16, eager.")  # LLM.int8 ends no sentence
    assert first_sentence("openvino_student_int8").endswith("with calibrated scales under OpenVINO.")


def test_the_command_prints_every_shipped_recipe_in_one_line() -> None:
    command = [sys.executable, "-m", "compress", "recipes"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == recipes.names()
    assert all(("CPU" in line or "GPU" in line) and " under " in line for line in lines)
