"""Artifacts: a compressed model as a folder that another process or machine rebuilds with the same outputs.

    config.json, tokenizer or processor files       as transformers saves them
    model.safetensors                               plain: loads with plain `from_pretrained`
    compress.safetensors                            anything else; the other name makes plain loading fail loudly
    model.onnx, or model.xml and model.bin          an exported graph, for onnxruntime or openvino
    model.gguf                                      a language model for llama.cpp
    model.onnx and genai_config.json                a language model for onnxruntime-genai
    integers/                                       beside the graph of a language model in our own formats: the same
                                                    model as an artifact of integers, which exports read
    manifest.json                                   changes per layer, signature of a graph, versions,
                                                    sha256 of every file and of itself

There is no pickle. A folder is written next to its final place and renamed, so it appears completely or not at all.
"""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from compress.base.config import InputError
from compress.base.console import say
from compress.base.device import CPU, Device
from compress.base.devices import torch_device
from compress.base.files import put_in_place
from compress.base.owners import beside
from compress.data.empty import auto_class, empty_model
from compress.data.precision import takes_any_precision
from compress.data.tasks import task_of
from compress.model.bundle import Bundle
from compress.model.manifest import INTEGERS, MANIFEST, Kind, Manifest, sealed, sha256, verify
from compress.model.replacing import carry, refuse_foreign
from compress.model.runtimes import providers
from compress.model.runtimes.graph import GraphModel, OnnxModel
from compress.model.runtimes.onnx import FILE as ONNX_FILE
from compress.model.runtimes.providers import Place, Shapes
from compress.model.skeleton import Contents, contents, fill, is_plain
from compress.model.streamed import write_streamed
from compress.model.structure import check_plain, check_tensors
from compress.spec.formats import GRAPHS, PLAIN_RUNTIMES, ROWS

WEIGHTS = "compress.safetensors"
LIBRARIES = (
    "torch", "transformers", "safetensors", "onnxruntime", "onnxruntime-gpu", "openvino", "xllamacpp",
    "onnxruntime-genai", "bitsandbytes", "torchao", "optimum-quanto",
)  # fmt: skip


def save(bundle: Bundle, path: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Write the bundle's model, processor and manifest as the folder `path`, replacing an existing artifact.

    Its card, license and git folder stay (`manifest.BESIDE`). Raises InputError if `path` is something else, or cannot
    be written.
    """
    from safetensors import SafetensorError

    path = Path(path)
    refuse_foreign(path)
    work = beside(path, "part")
    try:
        work.mkdir(parents=True)
        kind, plain, packing = _write_model(bundle, work)
        if bundle.processor is not None:
            bundle.processor.save_pretrained(work)
        if bundle.integers is not None:
            inner = {key: value for key, value in (extra or {}).items() if key != "notes"}
            save(bundle.integers, work / INTEGERS, {**inner, "runtime": "eager"})
        manifest = Manifest(
            task=bundle.task,
            kind=kind,
            plain=plain,
            layers={name: dict(entry) for name, entry in bundle.layers.items()},
            packing=packing,
            files={str(f.relative_to(work).as_posix()): sha256(f) for f in sorted(work.rglob("*")) if f.is_file()},
            versions=_versions(),
            extra={**(extra or {}), **_signature(bundle.model)},
        )
        (work / MANIFEST).write_text(sealed(asdict(manifest)), encoding="utf-8")
        for file in manifest.files:
            (work / file).chmod(0o644)  # safetensors makes files readable by the owner only
        if "README.md" in carry(path, work):
            say(f"  {path / 'README.md'}: kept unchanged; `compress card` writes a new one")
        put_in_place(work, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: the artifact cannot be written ({reason}); free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def load(path: Path, device: Device = CPU, trust_remote_code: bool = False) -> tuple[Any, Any, Manifest]:
    """Return model (eval mode, on `device`), processor and manifest of an artifact.

    Checksums, types and the names and shapes of all tensors are checked first; InputError names the mismatch.
    """
    path = Path(path)
    manifest = verify(path)
    _check_device(path, manifest, device)
    processor = None
    try:
        if any(name.startswith(("tokenizer", "preprocessor", "processor")) for name in manifest.files):
            processor = task_of(manifest.task).load_processor(str(path), trust_remote_code=trust_remote_code)
        return takes_any_precision(_read_model(path, manifest, device, trust_remote_code)), processor, manifest
    except (InputError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # libraries raise anything on files of unknown origin
        reason = next(iter(str(error).strip().splitlines()), "")
        raise InputError(f"{path}: cannot be loaded ({type(error).__name__}: {reason})") from error


def _write_model(bundle: Bundle, folder: Path) -> tuple[Kind, bool, dict[str, Any]]:
    """Write the model into `folder`; return its kind, whether it is plain, and the packing."""
    model = bundle.model
    if isinstance(model, GraphModel):
        for file in model.files():
            shutil.copyfile(file, folder / file.name)
        model.config.save_pretrained(folder)
        return model.kind, False, {}
    if bundle.stream is not None:
        return ("transformers", *write_streamed(bundle, folder))
    if is_plain(model, bundle.task, bundle.layers):
        model.save_pretrained(folder)
        task_of(bundle.task).write_beside(model, folder)
        return "transformers", True, {}
    from safetensors.torch import save_file

    packed = contents(model, bundle.layers)
    save_file(packed.tensors, folder / WEIGHTS, metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    return "transformers", False, {"layers": packed.packing, "tied": packed.tied, "same": packed.same}


def _signature(model: Any) -> dict[str, Any]:
    """Return the inputs and outputs of a graph; empty for a model that transformers describes."""
    return {**model.signature()} if isinstance(model, GraphModel) else {}


def _read_model(path: Path, manifest: Manifest, device: Device, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig, GenerationConfig

    if manifest.plain:
        check_plain(path, manifest, trust_remote_code)
        model = auto_class(manifest.task).from_pretrained(
            path, dtype="auto", use_safetensors=True, trust_remote_code=trust_remote_code, local_files_only=True
        )
        return model.to(torch_device(device)).eval()
    config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code, local_files_only=True)
    if manifest.kind == "onnx":
        return OnnxModel(path / ONNX_FILE, config, place=_place(manifest, device)).opened().eval()
    if manifest.kind == "openvino":
        from compress.model.runtimes.openvino import FILE, OpenVinoModel
        from compress.model.runtimes.stateful import StatefulModel

        opened = StatefulModel if task_of(manifest.task).continues else OpenVinoModel
        return opened(path / FILE, config).eval()
    if manifest.kind == "gguf":
        from compress.model.gguf import FILE as GGUF
        from compress.model.runtimes.llama_cpp import LlamaCppModel

        return LlamaCppModel(path / GGUF, config).eval()
    if manifest.kind == "genai":
        from compress.model.runtimes.genai import GenaiModel

        return GenaiModel(path / ONNX_FILE, config).eval()
    from safetensors.torch import load_file

    skeleton = empty_model(config, manifest.task, trust_remote_code)
    check_tensors(path / WEIGHTS, skeleton, manifest)
    packing = manifest.packing
    stored = Contents(
        load_file(path / WEIGHTS), packing.get("layers", {}), packing.get("tied", {}), packing.get("same", {})
    )
    model = fill(skeleton, manifest.layers, stored, torch_device(device))
    if "generation_config.json" in manifest.files:
        model.generation_config = GenerationConfig.from_pretrained(path)
    return model


def _check_device(path: Path, manifest: Manifest, device: Device) -> None:
    """Raise InputError if the artifact's format does not exist on the device, or the device is several."""
    if device.several:
        raise InputError(f"{path}: an artifact is loaded on one device, such as cuda:0; got {device}")
    if manifest.kind in GRAPHS:
        runtime = _runtime(manifest)
        able = [kind for kind, runtimes in PLAIN_RUNTIMES.items() if runtime in runtimes]
        if device.kind not in able:
            raise InputError(f"{path}: a graph of {runtime}, which runs on {' and '.join(able)}; got device {device}")
    for entry in manifest.layers.values():
        if "backend" not in entry:
            continue
        pair = (entry["format"], entry["backend"])
        if not any((row.format, row.backend, row.device) == (*pair, device.kind) for row in ROWS):
            raise InputError(
                f"{path}: {pair[0]} through {pair[1]} does not exist on {device.kind}; quantize again for it"
            )
    if manifest.kind == "onnx":
        try:
            providers.check(_runtime(manifest), device.kind)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def _runtime(manifest: Manifest) -> str:
    """Return the runtime that executes an exported graph."""
    return str(manifest.extra.get("runtime", GRAPHS[manifest.kind][0]))


def _place(manifest: Manifest, device: Device) -> Place:
    """Return where an ONNX graph is executed, per its manifest."""
    shapes = manifest.extra.get("shapes")
    half = manifest.layers.get("", {}).get("dtype") == "fp16"
    profile = None if shapes is None else Shapes(tuple(shapes["usual"]), tuple(shapes["most"]))
    return Place(_runtime(manifest), device, half, profile)


def _versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect how tensors are read."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
