"""Layers that a format does not support, with the reasons."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from compress.base.config import InputError
from compress.base.device import DeviceKind
from compress.model.convolutions import is_depthwise
from compress.model.layers import Experts, matrix
from compress.model.packing import backend_of, grouped
from compress.spec.formats import ROWS, Row

DEPTHWISE = "nncf quantizes no depthwise convolution for CPUs; backend onnxruntime does"


def refusals(
    chosen: Mapping[str, nn.Module],
    entry: Mapping[str, Any],
    kind: DeviceKind,
    experts: Mapping[str, Experts] = MappingProxyType({}),
) -> dict[str, str]:
    """Return the reasons why some chosen layers and experts do not support a format. Raises InputError if none does."""
    if entry["backend"] == "onnxruntime":
        return {}
    if entry["format"] == "int8_static":
        reasons = {name: DEPTHWISE if is_depthwise(module) else None for name, module in chosen.items()}
    elif entry["backend"] == "openvino":
        size = entry.get("group_size", 0)
        reasons = {name: _openvino_refusal(matrix(module).shape[1], size) for name, module in chosen.items() if size}
    else:
        backend = backend_of(str(entry["backend"]))
        shapes = {name: _shape_of(module) for name, module in chosen.items()}
        shapes |= {name: as_one(stacked.matrices[0]) for name, stacked in experts.items()}
        reasons = {name: backend.refuse(shape, entry, kind) for name, shape in shapes.items()}
    refused = {name: reason for name, reason in reasons.items() if reason is not None}
    if len(refused) == len(chosen) + len(experts):
        name, reason = next(iter(refused.items()))
        raise InputError(f"quantize {entry['format']}: no layer supports it; {name}: {reason}")
    return refused


def _openvino_refusal(columns: int, size: int) -> str | None:
    """Return why OpenVINO cannot group this number of inputs; None if it can."""
    if columns == size:  # OpenVINO 2026.4 cannot open such a graph
        return f"its {columns} inputs are a single group of {size}; OpenVINO needs two or more"
    return grouped.indivisible(columns, size)


def only_convolutions(chosen: Collection[str], row: Row) -> str:
    """Return why a format of linear layers has nothing to change where these convolutions alone are chosen.

    The sentence names the formats that convolutions can have.
    """
    able = [r for r in ROWS if r.convolutions and r.device == row.device]
    formats = " or ".join(f"format {r.format} with backend {r.backend}" for r in able) or "no format on this device"
    return (
        f"quantize {row.format} through {row.backend} changes linear layers only, and this step chooses none: it "
        f"chooses {len(chosen)} convolutions, first {next(iter(chosen))}; they can have {formats}"
    )


def as_one(weight: torch.Tensor) -> nn.Linear:
    """Return a linear layer with this weight [out, in]."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = nn.Parameter(weight.contiguous())
    return linear


def _shape_of(module: nn.Module) -> nn.Linear:
    """Return an empty linear layer of the same shape and dtype."""
    rows, columns = matrix(module).shape
    return nn.Linear(columns, rows, device="meta", dtype=matrix(module).dtype)
