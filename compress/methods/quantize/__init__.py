"""Quantize: weights, and for int8 also activations, in 8 or 4 bits.

The step sets the format. `compress.spec.formats` maps it to the library that produces it and the runtime that executes
it. Weight formats replace linear layers one by one (`compress.model.packing`). int8 under onnxruntime and openvino
changes the exported graph (`compress.model.runtimes.onnx`, `compress.model.runtimes.openvino`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.base.config import InputError
from compress.base.devices import capability, device_of
from compress.data.combination import combination_of
from compress.data.tasks import task_of
from compress.data.tasks.task import only_eager
from compress.methods.calibrate import drawn
from compress.methods.capture import Inputs
from compress.methods.layerwise import change_layers
from compress.methods.quantize import rounding
from compress.methods.quantize.graphs import STATIC, embeds_in_floating_point, in_onnxruntime, in_openvino
from compress.methods.quantize.refusals import as_one, only_convolutions, refusals
from compress.methods.quantize.smoothing import smoothed
from compress.model.bundle import Bundle
from compress.model.convolutions import convolutions
from compress.model.layers import Experts, matrix, stacked_experts, weight_layers
from compress.model.packing import backend_of, grouped
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.stacked import index_by_expert, stack
from compress.model.packing.tied import embeds_plainly, tie
from compress.model.sharing import swap, tied_embeddings, tied_problem
from compress.spec.formats import GRAPH_RUNTIMES, Row
from compress.spec.steps import Quantize, Sample


def quantize(bundle: Bundle, config: Quantize) -> Bundle:
    """Return the bundle with its chosen linear layers in a low-bit format, and the runtime that executes it.

    Raises InputError for a combination that does not exist, and if no chosen layer supports the format.
    """
    row, entry = _resolved(bundle.model, config, bundle.device, bundle.runtime, bundle.task)
    chosen, experts = _chosen(bundle.model, config, row)
    settings = _settings(config, row)
    tied = _tied(bundle.model, chosen)
    model, refused = bundle.model, dict[str, str]()
    if row.backend == "onnxruntime":
        if config.scaling == "smoothquant":
            _smooth(bundle, config, chosen)
        model = in_onnxruntime(bundle, set(chosen), entry, config)
    elif row.backend == "openvino":
        refused = refusals(chosen, entry, device_of(bundle.device).kind)
        model = in_openvino(bundle, set(chosen) - set(refused), entry, config)
    else:
        refused = _quantize_layers(bundle, chosen, experts, entry, config)
    if row.format == "int8_static":  # there may be fewer examples than asked for
        settings["calibration_examples"] = drawn(bundle, STATIC, config.sample)
        entry |= settings
    layers = {name: entry for name in (*chosen, *experts) if name not in refused}
    notes = [_picked(bundle.runtime, config, row, settings)]
    for name, embeddings in tied.items():
        if name in layers:
            embedding = ", ".join(embeddings)
            apart = row.backend == "onnxruntime" or (row.backend == "openvino" and embeds_in_floating_point(model))
            those = "both" if len(embeddings) == 1 else "all"
            shared = f"{name} and {embedding} are tied and stay so: {those} have these integers, stored once"
            each = f"{name} was tied to {embedding}; the graph stores both, {embedding} in floating point"
            notes.append(f"quantize: {each if apart else shared}")
    if row.format == "llm_int8" and model.dtype != torch.float16:
        kind = str(model.dtype).removeprefix("torch.")
        notes.append(f"quantize: LLM.int8 casts its inputs to fp16 (65,504 at most); the model's own type is {kind}")
    if experts and (config.rounding == "gptq" or config.scaling == "awq"):
        notes.append(
            f"quantize: {len(experts)} stacks of experts are rounded to nearest: their inputs are not captured"
        )
    if refused:
        name, reason = next(iter(refused.items()))
        notes.append(f"quantize: {len(refused)} layers stay in floating point, first {name}: {reason}")
    changed = bundle.changed(model, {"": {"runtime": row.runtime}, **layers}, *notes)
    return replace(changed, runtime=row.runtime)


def _chosen(model: nn.Module, config: Quantize, row: Row) -> tuple[dict[str, nn.Module], dict[str, Experts]]:
    """Return the chosen linear layers and, if the format takes them, convolutions, and the chosen stacks of experts.

    Raises InputError if there are none, and for a head that is tied to the input embedding, unless both can have the
    same integers, or a graph holds the two apart.
    """
    experts = stacked_experts(model, config) if row.backend == "torch" else {}
    convolved = convolutions(model, config)
    chosen = dict(weight_layers(model, config, {**experts, **convolved}))
    if row.convolutions:
        chosen |= convolved
    elif not chosen and not experts:
        raise InputError(only_convolutions(convolved, row))
    fixed = [name for name, embeddings in _tied(model, chosen).items() if not _may_be_tied(model, embeddings, row)]
    if problems := [problem for name in fixed if (problem := tied_problem(model, chosen[name], name, "quantize"))]:
        raise InputError(problems)
    return chosen, experts


def _may_be_tied(model: nn.Module, embeddings: Sequence[str], row: Row) -> bool:
    """Return whether a head that is tied to these embeddings can have this format."""
    if row.backend == "torch":
        return len(embeddings) == 1 and embeds_plainly(model.get_submodule(embeddings[0]))
    return row.runtime in GRAPH_RUNTIMES


def _tied(model: nn.Module, chosen: Mapping[str, nn.Module]) -> dict[str, list[str]]:
    """Return the embeddings' names for every chosen layer that is tied to some."""
    return {name: owners for name, layer in chosen.items() if (owners := tied_embeddings(model, layer))}


def rehearse(model: nn.Module, config: Quantize, device: torch.device, runtime: str, task: str) -> Row:
    """Return the combination that a step uses on a model. Raises InputError if no chosen layer supports it."""
    row, entry = _resolved(model, config, device, runtime, task)
    chosen, experts = _chosen(model, config, row)
    refusals(chosen, entry, device_of(device).kind, experts)
    return row


def choose_layers(
    model: nn.Module, config: Quantize, device: torch.device, runtime: str, task: str
) -> tuple[dict[str, nn.Module], dict[str, Experts]]:
    """Return the layers and the stacks of experts, by name, that a step chooses on a model.

    Raises InputError for a combination that does not exist, and if the step chooses no layer that it can change.
    """
    return _chosen(model, config, row_of(model, config, device, runtime, task))


def _resolved(
    model: nn.Module, config: Quantize, device: torch.device, runtime: str, task: str
) -> tuple[Row, dict[str, Any]]:
    """Return the step's combination, and the part of it that a layer's entry records."""
    row = row_of(model, config, device, runtime, task)
    return row, {"format": row.format, "backend": row.backend, "bits": config.bits, **_settings(config, row)}


def row_of(model: nn.Module, config: Quantize, device: torch.device, runtime: str, task: str) -> Row:
    """Return the combination that a step has on a model. Raises InputError for one that does not exist."""
    exports = _exports(model, config)
    runtime = "eager" if only_eager(task_of(task), model.config) else runtime
    return combination_of(config, task, runtime, device_of(device).kind, capability(device), exports)


def _exports(model: nn.Module, config: Quantize) -> bool:
    """Return whether a language model can become a graph with a cache: in fp32, and without stacks of experts."""
    return all(p.dtype == torch.float32 for p in model.parameters()) and not stacked_experts(model, config)


def _settings(config: Quantize, row: Row) -> dict[str, Any]:
    """Return the fields of the configuration that this format uses."""
    smooth = {"scaling": "smoothquant", "smoothing": config.smoothing} if config.scaling == "smoothquant" else {}
    by_channel = {"per_channel": config.per_channel} if row.backend == "onnxruntime" else {}
    if row.format == "int8":
        return {**by_channel, **smooth}
    if row.format == "int8_static":
        names = ("calibration_examples", "calibration_length", "calibration_seed")
        return {**by_channel, **{name: value for name in names if (value := getattr(config, name)) is not None}}
    if row.format == "llm_int8":
        return {"threshold": config.threshold}
    if row.backend == "torch":
        fields = ["rounding", "scaling", "symmetric", "group_size"]
        fields += ["damping", "act_order"] if config.rounding == "gptq" else []
        return {"bits": config.bits, **{name: getattr(config, name) for name in fields}}
    if row.format in ("nf4", "fp4"):
        return {"group_size": config.group_size, "double_quant": config.double_quant}
    return {"group_size": config.group_size} if config.bits == 4 else {}


def _picked(runtime: str, config: Quantize, row: Row, settings: Mapping[str, Any]) -> str:
    """Return one sentence with the combination, its settings, and the reason if it was picked automatically."""
    prefix = "auto picked " if "auto" in (config.format, config.backend, runtime) else ""
    detail = "".join(f", {key} {value}" for key, value in settings.items() if value is not False)
    return f"quantize: {prefix}{row.format} through {row.backend} under {row.runtime}{detail} ({row.why})"


def _quantize_layers(
    bundle: Bundle,
    chosen: Mapping[str, nn.Module],
    experts: Mapping[str, Experts],
    entry: Mapping[str, Any],
    config: Quantize,
) -> dict[str, str]:
    """Replace all chosen layers and experts that support the format, in place; return the reasons for the others.

    Raises InputError, before anything changes, if none does.
    """
    backend = backend_of(str(entry["backend"]))
    refused = refusals(chosen, entry, device_of(bundle.device).kind, experts)
    accepted = {name: module for name, module in chosen.items() if name not in refused}
    tied = _tied(bundle.model, accepted)

    def change(name: str, inputs: Inputs | None) -> dict[str, Any]:
        linear = _as_linear(accepted[name])
        if config.scaling == "smoothquant":
            swap(bundle.model, name, backend.make(smoothed(linear, inputs, config.smoothing), entry))
        else:
            made = backend.make(linear, entry) if _is_plain(entry) else _rounded(linear, inputs, entry)
            swap(bundle.model, name, made)
            if name in tied and isinstance(made, GroupedLinear):
                tie(bundle.model, name, made, tied[name][0])
        return {"backend": entry["backend"]}

    def change_experts(name: str, _inputs: Inputs | None) -> dict[str, Any]:
        stacked = experts[name]
        layers = [_rounded(as_one(weight), None, entry) for weight in stacked.matrices]
        swap(bundle.model, name, stack(layers, stacked.matrices.dtype, stacked.transposed))
        return {"backend": entry["backend"]}

    step, sample = _calibration(config)
    change_layers(bundle, step, sample, accepted, change, "quantize")
    taken = [name for name in experts if name not in refused]
    change_layers(bundle, step, None, taken, change_experts, "quantize experts")
    index_by_expert(bundle.model)
    return refused


def _is_plain(entry: Mapping[str, Any]) -> bool:
    """Return whether weights are rounded to nearest without scaling."""
    return bool(entry.get("rounding", "nearest") == "nearest" and entry.get("scaling", "none") == "none")


def _calibration(config: Quantize) -> tuple[str, Sample | None]:
    """Return the step's name and the examples for its statistics; None if its settings need none."""
    setting = "rounding gptq" if config.rounding == "gptq" else f"scaling {config.scaling}"
    return f"quantize {setting}", None if config.rounding != "gptq" and config.scaling == "none" else config.sample


def _smooth(bundle: Bundle, config: Quantize, chosen: Mapping[str, nn.Module]) -> None:
    """Smooth the inputs of these layers, in place."""

    def change(name: str, inputs: Inputs | None) -> None:
        swap(bundle.model, name, smoothed(_as_linear(chosen[name]), inputs, config.smoothing))

    change_layers(bundle, *_calibration(config), chosen, change, "smooth")


def _rounded(linear: nn.Linear, inputs: Inputs | None, entry: Mapping[str, Any]) -> nn.Module:
    """Return a grouped layer, rounded and scaled per the entry; rounded to nearest if the layer never ran."""
    grid = grouped.Grid.of(entry)
    weight, scale, gram = linear.weight.detach().float(), None, None if inputs is None else inputs.gram
    if inputs is not None and entry["scaling"] == "awq":
        scale = rounding.awq_scale(weight, inputs, grid)
        weight, gram = weight * scale, rounding.scaled_gram(inputs.gram, scale)
    if entry["rounding"] == "gptq" and gram is not None:
        result = rounding.gptq(weight, gram, grid, entry["damping"], entry["act_order"])
    elif entry["rounding"] == "hqq":
        result = rounding.hqq(weight, grid)
    else:
        result = rounding.nearest(weight, grid)
    return grouped.build(linear, entry, result.ints, result.scale, result.zero, scale)


def _as_linear(module: nn.Module) -> nn.Linear:
    """Return the layer itself, or GPT-2's transposed one as a plain linear layer."""
    if not isinstance(module, Conv1D):
        assert isinstance(module, nn.Linear)
        return module
    weight = matrix(module).contiguous()  # [out, in]
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    linear.weight = nn.Parameter(weight)
    linear.bias = nn.Parameter(module.bias.detach())
    return linear
