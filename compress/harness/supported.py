"""Combinations of format, runtime and device that exist, checked before a workload is resolved."""

from collections.abc import Sequence
from importlib import util

from compress.base.config import InputError
from compress.base.console import say
from compress.base.device import Device
from compress.data.combination import combination_of
from compress.data.source import Source
from compress.data.tasks import task_of
from compress.model.runtimes import providers
from compress.records.result import Machine
from compress.spec.formats import FP8_IN_BF16, GRAPH_RUNTIMES, NO_FOUR_BITS, OPTIONAL, PLAIN_RUNTIMES
from compress.spec.recipe import Recipe
from compress.spec.steps import Step


def supported_runtime(recipe: Recipe, machine: Machine, task: str, writes: bool = False) -> str:
    """Return the runtime that a recipe has on this device for a model of this task; `auto` if its steps choose none.

    `writes`: the model writes token by token, and others of its task do not.

    Raises InputError for combinations of format, runtime and device that do not exist.
    """
    device = machine.target
    capabilities = [gpu["capability"].split(".") for gpu in machine.details.get("gpus", ()) if gpu.get("capability")]
    declared = task_of(task)
    only = declared.eager_only or (declared.eager_only_writing if writes else "")
    models = f"models of {task}{'' if declared.eager_only else ' that write token by token'}"
    if only and recipe.runtime not in ("auto", "eager"):
        raise InputError(f"{recipe.name} runtime: {recipe.runtime} does not execute {models}: {only}")
    least = min(((int(major), int(minor)) for major, minor in capabilities), default=None)
    runtime: str = recipe.runtime
    for index, step in enumerate(recipe.steps):
        runtime, backend = recipe.runtime, ""
        for part in step.parts if step.method == "quantize" else ():
            if backend in GRAPH_RUNTIMES:
                raise InputError(
                    f"{recipe.name} steps.{index} overrides: {runtime} quantizes a whole graph at once; give a backend "
                    "that replaces layers (torchao, bitsandbytes, quanto, torch), or exclude those layers"
                )
            try:
                row = combination_of(part, task, "eager" if only else runtime, device.kind, least)
            except InputError as error:
                which = f"{task} has" if declared.eager_only else f"{models} have"
                why = f"; {which} runtime eager alone: {only}" if only else ""
                raise InputError(f"{recipe.name} steps.{index}: {problem}{why}" for problem in error.problems) from None
            runtime, backend = row.runtime, row.backend
            if runtime == "llama.cpp" and not (part.symmetric and part.group_size == 32 and part.scaling == "none"):
                raise InputError(
                    f"{recipe.name} steps.{index}: runtime llama.cpp reads groups of 32 weights around zero; set "
                    "symmetric: true, group_size: 32, scaling: none"
                )
            if runtime == "onnxruntime-genai" and (part.group_size in ("row", "tensor") or part.scaling != "none"):
                raise InputError(
                    f"{recipe.name} steps.{index}: runtime onnxruntime-genai reads groups of 32, 64, 128 or 256 "
                    "weights; set group_size, and scaling: none"
                )
            if row.format == "fp8" and device.on_gpu and not _in_bf16(recipe.steps[:index]):
                raise InputError(f"{recipe.name} steps.{index}: {FP8_IN_BF16}")
    if runtime in OPTIONAL:
        _check_language(recipe, runtime, task)
    if recipe.attention != "auto" and runtime in GRAPH_RUNTIMES:
        raise InputError(
            f"{recipe.name} attention: {runtime} has its own attention; remove the setting, or choose runtime eager"
        )
    if recipe.kv_cache != "auto":
        place = f"{recipe.name} kv_cache {recipe.kv_cache}"
        if not task_of(task).continues:
            raise InputError(f"{place}: only language models keep a cache, and this is {task}; remove kv_cache")
        if recipe.kv_cache == "static":
            _check_static(recipe, runtime, device)
        elif runtime not in ("auto", "eager", "openvino"):
            raise InputError(f"{place}: {runtime} has no rounded cache; use runtime eager or openvino")
        elif recipe.kv_cache == "int4" and runtime == "openvino":
            raise InputError(f"{place}: {NO_FOUR_BITS}")
    if recipe.runtime in GRAPH_RUNTIMES:
        _check_graph(recipe, device)
    return runtime


def left_out(recipe: Recipe, machine: Machine, source: Source, fitting: bool) -> bool:
    """Return whether a recipe does not run here with this kind of model, and print why.

    Raises InputError if it does not, unless only the `fitting` recipes are to run.
    """
    try:
        supported_runtime(recipe, machine, source.workload.task, source.workload.writes)
    except InputError as error:
        if not fitting:
            raise
        for problem in error.problems:
            say(f"{recipe.name} is left out: {problem.removeprefix(f'{recipe.name}: ')}")
        return True
    return False


def _check_static(recipe: Recipe, runtime: str, device: Device) -> None:
    """Raise InputError for a static cache under a runtime, attention or number of devices that has none."""
    place = f"{recipe.name} kv_cache static"
    if runtime in GRAPH_RUNTIMES:
        raise InputError(f"{place}: {runtime} keeps a cache of its own or none; use runtime eager or compile")
    if runtime == "compile" and recipe.attention == "flash_attention_2":
        raise InputError(f"{place}: flash_attention_2 cannot be part of a compiled token; use attention sdpa or auto")
    if runtime == "compile" and device.several:
        raise InputError(f"{place}: a token is compiled for one GPU; use --device cuda:0, or runtime eager")


def _check_language(recipe: Recipe, runtime: str, task: str) -> None:
    """Raise InputError if a runtime of language models is not installed, or gets a model of another task."""
    place = f"{recipe.name} runtime: {runtime}"
    if not task_of(task).continues:
        raise InputError(f"{place} executes causal language models only; the task is {task}; use auto")
    extra, packages = OPTIONAL[runtime]
    for package in packages:
        if util.find_spec(package) is None:
            raise InputError(f"{place} needs {package}; install it: pip install 'compress[{extra}]'")


def check_native(recipe: Recipe, machine: Machine) -> None:
    """Raise InputError for a half precision that the device can only compute slower than fp32."""
    from compress.base.devices import computes_bf16, torch_device

    if machine.target.on_gpu:
        return
    casts = {step.dtype for step in recipe.steps if step.method == "cast"}
    if "fp16" in casts and recipe.runtime != "llama.cpp":
        raise InputError(f"{recipe.name}: fp16 is for GPUs; a CPU computes it slower than fp32")
    if "bf16" in casts and not computes_bf16(torch_device(machine.target)):
        raise InputError(f"{recipe.name}: this CPU has no unit for bf16, and computes it slower than fp32")


def _in_bf16(steps: Sequence[Step]) -> bool:
    """Return whether the model is in bf16 after these steps."""
    casts = [step.dtype for step in steps if step.method == "cast"]
    return bool(casts) and casts[-1] == "bf16"


def _check_graph(recipe: Recipe, device: Device) -> None:
    """Raise InputError for a recipe that its graph runtime cannot run on this device."""
    place = f"{recipe.name} runtime: {recipe.runtime}"
    if recipe.runtime not in PLAIN_RUNTIMES[device.kind]:
        other = (
            "the CPU only; use eager or compile, or --device cpu"
            if device.on_gpu
            else "CUDA only; use onnxruntime or openvino, or --device cuda"
        )
        raise InputError(f"{place} runs on {other}")
    if device.several:
        raise InputError(f"{place} runs on one GPU; use --device cuda:0, or eager")
    casts = {step.dtype for step in recipe.steps if step.method == "cast"}
    if recipe.runtime == "llama.cpp" and casts <= {"fp16"}:
        return  # it has products with fp16 weights
    if casts and not device.on_gpu:
        or_there = "" if recipe.runtime == "openvino" else "; in fp16 it runs on CUDA"
        raise InputError(f"{place} takes fp32 models on a CPU; remove the cast step{or_there}")
    if "bf16" in casts:
        raise InputError(f"{place} takes models in fp32 or fp16; cast to fp16, or remove the cast step")
    if device.on_gpu:  # on a CPU the package is a dependency and always has the provider
        try:
            providers.check(recipe.runtime, device.kind)
        except InputError as error:
            raise InputError(f"{recipe.name} runtime: {error}") from None
