"""Runtimes of language models: what they cannot hold is refused before a model is loaded, and extras by name."""

from importlib import util
from typing import Any

import pytest

from compress.base.errors import InputError
from compress.harness.supported import check_native, supported_runtime
from compress.records.result import Machine
from compress.spec.formats import OPTIONAL
from compress.spec.recipe import Recipe

RUNTIMES = list(OPTIONAL)
CPU = Machine("cpu-1", "cpu", "a CPU", None, {}, {})
SYMMETRIC = {"method": "quantize", "bits": 8, "symmetric": True, "group_size": 32}


def recipe(runtime: str, *steps: dict[str, Any]) -> Recipe:
    return Recipe.model_validate({"name": "mine", "runtime": runtime, "steps": steps})


@pytest.fixture
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: object())


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_symmetric_groups_of_32_and_plain_models_have_both_runtimes(runtime: str) -> None:
    for steps in ((), (SYMMETRIC,), ({**SYMMETRIC, "bits": 4},)):
        assert supported_runtime(recipe(runtime, *steps), CPU, "causal-lm") == runtime


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_other_tasks_are_refused(runtime: str) -> None:
    with pytest.raises(InputError, match="causal language models only; the task is text-classification"):
        supported_runtime(recipe(runtime), CPU, "text-classification")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_missing_package_is_named_with_its_extra(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    extra, packages = OPTIONAL[runtime]
    with pytest.raises(InputError, match=rf"needs {packages[0]}; install it: pip install 'compress\[{extra}\]'"):
        supported_runtime(recipe(runtime), CPU, "causal-lm")


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("runtime", "step", "reason"),
    [
        ("llama.cpp", {"method": "quantize", "bits": 8}, "groups of 32 weights around zero; set symmetric: true"),
        ("llama.cpp", {**SYMMETRIC, "group_size": 64}, "groups of 32 weights around zero"),
        ("llama.cpp", {**SYMMETRIC, "scaling": "awq"}, "scaling: none"),
        ("llama.cpp", {**SYMMETRIC, "bits": 3}, r"bits 3 \(backend torch, runtime llama.cpp\) does not exist on cpu"),
        ("onnxruntime-genai", {**SYMMETRIC, "group_size": "row"}, "reads groups of 32, 64, 128 or 256"),
        ("onnxruntime-genai", {**SYMMETRIC, "bits": 2}, "does not exist on cpu"),
    ],
)
def test_formats_that_a_runtime_lacks_are_refused(runtime: str, step: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        supported_runtime(recipe(runtime, step), CPU, "causal-lm")


@pytest.mark.usefixtures("_installed")
def test_only_llama_cpp_computes_fp16_on_a_cpu() -> None:
    cast = {"method": "cast", "dtype": "fp16"}
    check_native(recipe("llama.cpp", cast), CPU)
    assert supported_runtime(recipe("llama.cpp", cast), CPU, "causal-lm") == "llama.cpp"
    with pytest.raises(InputError, match="takes fp32 models on a CPU"):
        supported_runtime(recipe("onnxruntime-genai", cast), CPU, "causal-lm")
    with pytest.raises(InputError, match="fp16 is for GPUs"):
        check_native(recipe("eager", cast), CPU)
