"""Whether an artifact's tensors are those of its model, before any of them is loaded: headers against the empty model.

    config.json --meta device--> names and shapes  +  what the manifest says of changed layers
    *.safetensors --header only--> names, shapes and types

A tensor that lacks would be random, and one of another shape wrong: either is an error, never a warning.
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
from compress.model.layers import Experts, stacked_experts
from compress.model.manifest import Manifest
from compress.model.packing import backend_of, settings_of
from compress.model.sharing import swap
from compress.model.skeleton import state
from compress.spec.steps import Prune

SHOWN = 4
Shape = tuple[int, ...]
EVERYTHING = Prune(structure="unstructured", include=("*",), exclude=())
Entries = Mapping[str, Mapping[str, Any]]


def check_plain(path: Path, manifest: Manifest, trust_remote_code: bool) -> None:
    """Raises InputError where a plain artifact's files do not hold exactly the tensors of its model."""
    if INDEX in manifest.files:
        shards = read_json(path / INDEX)["weight_map"].values()
        strange = sorted({str(name) for name in shards} - set(manifest.files))
        if strange:
            raise InputError(f"{path / INDEX}: names {_some(strange)}, not in the manifest; make the artifact again")
    with _no_bar():
        _, info = auto_class(manifest.task).from_pretrained(
            path, device_map="meta", dtype="auto", use_safetensors=True, local_files_only=True,
            trust_remote_code=trust_remote_code, output_loading_info=True,
        )  # fmt: skip
    _refuse(path, sorted(info["missing_keys"]), sorted(info["unexpected_keys"]), [])


def check_tensors(file: Path, skeleton: nn.Module, manifest: Manifest) -> None:
    """Raises InputError where tensors, packed layers and the empty model do not fit each other."""
    layers, packing = manifest.layers, manifest.packing
    same = _share(skeleton, packing.get("same", {}), file)
    found, tied = _header(file), packing.get("tied", {})
    quantized, thin = settings_of(layers), {n: e for n, e in layers.items() if e.get("kind") == "lowrank"}
    modules = dict(skeleton.named_modules())
    halves = {f"{name}.{half}" for name in thin for half in ("first", "second")}
    stacks = stacked_experts(skeleton, EVERYTHING)
    known = {"", *modules, *stacks, *halves}
    strange = sorted((set(layers) - known) | (set(quantized) ^ set(packing.get("layers", {}))))
    strange += [n for n, e in thin.items() if "borrows" in e and e["borrows"] not in thin]
    strange += [n for n in thin if not isinstance(modules.get(n), nn.Linear | Conv1D)]
    strange += [
        f"{name}.{key}"
        for name, entry in layers.items()
        for key in entry.get("attributes", {})
        if not isinstance(getattr(modules.get(name), key, None), int | float)
    ]
    if strange:
        raise InputError(f"{file.parent}: the manifest changes {_some(strange)}, which the model does not have")
    expected = dict(_expected(skeleton, layers, tuple(f"{name}." for name in (*quantized, *thin, *same)), quantized))
    for name in quantized:
        if name in stacks:
            expected.pop(name)
            expected |= _stacked(stacks[name], name, manifest, found)
        else:
            expected |= _packed(skeleton, name, manifest, found)
    lent = [name for name, owner in tied.items() if name not in expected or owner not in found or owner not in expected]
    missing = [name for name in expected if name not in found and name not in tied]
    extra = [name for name in found if name not in expected]
    wrong = [
        f"{name} {list(found[name])} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    _refuse(file, [*missing, *lent], extra, wrong)


def _share(skeleton: nn.Module, same: Mapping[str, str], file: Path) -> Mapping[str, str]:
    """Make the modules of the empty model that the manifest calls one module the same module, in place."""
    modules = dict(skeleton.named_modules(remove_duplicate=False))
    strange = [n for n, owner in same.items() if n == owner or type(modules.get(n)) is not type(modules.get(owner, 0))]
    if strange:
        raise InputError(f"{file.parent}: the manifest shares {_some(strange)}, which the model does not have or allow")
    for name, owner in same.items():
        swap(skeleton, name, modules[owner])
    return same


def _packed(skeleton: nn.Module, name: str, manifest: Manifest, found: Mapping[str, Shape]) -> dict[str, Shape]:
    """Name and shape of every tensor of a quantized layer, as its backend stores one of this size."""
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
    own = {key.removeprefix(prefix): shape for key, shape in found.items() if key.startswith(prefix)}
    shapes = backend_of(layers[name]["backend"]).shapes(out, into, manifest.packing["layers"][name], own)
    return {prefix + key: shape for key, shape in {**shapes, **({"bias": (out,)} if has_bias else {})}.items()}


def _stacked(experts: Experts, name: str, manifest: Manifest, found: Mapping[str, Shape]) -> dict[str, Shape]:
    """Name and shape of every tensor of a quantized stack of experts: a row for each output of each expert."""
    meta, prefix = manifest.packing["layers"][name], f"{name}."
    count, out, into = experts.matrices.shape
    if (meta.get("experts"), meta.get("transposed")) != (count, experts.transposed):
        raise InputError(f"{name}: the manifest stacks {meta.get('experts')} experts; the model has {count}")
    own = {key.removeprefix(prefix): shape for key, shape in found.items() if key.startswith(prefix)}
    shapes = backend_of(manifest.layers[name]["backend"]).shapes(count * out, into, meta, own)
    return {prefix + key: shape for key, shape in {**shapes, "like": (0,)}.items()}


def features(module: nn.Module, entry: Mapping[str, Any]) -> Shape:
    """[out, in] of a linear layer of the empty model, as the manifest says that it was cut."""
    shape: Any = entry.get("shape") or module.weight.shape
    weight: Shape = tuple(shape)
    return weight[::-1] if isinstance(module, Conv1D) else weight


def _expected(
    skeleton: nn.Module, layers: Entries, replaced: tuple[str, ...], quantized: Entries
) -> Iterator[tuple[str, Shape]]:
    """Name and shape of every tensor that is stored as it is: all but those of quantized layers."""
    for name, tensor in state(skeleton):
        if not name.startswith(replaced):
            yield name, _cut(name, tensor, skeleton, layers)
    for name, entry in layers.items():
        if entry.get("kind") != "lowrank":
            continue
        module, rank = skeleton.get_submodule(name), entry["rank"]
        out, into = features(module, entry)
        shapes: dict[str, Shape] = {"second.weight": (out, rank)}
        shapes |= {} if "borrows" in entry else {"first.weight": (rank, into)}
        shapes |= {} if module.bias is None else {"second.bias": (out,)}
        for key, shape in shapes.items():
            half = f"{name}.{key.partition('.')[0]}"
            if half not in quantized:
                cut = layers.get(half, {}).get("shape") if key.endswith("weight") else None
                yield f"{name}.{key}", tuple(cut or shape)


def _cut(name: str, tensor: torch.Tensor, skeleton: nn.Module, layers: Entries) -> Shape:
    """The shape of a parameter or buffer, as the manifest says that its layer was cut."""
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
    """Tensor -> shape, without reading a tensor."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118


def _refuse(place: Path, missing: list[str], extra: list[str], wrong: list[str]) -> None:
    said = (
        ("lacks {} of the model, which would be random", missing),
        ("holds {}, which the model does not have", extra),
        ("holds {}", wrong),
    )
    problems = [f"{place}: {text.format(_some(names))}; make the artifact again" for text, names in said if names]
    if problems:
        raise InputError(problems)


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"


@contextmanager
def _no_bar() -> Iterator[None]:
    """No bar for a pass over headers: the one of loading comes after it."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
