"""Artifacts: a compressed model as a folder that another process, or another machine, rebuilds with the same outputs.

    config.json, tokenizer or processor files       as transformers saves them
    model.safetensors                               plain: loads with plain `from_pretrained`
    compress.safetensors                            anything else; the other name makes plain loading fail loudly
    model.onnx, or model.xml and model.bin          an exported graph, for onnxruntime or openvino
    manifest.json                                   what layers became, versions, sha256 of every file and of itself

No pickle anywhere. A folder appears whole or not at all: it is written beside and renamed.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch

from compress import __version__, providers
from compress.bundle import Bundle
from compress.config import InputError
from compress.files import put_in_place
from compress.formats import GRAPHS, PLAIN_RUNTIMES, ROWS
from compress.graph import FILE as ONNX_FILE
from compress.graph_model import GraphModel, OnnxModel
from compress.owners import beside
from compress.providers import Place, Shapes
from compress.skeleton import Contents, auto_class, contents, empty_model, fill, is_plain
from compress.workloads import TaskName, task_of

SCHEMA = 1
MANIFEST = "manifest.json"
WEIGHTS = "compress.safetensors"
Kind = Literal["transformers", "onnx", "openvino"]
LIBRARIES = (
    "torch", "transformers", "safetensors", "onnxruntime", "onnxruntime-gpu", "openvino", "bitsandbytes", "torchao",
    "optimum-quanto",
)  # fmt: skip


@dataclass(frozen=True)
class Manifest:
    """What an artifact says about itself."""

    task: TaskName
    kind: Kind
    plain: bool
    """Whether plain `from_pretrained` loads it with the same outputs."""
    layers: dict[str, dict[str, Any]]
    """What every changed layer became."""
    packing: dict[str, Any]
    """How tensors become quantized layers (`layers`) and which share memory (`tied`)."""
    files: dict[str, str]
    """File -> sha256."""
    versions: dict[str, str]
    extra: dict[str, Any] = field(default_factory=dict)
    code_version: str = __version__
    schema: int = SCHEMA


def save(bundle: Bundle, path: Path, extra: Mapping[str, Any] | None = None) -> None:
    """Writes the bundle's model, processor and manifest as the folder `path`, replacing an artifact that is there.

    Raises InputError when `path` is something else, or cannot be written.
    """
    from safetensors import SafetensorError

    path = Path(path)
    _refuse_foreign(path)
    work = beside(path, "part")
    try:
        work.mkdir(parents=True)
        kind, plain, packing = _write_model(bundle, work)
        if bundle.processor is not None:
            bundle.processor.save_pretrained(work)
        manifest = Manifest(
            task=bundle.task,
            kind=kind,
            plain=plain,
            layers={name: dict(entry) for name, entry in bundle.layers.items()},
            packing=packing,
            files={str(f.relative_to(work).as_posix()): sha256(f) for f in sorted(work.rglob("*")) if f.is_file()},
            versions=_versions(),
            extra=dict(extra or {}),
        )
        (work / MANIFEST).write_text(_sealed(asdict(manifest)), encoding="utf-8")
        for file in manifest.files:
            (work / file).chmod(0o644)  # safetensors writes for the owner alone
        put_in_place(work, path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{path}: the artifact cannot be written ({reason}); free space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def load(path: Path, device: str = "cpu", trust_remote_code: bool = False) -> tuple[Any, Any, Manifest]:
    """Model (eval mode, on `device`), processor and manifest of an artifact, checked against its checksums first."""
    path = Path(path)
    manifest = verify(path)
    place = torch.device(device)
    _check_device(path, manifest, place)
    processor = None
    if any(name.startswith(("tokenizer", "preprocessor", "processor")) for name in manifest.files):
        processor = task_of(manifest.task).load_processor(str(path), trust_remote_code=trust_remote_code)
    return _read_model(path, manifest, place, trust_remote_code), processor, manifest


def verify(path: Path) -> Manifest:
    """The manifest of an artifact whose files are all as they were written.

    Raises InputError for a folder that is none, one made by a newer version, and a damaged one (naming the file).
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected an artifact, as `compress run --keep` writes it")
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path}: has no {MANIFEST}, so it is no artifact; load a plain model with transformers")
    manifest = _open_sealed(path / MANIFEST)
    for name, digest in manifest.files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{path / MANIFEST}: names a file outside the folder ({name})")
        file = path / name
        if not file.is_file():
            raise InputError(f"{file}: missing from the artifact; make it again")
        if sha256(file) != digest:
            raise InputError(f"{file}: damaged, its sha256 is not the manifest's; make the artifact again")
    return manifest


def sha256(file: Path) -> str:
    """The sha256 of a file in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_model(bundle: Bundle, folder: Path) -> tuple[Kind, bool, dict[str, Any]]:
    """Kind, whether it is plain, and the packing, of the model just written into `folder`."""
    model = bundle.model
    if isinstance(model, GraphModel):
        for file in model.files():
            shutil.copyfile(file, folder / file.name)
        model.config.save_pretrained(folder)
        return model.kind, False, {}
    if is_plain(model, bundle.task, bundle.layers):
        model.save_pretrained(folder)
        return "transformers", True, {}
    from safetensors.torch import save_file

    found = contents(model, bundle.layers)
    save_file(found.tensors, folder / WEIGHTS, metadata={"format": "pt"})
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    if getattr(model, "generation_config", None) is not None:
        model.generation_config.save_pretrained(folder)
    return "transformers", False, {"layers": found.packing, "tied": found.tied}


def _read_model(path: Path, manifest: Manifest, device: torch.device, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig, GenerationConfig

    if manifest.plain:
        auto = auto_class(manifest.task)
        model = auto.from_pretrained(path, dtype="auto", trust_remote_code=trust_remote_code, local_files_only=True)
        return model.to(device).eval()
    config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code, local_files_only=True)
    if manifest.kind == "onnx":
        return OnnxModel(path / ONNX_FILE, config, place=_place(manifest, device)).opened().eval()
    if manifest.kind == "openvino":
        from compress.openvino_graph import FILE, OpenVinoModel

        return OpenVinoModel(path / FILE, config).eval()
    from safetensors.torch import load_file

    skeleton = empty_model(config, manifest.task, trust_remote_code)
    packing = manifest.packing
    found = Contents(load_file(path / WEIGHTS), packing["layers"], packing["tied"])
    model = fill(skeleton, manifest.layers, found, device)
    if "generation_config.json" in manifest.files:
        model.generation_config = GenerationConfig.from_pretrained(path)
    return model


def _check_device(path: Path, manifest: Manifest, device: torch.device) -> None:
    """Raises InputError when the artifact's format does not exist on the device."""
    if manifest.kind in GRAPHS:
        runtime = _runtime(manifest)
        able = [kind for kind, runtimes in PLAIN_RUNTIMES.items() if runtime in runtimes]
        if device.type not in able:
            raise InputError(f"{path}: a graph of {runtime}, which runs on {' and '.join(able)}; got device {device}")
    for entry in manifest.layers.values():
        if "backend" not in entry:
            continue
        pair = (entry["format"], entry["backend"])
        if not any((row.format, row.backend, row.device) == (*pair, device.type) for row in ROWS):
            raise InputError(
                f"{path}: {pair[0]} through {pair[1]} does not exist on {device.type}; quantize again for it"
            )
    if manifest.kind == "onnx":
        try:
            providers.check(_runtime(manifest), device.type)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


def _runtime(manifest: Manifest) -> str:
    """What executes an exported graph."""
    return str(manifest.extra.get("runtime", GRAPHS[manifest.kind][0]))


def _place(manifest: Manifest, device: torch.device) -> Place:
    """Where an ONNX graph is to be executed, as its manifest says."""
    shapes = manifest.extra.get("shapes")
    half = manifest.layers.get("", {}).get("dtype") == "fp16"
    known = None if shapes is None else Shapes(tuple(shapes["usual"]), tuple(shapes["most"]))
    return Place(_runtime(manifest), str(device), half, known)


def _refuse_foreign(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise InputError(f"{path}: is not a folder; expected a new folder, or an artifact to replace")
    if path.is_dir() and not (path / MANIFEST).is_file() and any(path.iterdir()):
        raise InputError(f"{path}: holds files but no {MANIFEST}; not overwritten, choose another folder")


def _sealed(plain: dict[str, Any]) -> str:
    """The manifest as JSON with its own checksum in it."""
    return json.dumps({**plain, "sha256": _seal(plain)}, indent=1, allow_nan=False)


def _seal(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _open_sealed(file: Path) -> Manifest:
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); make the artifact again") from None
    if not isinstance(plain, dict) or not isinstance(plain.get("schema"), int):
        raise InputError(f"{file}: not the manifest of an artifact")
    if plain["schema"] > SCHEMA:
        raise InputError(f"{file}: schema {plain['schema']}, this version reads up to {SCHEMA}; update compress")
    seal = plain.pop("sha256", None)
    if seal != _seal(plain) or set(plain) != {f.name for f in fields(Manifest)}:
        raise InputError(f"{file}: damaged, its sha256 is not its own; make the artifact again")
    return Manifest(**plain)


def _versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide how tensors are read."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
