"""Writing of an artifact whose tensors are on disk: they are copied one at a time, in the types they are stored in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from compress.model.bundle import Bundle
from compress.model.sharing import aliases
from compress.model.skeleton import is_plain, state
from compress.model.store import Place, write

PLAIN, PACKED = "model.safetensors", "compress.safetensors"


def write_streamed(bundle: Bundle, folder: Path) -> tuple[bool, dict[str, Any]]:
    """Write the tensors and the configuration of a model on disk; return whether it is plain, and the packing."""
    model, stream = bundle.model, bundle.stream
    assert stream is not None
    plain = is_plain(model, bundle.task, bundle.layers)
    tied: dict[str, str] = {}
    entries = list(_entries(bundle, plain, tied))
    write(folder / (PLAIN if plain else PACKED), entries)
    model.config.dtype = stream.final
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    kind = str(stream.final).removeprefix("torch.")
    layers = {name: {**meta, "dtype": kind} if "dtype" in meta else meta for name, meta in stream.store.packing.items()}
    packing = {"layers": layers, "tied": tied, "same": aliases(model)}
    return plain, {} if plain else packing


def _entries(
    bundle: Bundle, plain: bool, tied: dict[str, str]
) -> Iterator[tuple[str, Place | torch.Tensor, torch.dtype]]:
    """Yield name, place and type of every tensor of the artifact, and fill `tied`.

    A plain model leaves out the buffers that transformers computes when it loads it.
    """
    model, stream = bundle.model, bundle.stream
    assert stream is not None
    store = stream.store
    packed = tuple(f"{name}." for name in store.packing)
    skipped = (*packed, *(f"{name}." for name in aliases(model)))
    saved = set(model.state_dict())
    owners: dict[int, str] = {}
    for name, tensor in state(model):
        if name.startswith(skipped) or name in store.packing:
            continue
        owner = owners.setdefault(id(tensor), name)
        if owner != name:
            tied[name] = owner
        elif name in store.tensors:
            yield name, store.tensors[name], stream.final_dtype(name)
        elif not plain or name in saved:
            yield name, tensor, tensor.dtype
    for name in store.tensors:
        if name.startswith(packed):
            yield name, store.tensors[name], stream.final_dtype(name)
