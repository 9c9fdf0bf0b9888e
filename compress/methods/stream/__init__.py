"""Compression of a model that stays on disk: its blocks are in memory one at a time.

    checkpoint --block 0--> collect, change, run again, write --block 1--> ... --> files, one per block --> artifact

The bundle's model is empty: steps choose layers and check shapes on it. `change_layers` loads a block's tensors into
its modules, lets the step change its layers by the same functions as in memory, writes the changed tensors and empties
the block again. Files are written aside and renamed. A run that was killed takes the finished ones and goes on with the
first missing block; the bytes are the same.
"""

import ctypes
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from compress.base.console import track
from compress.methods.calibrate import batches
from compress.methods.capture import Inputs, capture
from compress.methods.layerwise import Change
from compress.methods.stream import structure
from compress.methods.stream.blocks import Batch, Flow, blocks_of, empty
from compress.model.bundle import Bundle
from compress.model.packing import backend_of, settings_of
from compress.model.packing.stacked import index_by_expert
from compress.model.sharing import swap
from compress.model.skeleton import state
from compress.model.store import Store, note_of, put
from compress.spec.steps import Sample

Influence = Callable[[Iterable[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]], float]
"""(hidden states before a block, after it, attention mask) of every batch -> the block's score."""
TRIM_BYTES = 1 << 20
"""Free memory above this size returns to the system at once; glibc otherwise keeps up to a layer's worth of it."""
TRIM, MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's mallopt


class Stream:
    """The tensors of a bundle's empty model, and the work of its passes over them."""

    def __init__(self, store: Store, work: Path) -> None:
        """Take the tensors of a checkpoint; `work` keeps the files of finished blocks."""
        self.store, self.work = store, work
        self.dtype = torch.float32
        """Type in which blocks compute; a step that casts sets it, and the artifact's."""
        self.stored = {name: place.dtype for name, place in store.tensors.items()}
        self.common = store.dtype
        self.passes = 0
        self.replaced: list[nn.Parameter] = []
        """Parameters before each pass: kept, so that no new one can have the identity of one that was changed."""
        self.backends: dict[str, str] = {}
        """Quantized layer -> the backend that unpacks it."""
        return_memory()

    def change_layers(
        self, bundle: Bundle, step: str, sample: Sample | None, names: Collection[str], change: Change, label: str
    ) -> dict[str, Any]:
        """Do what `compress.methods.layerwise.change_layers` describes, one block at a time."""
        if not names:
            return {}
        folder = self._next_pass(bundle.model)
        parts = self._parts(bundle.model, names, sample is not None)
        examples = [] if sample is None else list(batches(bundle, step, sample))
        flow = self._flow(bundle.model, examples, folder) if examples else None
        records: dict[str, Any] = {}
        for index, (prefix, members) in enumerate(track(parts, label, len(parts))):
            file = folder / f"{index:05d}.safetensors"
            if not file.exists():
                self._change(bundle, flow, index, prefix, members, change, file, index + 1 == len(parts))
            records |= self._adopt(bundle.model, file)
            if flow is not None:
                flow.forget(index)
        return records

    def _next_pass(self, model: nn.Module) -> Path:
        """Return the folder of a new pass over the blocks."""
        folder = self.work / f"pass-{self.passes}"
        self.passes += 1
        self.replaced += model.parameters()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _flow(self, model: nn.Module, examples: Sequence[Batch], folder: Path) -> Flow:
        return Flow(model, examples, folder, lambda module: self._load(model, module, recurse=False))

    def _parts(self, model: nn.Module, names: Collection[str], calibrates: bool) -> list[tuple[str, list[str]]]:
        """Return prefix and layers of every block up to the last one with layers, then those of layers outside.

        Without calibration, only blocks with layers.
        """
        path, blocks = blocks_of(model)
        prefixes = [f"{path}.{index}." for index in range(len(blocks))]
        within = [(prefix, [name for name in names if name.startswith(prefix)]) for prefix in prefixes]
        outside = [name for name in names if not name.startswith(tuple(prefixes))]
        if not calibrates:
            return [part for part in within if part[1]] + [(f"{name}.", [name]) for name in outside]
        last = len(within) if outside else 1 + max(i for i, (_, members) in enumerate(within) if members)
        return within[:last] + [(f"{name}.", [name]) for name in outside]

    def _change(
        self,
        bundle: Bundle,
        flow: Flow | None,
        index: int,
        prefix: str,
        names: Sequence[str],
        change: Change,
        file: Path,
        last: bool,
    ) -> None:
        """Load a block, change its layers, run it on the hidden states for the next one, and write what changed."""
        model = bundle.model
        with self.loaded(model, prefix):
            captured = self._captured(model, flow, index, names)
            before = {name: structure.holder(model, name) for name in names}
            records = {}
            for name in names:
                records[name] = change(name, captured.pop(name, None))
                structure.release(model, before)
            index_by_expert(model)
            if flow is not None and index < len(flow.blocks) and not last:
                flow.advance(index)
            self._write(model, prefix, records, before, file)

    def _captured(self, model: nn.Module, flow: Flow | None, index: int, names: Sequence[str]) -> dict[str, Inputs]:
        """Return the statistics of the inputs of a block's layers."""
        if flow is None:
            return {}
        flow.enter(index)
        run = flow.run(index) if index < len(flow.blocks) else flow.beyond
        return capture(model, flow.examples, names, run=run) if names else {}

    @contextmanager
    def loaded(self, model: nn.Module, prefix: str) -> Iterator[None]:
        """Have the tensors of a block in its modules, packed layers included; they are emptied at the end."""
        packed = [name for name in self.store.packing if name.startswith(prefix)]
        places = {name: structure.holder(model, name) for name in packed}
        for name in packed:
            parts = {key.removeprefix(f"{name}."): self.store.tensors[key].read() for key in self._parts_of(name)}
            backend = backend_of(self.backends[name])
            swap(model, name, backend.unpack(parts, self.store.packing[name], torch.device("cpu")))
        module = model.get_submodule(prefix.removesuffix("."))
        filled = self._load(model, module)
        try:
            yield
        finally:
            for name, (above, layer) in places.items():
                structure.restore(model, name, above, layer)
            empty((*filled, *module.parameters()))

    def _parts_of(self, name: str) -> list[str]:
        return self.store.below(f"{name}.")

    def _load(self, model: nn.Module, module: nn.Module, recurse: bool = True) -> list[nn.Parameter]:
        """Read the empty parameters of a module, in the type in which blocks compute, and return them."""
        names = structure.first_names(model)
        filled = [parameter for parameter in module.parameters(recurse) if parameter.is_meta]
        for parameter in filled:
            tensor = self.store.tensors[names[id(parameter)]].read()
            tensor = tensor.to(self.dtype) if tensor.is_floating_point() else tensor
            torch.utils.swap_tensors(parameter, nn.Parameter(tensor, requires_grad=parameter.requires_grad))
        return filled

    def _write(
        self, model: nn.Module, prefix: str, records: dict[str, Any], before: structure.Holders, file: Path
    ) -> None:
        """Write the tensors of a block that changed, aside, and rename the file when it is complete."""
        packing: dict[str, Any] = {}
        tensors: dict[str, torch.Tensor] = {}
        entries = settings_of({name: record for name, record in records.items() if isinstance(record, dict)})
        for name, entry in entries.items():
            parts, packing[name] = backend_of(str(entry["backend"])).pack(model.get_submodule(name))
            tensors |= {f"{name}.{key}": tensor for key, tensor in parts.items()}
        module = model.get_submodule(prefix.removesuffix("."))
        saved = {prefix + key for key in module.state_dict(keep_vars=True)}
        packed = tuple(f"{name}." for name in (*packing, *self._packed_below(prefix)))
        names = structure.first_names(model)
        plain = {
            names[id(tensor)]: tensor
            for name, tensor in state(module)
            if prefix + name in saved and not (prefix + name).startswith(packed)
        }
        tensors |= structure.changed_tensors(self.store, plain)
        kept = {*plain, *tensors, *(key for name in self._packed_below(prefix) for key in self._parts_of(name))}
        note = {
            "removed": [name for name in self.store.below(prefix) if name not in kept],
            "packing": packing,
            "backends": {name: str(entry["backend"]) for name, entry in entries.items()},
            "record": records,
        }
        put(file, [(name, tensor, tensor.dtype) for name, tensor in tensors.items()], note)
        for name in packing:
            structure.restore(model, name, *before[name])

    def _packed_below(self, prefix: str) -> list[str]:
        return [name for name in self.store.packing if name.startswith(prefix)]

    def _adopt(self, model: nn.Module, file: Path) -> dict[str, Any]:
        """Take the tensors of a finished block, give the empty model their structure, and return the records."""
        note, shapes = self.store.adopt(file)
        self.backends |= note["backends"]
        structure.follow(model, shapes, note["record"], note["packing"])
        records: dict[str, Any] = note["record"]
        return records

    def counts(self, model: nn.Module) -> tuple[int, int]:
        """Return the parameters of the empty model and how many of them are not zero, read one at a time."""
        names = structure.first_names(model)
        places = [self.store.tensors[names[id(parameter)]] for parameter in model.parameters()]
        return sum(p.count for p in places), sum(int(torch.count_nonzero(p.read())) for p in places)

    def traced(self, model: nn.Module, trace: Callable[[nn.Module], Any]) -> Any:
        """Return what `trace` finds on the model without any values, with attention in plain operators."""
        with structure.without_values(model):
            return trace(model)

    def influences(self, bundle: Bundle, step: str, sample: Sample, score: Influence) -> list[float]:
        """Return the score of every block by its hidden states before and after it."""
        model = bundle.model
        examples = list(batches(bundle, step, sample))
        flow = self._flow(model, examples, self._next_pass(model))
        scores = []
        for index in track(range(len(flow.blocks)), step, len(flow.blocks)):
            file = flow.folder / f"{index:05d}.safetensors"
            if not file.exists():
                flow.enter(index)
                with self.loaded(model, f"{flow.path}.{index}."):
                    flow.advance(index)
                put(file, [], {"record": score(flow.states(index))})
            scores.append(note_of(file)["record"])
            flow.forget(index)
        return scores

    def keep_blocks(self, path: str, kept: Sequence[int]) -> None:
        """Give the tensors of the kept blocks the names of their new positions, and forget those of the others."""
        places = {f"{path}.{index}.": f"{path}.{place}." for place, index in enumerate(kept)}
        names: dict[str, str] = {}
        for name in self.store.tensors:
            old = next((prefix for prefix in places if name.startswith(prefix)), None)
            if old is not None:
                names[name] = places[old] + name.removeprefix(old)
            elif not name.startswith(f"{path}."):
                names[name] = name
        self.store.rename(names)
        self.stored = {names[name]: dtype for name, dtype in self.stored.items() if name in names}

    def final_dtype(self, name: str) -> torch.dtype:
        """Return the type in which the artifact holds a tensor: its own stored one, whatever blocks computed in."""
        place = self.store.tensors[name]
        if name.startswith(tuple(f"{layer}." for layer in self.store.packing)) and place.dtype != torch.float32:
            return place.dtype  # as its backend packed it
        if self.dtype != torch.float32 and place.dtype.is_floating_point:
            return self.dtype
        if place.dtype != torch.float32 or not place.file.is_relative_to(self.work):
            return place.dtype
        return self.stored.get(name, self.common)

    @property
    def final(self) -> torch.dtype:
        """The type of most of the artifact's unpacked values."""
        return self.common if self.dtype == torch.float32 else self.dtype


def return_memory() -> None:
    """Make the C library return freed memory to the system at once, where it is glibc."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(TRIM, TRIM_BYTES)
        libc.mallopt(MMAP, TRIM_BYTES)
        libc.malloc_trim(0)
