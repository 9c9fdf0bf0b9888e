"""Checks of an export: its files are loaded back and answer like the artifact.

compressed-tensors, gguf    transformers loads the folder or the file; logits are equal
gptq                        our reader returns the same integers, scales and zeros; logits are equal
onnx, openvino              the runtime opens the graph; logits differ by at most 1e-3 of their spread
gguf, with xllamacpp        llama.cpp splits texts into the same tokens, and predicts alike (see `llama_cpp`)
"""

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from compress.base.errors import InputError, innermost
from compress.data.tasks import task_of
from compress.export import gptq, openvino
from compress.model import gguf
from compress.model.agreement import NONE, TOLERANCES, Agreement
from compress.model.outputs import logits_of
from compress.model.packing.expanding import expand
from compress.model.packing.grouped_layer import GroupedLinear
from compress.model.packing.integers import Integers
from compress.model.runtimes.graph import OnnxModel
from compress.spec.exports import Target

Batches = list[dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Checked:
    """One passed check."""

    reader: str
    """Library that read the files, with its version."""
    what: str
    difference: float
    bound: float
    """Largest difference that passes; 0 for equality."""

    def __str__(self) -> str:
        """Return the check as a sentence."""
        if self.bound == 0:
            return f"{self.reader}: {self.what} are equal"
        return f"{self.reader}: {self.what} differ by {self.difference:.2g}; at most {self.bound:.2g} passes"


@dataclass(frozen=True)
class Expected:
    """The artifact's answers to a few batches."""

    batches: Batches
    logits: list[torch.Tensor]
    per_token: bool

    @classmethod
    def of(cls, model: Any, batches: Batches, task: str) -> "Expected":
        """Return the model's answers."""
        return cls(batches, [answer(model, batch) for batch in batches], task_of(task).per_token)

    def agreement(self, model: Any) -> Agreement:
        """Return how a model agrees with these answers; logits of padding do not count."""
        agreement = NONE
        for batch, expected in zip(self.batches, self.logits, strict=True):
            found = answer(model, batch)
            if self.per_token and "attention_mask" in batch:
                kept = batch["attention_mask"].bool()
                agreement = agreement.joined(expected[kept], found[kept])
            else:
                agreement = agreement.joined(expected, found)
        return agreement


def answer(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the logits of a batch in fp32."""
    with torch.no_grad():
        return logits_of(model(**batch)).float()


def equal(reader: str, expected: Expected, model: Any, place: Path) -> Checked:
    """Return the check that logits are equal. Raises InputError if they are not."""
    found = expected.agreement(model)
    if found.difference != 0:
        raise InputError(
            f"{place}: {reader} reads other weights than were written: logits differ by up to {found.difference:.3g}; "
            "expected equal logits; nothing was kept"
        )
    return Checked(reader, "logits", 0.0, 0.0)


def alike(reader: str, expected: Expected, model: Any, place: Path) -> Checked:
    """Return the check that logits are close. Raises InputError if they are not."""
    found = expected.agreement(model)
    bound = found.most(TOLERANCES[torch.float32])
    if not found.difference <= bound:
        raise InputError(
            f"{place}: the graph differs from the artifact under {reader}: logits by up to {found.difference:.3g}; "
            f"expected at most {bound:.3g}; nothing was kept"
        )
    return Checked(reader, "logits", found.difference, bound)


def loaded(
    target: Target, model: Any, layers: Mapping[str, GroupedLinear], expected: Expected, folder: Path, task: str
) -> Checked:
    """Return the check of a written folder by its main reader. Raises InputError if it fails."""
    reader = _reader(target)
    try:
        if target == "gptq":
            _read_into(model, layers, folder)
            return equal(reader, expected, model, folder)
        if target == "onnx":
            return alike(reader, expected, OnnxModel(folder / "model.onnx", model.config).opened().eval(), folder)
        if target == "openvino":
            from compress.model.runtimes.openvino import OpenVinoModel
            from compress.model.runtimes.stateful import StatefulModel

            opened = StatefulModel if task_of(task).continues else OpenVinoModel
            return alike(reader, expected, opened(folder / openvino.FILE, model.config, exact=True), folder)
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars of the packages, of the first answer too
            return equal(reader, expected, _by_transformers(target, model, folder, task), folder)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # readers raise anything
        raise InputError(f"{folder}: {reader} cannot read the export ({innermost(error)}); nothing was kept") from error


def _reader(target: Target) -> str:
    from importlib import metadata

    from compress.base.version import __version__

    if target == "gptq":
        return f"compress {__version__}"
    package = {"onnx": "onnxruntime", "openvino": "openvino"}.get(target, "transformers")
    return f"{package} {metadata.version(package)}"


def _by_transformers(target: Target, model: Any, folder: Path, task: str) -> Any:
    from compress.data.empty import auto_class

    file = {"gguf_file": gguf.FILE} if target == "gguf" else {}
    dtype = next(model.parameters()).dtype
    return auto_class(task).from_pretrained(folder, dtype=dtype, local_files_only=True, **file).eval()


def _read_into(model: Any, layers: Mapping[str, GroupedLinear], folder: Path) -> None:
    """Give a model the weights of a folder in GPTQ's layout, in place. Raises InputError if they are others."""
    found, rest = gptq.read(folder)
    if found.keys() != layers.keys():
        raise InputError(f"{folder}: holds {len(found)} quantized layers; expected {len(layers)}")
    for name, layer in layers.items():
        before, after = Integers.of(layer), found[name]
        for part in ("ints", "scale", "zero"):
            if not torch.equal(getattr(before, part), getattr(after, part)):
                raise InputError(f"{folder}: {name} has other {part} than the artifact; nothing was kept")
    expand(model, {name: _as_layer(found[name], layer) for name, layer in layers.items()})
    state = model.state_dict(keep_vars=True)
    for name, tensor in rest.items():
        state[name].data.copy_(tensor)


def _as_layer(read: Integers, like: GroupedLinear) -> GroupedLinear:
    """Return a layer with integers that were read."""
    from compress.model.packing.grouped_layer import packed

    return GroupedLinear(packed(read.ints, read.bits), read.scale, read.zero, read.bits, read.bias, None, like.dtype)
