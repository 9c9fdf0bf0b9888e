"""The tensors of a model on disk: which file holds each of them, in which type, and writing of new files.

    tensors    name in the model -> place: a file, the name in that file, type and shape
    packing    quantized layer -> its backend's settings; its tensors are `layer.key`

A store begins as a checkpoint. Every file that a step writes replaces the places of the tensors that it changed, so
what no step changes is never copied before the artifact is written.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from compress.base.config import InputError
from compress.data.checkpoints.fit import DTYPES
from compress.data.checkpoints.folder import weights_read
from compress.data.checkpoints.weights import read_header, unwrapped
from compress.model.skeleton import state

NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Place:
    """Where a tensor is stored."""

    file: Path
    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    def read(self) -> torch.Tensor:
        """Return the tensor as stored; its memory is the file's, mapped."""
        with safe_open(self.file, framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(self.key)
        return tensor

    def equals(self, other: "Place") -> bool:
        """Return whether another place holds the same values."""
        return self == other or torch.equal(self.read(), other.read())

    @property
    def count(self) -> int:
        """Number of values."""
        return torch.Size(self.shape).numel()


@dataclass(frozen=True)
class Stacked(Place):
    """Tensors of single experts that the model holds as one: stacked, and projections of one expert concatenated."""

    projections: tuple[tuple[Place, ...], ...] = ()
    """Of each projection, the experts in order."""

    @classmethod
    def of(cls, projections: tuple[tuple[Place, ...], ...]) -> "Stacked":
        """Return the place of [experts, outputs of all projections, inputs]."""
        first = projections[0][0]
        rows = sum(experts[0].shape[0] for experts in projections)
        shape = (len(projections[0]), rows, *first.shape[1:])
        return cls(first.file, first.key, first.dtype, shape, projections)

    def read(self) -> torch.Tensor:
        """Return the tensor that transformers makes of them."""
        return torch.cat([torch.stack([place.read() for place in experts]) for experts in self.projections], dim=1)


@dataclass
class Store:
    """All tensors of a model by name, and how its quantized layers are packed."""

    tensors: dict[str, Place] = field(default_factory=dict)
    packing: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, model: Any) -> "Store":
        """Return the store of a checkpoint, by the names in its (empty) model.

        Tied parameters have their first name. Raises InputError if a parameter is not stored under its own name, or
        tied ones are stored with different values.
        """
        held = _held(folder, model)
        prefix = f"{model.base_model_prefix}."
        saved, first = set(model.state_dict()), dict[int, str]()
        tensors: dict[str, Place] = {}
        for name, tensor in state(model):
            owner = first.setdefault(id(tensor), name)
            place = next((held[n] for n in (name, prefix + name, name.removeprefix(prefix)) if n in held), None)
            if place is None or place.shape != tuple(tensor.shape):
                continue
            if not tensors.setdefault(owner, place).equals(place):
                raise InputError(
                    f"{name} is stored beside {owner} with other values, although the configuration ties them: "
                    "transformers keeps them apart then; set tie_word_embeddings: false in config.json"
                )
        needed = [name for name, _ in model.named_parameters(remove_duplicate=False) if name in saved]
        lacking = [name for name in needed if first[id(model.get_parameter(name))] not in tensors]
        if lacking:
            raise InputError(
                f"{lacking[0]} is not stored under this name ({len(lacking)} in total): transformers makes it from "
                "other tensors, which needs the whole model in memory"
            )
        return cls(tensors)

    def below(self, prefix: str) -> list[str]:
        """Return names of the tensors of a module."""
        return [name for name in self.tensors if name.startswith(prefix)]

    def adopt(self, file: Path) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
        """Take the tensors of a file that `write` wrote; return its note, and the shapes of its tensors."""
        note = note_of(file)
        for name in note["removed"]:
            self.tensors.pop(name, None)
        header = read_header(file)
        self.tensors |= {n: Place(file, n, DTYPES[tensor.dtype], tensor.shape) for n, tensor in header.items()}
        self.packing |= note["packing"]
        return note, {name: tensor.shape for name, tensor in header.items()}

    def rename(self, names: Mapping[str, str]) -> None:
        """Give tensors their new names; those that have none are dropped."""
        self.tensors = {names[name]: place for name, place in self.tensors.items() if name in names}

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type that most values are stored in."""
        counts: dict[torch.dtype, int] = {}
        for place in self.tensors.values():
            if place.dtype.is_floating_point:
                counts[place.dtype] = counts.get(place.dtype, 0) + place.count
        return max(counts, key=lambda dtype: counts[dtype])


def _held(folder: Path, model: Any) -> dict[str, Place]:
    """Return the places of a checkpoint's tensors by the names that transformers loads them under."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    changes = get_model_conversion_mapping(model)
    renamings = [change for change in changes if isinstance(change, WeightRenaming)]
    converters = [change for change in changes if isinstance(change, WeightConverter)]
    order = {pattern: index for change in converters for index, pattern in enumerate(change.source_patterns)}
    held: dict[str, Place] = {}
    parts: dict[str, dict[int, dict[str, Place]]] = {}
    for file in (file for file in weights_read(folder) if file.suffix == ".safetensors"):
        for key, entry in read_header(file).items():
            if entry.dtype not in DTYPES:
                continue
            place = Place(file, key, DTYPES[entry.dtype], entry.shape)
            name, pattern = rename_source_key(unwrapped(key), renamings, converters)
            if pattern is None:
                held[name] = place
            else:
                parts.setdefault(name, {}).setdefault(order[pattern], {})[key] = place
    for name, columns in parts.items():
        ordered = [columns[index] for index in sorted(columns)]
        held[name] = Stacked.of(tuple(tuple(c[key] for key in sorted(c, key=dot_natural_key)) for c in ordered))
    return held


Entries = Iterable[tuple[str, Place | torch.Tensor, torch.dtype]]
"""Name, tensor or its place, and the type to write it in."""


def write(file: Path, tensors: Entries, note: Mapping[str, Any] | None = None) -> None:
    """Write a safetensors file, with a note in its header; one tensor that is not in memory is read at a time."""
    ordered = sorted(tensors, key=lambda entry: (-entry[2].itemsize, entry[0]))
    extra = {} if note is None else {"compress": json.dumps(note)}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **extra}}
    end = 0
    for name, source, dtype in ordered:
        begin, end = end, end + torch.Size(source.shape).numel() * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(source.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8, as safetensors' own files do
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little"))
        out.write(text)
        for _, source, dtype in ordered:
            tensor = source.read() if isinstance(source, Place) else source
            plain = tensor.detach().to("cpu", dtype).contiguous().reshape(-1)
            if plain.numel():
                out.write(plain.view(torch.uint8).numpy().data)


def put(file: Path, tensors: Entries, note: Mapping[str, Any]) -> None:
    """Write a file aside and rename it when it is complete."""
    aside = file.with_suffix(".part")
    write(aside, tensors, note)
    aside.replace(file)


def note_of(file: Path) -> dict[str, Any]:
    """Return the note in a file's header."""
    with safe_open(file, framework="pt") as opened:
        note: dict[str, Any] = json.loads(opened.metadata()["compress"])
    return note
