"""Check an artifact's tensors against its model before loading any: file headers against the empty model.

    config.json --meta device--> names and shapes  +  the manifest's entries of changed layers
    *.safetensors --header only--> names, shapes and types

A missing tensor would be random, and one of another shape wrong: either is an error, never a warning.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from compress.base.config import InputError
from compress.data.checkpoints.files import INDEX, read_json
from compress.data.empty import auto_class
from compress.model.convolutions import CONVOLUTIONS, Convolution, LowRankConvolution
from compress.model.layers import Experts, stacked_experts
from compress.model.manifest import Manifest
from compress.model.packing import backend_of, settings_of
from compress.model.packing.tied import embeds_plainly
from compress.model.sharing import swap
from compress.model.skeleton import state
from compress.spec.steps import Prune

SHOWN = 4
Shape = tuple[int, ...]
EVERYTHING = Prune(structure="unstructured", include=("*",), exclude=())
Entries = Mapping[str, Mapping[str, Any]]


def check_plain(path: Path, manifest: Manifest, trust_remote_code: bool) -> None:
    """Raise InputError if a plain artifact's files do not hold exactly the tensors of its model."""
    if INDEX in manifest.files:
        shards = read_json(path / INDEX)["weight_map"].values()
        unlisted = sorted({str(name) for name in shards} - set(manifest.files))
        if unlisted:
            raise InputError(f"{path / INDEX}: names {_some(unlisted)}, not in the manifest; make the artifact again")
    with _no_bar():
        _, info = auto_class(manifest.task).from_pretrained(
            path, device_map="meta", dtype="auto", use_safetensors=True, local_files_only=True,
            trust_remote_code=trust_remote_code, output_loading_info=True,
        )  # fmt: skip
    _refuse(path, sorted(info["missing_keys"]), sorted(info["unexpected_keys"]), [])


def check_tensors(file: Path, skeleton: nn.Module, manifest: Manifest) -> None:
    """Raise InputError if tensors, packed layers and the empty model do not match."""
    layers, packing = manifest.layers, manifest.packing
    same = _share(skeleton, packing.get("same", {}), file)
    stored, tied = _header(file), packing.get("tied", {})
    quantized, low_rank = settings_of(layers), {n: e for n, e in layers.items() if e.get("kind") == "lowrank"}
    modules = dict(skeleton.named_modules())
    halves = {f"{name}.{half}" for name in low_rank for half in ("first", "second")}
    stacks = stacked_experts(skeleton, EVERYTHING)
    names = {"", *modules, *stacks, *halves}
    unknown = sorted((set(layers) - names) | (set(quantized) ^ set(packing.get("layers", {}))))
    unknown += [n for n, e in low_rank.items() if "borrows" in e and e["borrows"] not in low_rank]
    kinds = {n: CONVOLUTIONS if "decomposition" in entry else nn.Linear | Conv1D for n, entry in low_rank.items()}
    unknown += [n for n, kind in kinds.items() if not isinstance(modules.get(n), kind)]
    unknown += [
        f"{name}.{key}"
        for name, entry in layers.items()
        for key in entry.get("attributes", {})
        if not isinstance(getattr(modules.get(name), key, None), int | float)
    ]
    embeddings = [meta["embedding"] for meta in packing.get("layers", {}).values() if "embedding" in meta]
    unknown += [name for name in embeddings if not embeds_plainly(modules.get(name))]
    if unknown:
        raise InputError(f"{file.parent}: the manifest changes {_some(unknown)}, which the model does not have")
    stored_apart = (*quantized, *embeddings, *low_rank, *same)
    expected = dict(_expected(skeleton, layers, tuple(f"{name}." for name in stored_apart), quantized))
    for name in quantized:
        if name in stacks:
            expected.pop(name)
            expected |= _stacked(stacks[name], name, manifest, stored)
        else:
            expected |= _packed(skeleton, name, manifest, stored)
    lent = [
        name for name, owner in tied.items() if name not in expected or owner not in stored or owner not in expected
    ]
    missing = [name for name in expected if name not in stored and name not in tied]
    extra = [name for name in stored if name not in expected]
    wrong = [
        f"{name} {list(stored[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in stored and stored[name] != shape
    ]
    _refuse(file, [*missing, *lent], extra, wrong)


def _share(skeleton: nn.Module, same: Mapping[str, str], file: Path) -> Mapping[str, str]:
    """Turn modules that the manifest declares identical into one module of the empty model, in place."""
    modules = dict(skeleton.named_modules(remove_duplicate=False))
    invalid = [n for n, owner in same.items() if n == owner or type(modules.get(n)) is not type(modules.get(owner, 0))]
    if invalid:
        raise InputError(f"{file.parent}: the manifest shares {_some(invalid)}, which the model does not have or allow")
    for name, owner in same.items():
        swap(skeleton, name, modules[owner])
    return same


def _packed(skeleton: nn.Module, name: str, manifest: Manifest, stored: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return name and shape of every tensor of a quantized layer, as its backend stores one of this size."""
    layers, prefix = manifest.layers, f"{name}."
    parent, _, half = name.rpartition(".")
    if layers.get(parent, {}).get("kind") == "lowrank":
        linear, rank = skeleton.get_submodule(parent), layers[parent]["rank"]
        out, into = features(linear, layers[parent])
        out, into = (rank, into) if half == "first" else (out, rank)
        has_bias = half == "second" and linear.bias is not None
    else:
        linear = skeleton.get_submodule(name)
        (out, into), has_bias = features(linear, layers[name]), linear.bias is not None
    own_shapes = {key.removeprefix(prefix): shape for key, shape in stored.items() if key.startswith(prefix)}
    shapes = backend_of(layers[name]["backend"]).shapes(out, into, manifest.packing["layers"][name], own_shapes)
    return {prefix + key: shape for key, shape in {**shapes, **({"bias": (out,)} if has_bias else {})}.items()}


def _stacked(experts: Experts, name: str, manifest: Manifest, stored: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return name and shape of every tensor of a quantized stack of experts: one row per output of each expert."""
    meta, prefix = manifest.packing["layers"][name], f"{name}."
    count, out, into = experts.matrices.shape
    if (meta.get("experts"), meta.get("transposed")) != (count, experts.transposed):
        raise InputError(f"{name}: the manifest stacks {meta.get('experts')} experts; the model has {count}")
    own_shapes = {key.removeprefix(prefix): shape for key, shape in stored.items() if key.startswith(prefix)}
    shapes = backend_of(manifest.layers[name]["backend"]).shapes(count * out, into, meta, own_shapes)
    return {prefix + key: shape for key, shape in {**shapes, "like": (0,)}.items()}


def features(module: nn.Module, entry: Mapping[str, Any]) -> Shape:
    """Return [out, in] of a linear layer of the empty model, after the cuts in the manifest."""
    shape: Any = entry.get("shape") or module.weight.shape
    weight: Shape = tuple(shape)
    return weight[::-1] if isinstance(module, Conv1D) else weight


def _expected(
    skeleton: nn.Module, layers: Entries, replaced: tuple[str, ...], quantized: Entries
) -> Iterator[tuple[str, Shape]]:
    """Yield name and shape of every tensor that is stored unpacked: all but those of quantized layers."""
    for name, tensor in state(skeleton):
        if not name.startswith(replaced):
            yield name, _cut(name, tensor, skeleton, layers)
    for name, entry in layers.items():
        if entry.get("kind") != "lowrank":
            continue
        module = skeleton.get_submodule(name)
        shapes = _thin_convolutions(module, entry) if isinstance(module, CONVOLUTIONS) else _thin(module, entry)
        for key, shape in shapes.items():
            half = f"{name}.{key.partition('.')[0]}"
            if half not in quantized:
                cut = layers.get(half, {}).get("shape") if key.endswith("weight") else None
                yield f"{name}.{key}", tuple(cut or shape)


def _thin(module: nn.Module, entry: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the shapes of a linear layer's two thin ones, after the cuts in the manifest."""
    (out, into), rank = features(module, entry), entry["rank"]
    shapes: dict[str, Shape] = {"second.weight": (out, rank)}
    shapes |= {} if "borrows" in entry else {"first.weight": (rank, into)}
    return shapes | ({} if module.bias is None else {"second.bias": (out,)})


def _thin_convolutions(module: Convolution, entry: Mapping[str, Any]) -> dict[str, Shape]:
    """Return the shapes of a convolution's two thin ones, after the cuts in the manifest."""
    thin = LowRankConvolution.like(module, entry["rank"], entry["decomposition"], "meta")
    out, into = (entry.get("shape") or module.weight.shape)[:2]
    first, second = tuple(thin.first.weight.shape), tuple(thin.second.weight.shape)
    shapes: dict[str, Shape] = {"second.weight": (out, *second[1:]), "first.weight": (first[0], into, *first[2:])}
    return shapes | ({} if module.bias is None else {"second.bias": (out,)})


def _cut(name: str, tensor: torch.Tensor, skeleton: nn.Module, layers: Entries) -> Shape:
    """Return the shape of a parameter or buffer after the manifest's cuts of its layer."""
    owner, _, leaf = name.rpartition(".")
    entry, own = layers.get(owner, {}), tuple(tensor.shape)
    if leaf in entry.get("parameters", {}):
        return tuple(entry["parameters"][leaf])
    weight = entry.get("shape")
    if not weight or not own:
        return own
    if leaf == "weight":
        return tuple(weight)
    return (weight[-1] if isinstance(skeleton.get_submodule(owner), Conv1D) else weight[0],) if len(own) == 1 else own


def _header(file: Path) -> dict[str, Shape]:
    """Return tensor -> shape, without reading a tensor."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118


def _refuse(place: Path, missing: list[str], extra: list[str], wrong: list[str]) -> None:
    complaints = (
        ("lacks {} of the model, which would be random", missing),
        ("holds {}, which the model does not have", extra),
        ("holds {}", wrong),
    )
    problems = [f"{place}: {text.format(_some(names))}; make the artifact again" for text, names in complaints if names]
    if problems:
        raise InputError(problems)


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"


@contextmanager
def _no_bar() -> Iterator[None]:
    """Hide the progress bar of a pass over headers: loading shows its own bar afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
