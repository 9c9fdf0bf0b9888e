"""Map of the changed layers of an artifact, from its manifest and the tensor sizes in its safetensors files."""

import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from compress.records.result import Layer
from compress.spec.formats import BITS

Entries = Mapping[str, Mapping[str, Any]]
FIELDS = frozenset({"format", "dtype", "rank", "sparsity", "shape"})


def layer_map(folder: Path, entries: Entries) -> tuple[Layer, ...]:
    """Return all layers with a changed format, dtype, rank, sparsity or shape, in the model's order."""
    tensors = {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in header(file).items()}
    return tuple(_layer(name, entry, tensors) for name, entry in entries.items() if FIELDS & set(entry))


def header(file: Path) -> dict[str, tuple[tuple[int, ...], int]]:
    """Return tensor -> shape and bytes, from the header of a safetensors file: 8 bytes of length, then JSON."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        entries = json.loads(stream.read(length))
    return {
        name: (tuple(entry["shape"]), entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in entries.items()
        if name != "__metadata__"
    }


def _layer(name: str, entry: Mapping[str, Any], tensors: Mapping[str, tuple[tuple[int, ...], int]]) -> Layer:
    layer_tensors = {key: value for key, value in tensors.items() if name and key.startswith(f"{name}.")}
    format_name = entry.get("format")
    return Layer(
        name=name,
        format=format_name,
        bits=None if format_name is None else BITS.get(format_name),
        dtype=entry.get("dtype"),
        rank=entry.get("rank"),
        sparsity=entry.get("sparsity"),
        shape=_shape(name, entry, layer_tensors),
        stored_bytes=sum(size for _, size in layer_tensors.values()) if layer_tensors else None,
    )


def _shape(
    name: str, entry: Mapping[str, Any], layer_tensors: Mapping[str, tuple[tuple[int, ...], int]]
) -> tuple[int, ...] | None:
    """Return the shape of the weight; [out, in] for low-rank factors [rank, in] and [out, rank]; None if unknown."""
    if entry.get("shape"):
        return tuple(entry["shape"])
    if "kind" in entry and f"{name}.first.weight" in layer_tensors and f"{name}.second.weight" in layer_tensors:
        return (layer_tensors[f"{name}.second.weight"][0][0], layer_tensors[f"{name}.first.weight"][0][1])
    weight = layer_tensors.get(f"{name}.weight")
    return weight[0] if weight and prod(weight[0]) and "format" not in entry else None
