"""The manifest of an artifact: its fields and their types, the files it lists, and its checksum. Without torch.

    manifest.json   sealed: its own sha256 over all its other fields
      files         every file of the folder -> sha256; only files that nothing loads (BESIDE) may be unlisted

An artifact may come from anybody, so every field is untrusted data. Names and links that point outside the folder,
pickles and unlisted files are refused before any of them is opened.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from compress.base.config import InputError
from compress.base.reading import content, resolved
from compress.base.version import __version__
from compress.data.tasks.name import TaskName
from compress.spec.formats import GRAPHS, Backend, Format, Runtime

SCHEMA = 1
MANIFEST = "manifest.json"
INTEGERS = "integers"
"""Folder of the same model as an artifact of integers, beside a graph that a runtime reads."""
MOST_BYTES = 64_000_000
CONFIG = "config.json"
BESIDE = ("README.md", "LICENSE", ".gitattributes", ".git", ".cache")
"""Names that may be in the folder unlisted: the card, and files of the hub and its client. Nothing loads them."""
PICKLES = (".bin", ".ckpt", ".h5", ".msgpack", ".pickle", ".pkl", ".pt", ".pth")
"""Suffixes of formats that run code when opened, or that no artifact contains."""
RAW = "model.bin"
"""The one exception: OpenVINO's raw weights."""
FILES: dict[tuple[str, bool], tuple[tuple[str, ...], ...]] = {
    ("transformers", True): (("model.safetensors", "model.safetensors.index.json"),),
    ("transformers", False): (("compress.safetensors",),),
    ("onnx", False): (("model.onnx",),),
    ("openvino", False): (("model.xml",), (RAW,)),
    ("gguf", False): (("model.gguf",),),
    ("genai", False): (("model.onnx",), ("genai_config.json",)),
}
"""(kind, plain) -> the required files, each as alternatives."""

Kind = Literal["transformers", "onnx", "openvino", "gguf", "genai"]
Sizes = list[Annotated[int, Field(ge=0)]]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
LOOSE = ConfigDict(extra="allow", strict=True)


@with_config(LOOSE)
class Entry(TypedDict, total=False):
    """The fields of one layer's entry that rebuilding uses; steps record further settings with them."""

    format: Format
    backend: Backend
    kind: Literal["lowrank"]
    dtype: str
    runtime: str
    rank: Annotated[int, Field(ge=1)]
    borrows: str
    sparsity: float | None
    shape: Sizes | None
    parameters: dict[str, Sizes]
    attributes: dict[str, bool | int | float | None]


@with_config(ConfigDict(strict=True))
class Packing(TypedDict, total=False):
    """Metadata to unpack quantized layers, parameters that share memory, and names that are one module."""

    layers: dict[str, dict[str, Any]]
    tied: dict[str, str]
    same: dict[str, str]


@with_config(ConfigDict(strict=True))
class Shapes(TypedDict):
    """Batches that a TensorRT engine accepts."""

    usual: list[int | None]
    most: list[int | None]


@with_config(ConfigDict(strict=True))
class TensorInfo(TypedDict):
    """An input or output of a graph."""

    name: str
    type: str
    """As numpy names it: int64, float32."""
    shape: list[Annotated[int, Field(ge=0)] | str]
    """Variable dimensions are names: `batch`, `sequence`."""


@with_config(ConfigDict(strict=True))
class Signature(TypedDict):
    """All inputs and outputs of a graph, in its order."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]


@with_config(LOOSE)
class Extra(TypedDict, total=False):
    """How to execute the model (a graph with its signature), and the cost of making it."""

    fingerprint: str
    runtime: Runtime
    attention: str
    kv_cache: str
    padded_to: Annotated[int, Field(ge=1)] | None
    shapes: Shapes | None
    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    transform: dict[str, Any]
    notes: list[str]
    parameters: int | None
    nonzero: int | None


@dataclass(frozen=True)
class Manifest:
    """The content of an artifact's manifest."""

    task: TaskName
    kind: Kind
    plain: bool
    """Whether plain `from_pretrained` loads it with the same outputs."""
    layers: dict[str, dict[str, Any]]
    """Entry of every changed layer."""
    packing: dict[str, Any]
    """Tensors of quantized layers (`layers`), shared memory (`tied`) and names of one module (`same`)."""
    files: dict[str, str]
    """File -> sha256."""
    versions: dict[str, str]
    extra: dict[str, Any] = field(default_factory=dict)
    code_version: str = __version__
    schema: int = SCHEMA


@with_config(ConfigDict(strict=True, extra="forbid"))
class Fields(TypedDict):
    """The types of a manifest's fields, including nested ones."""

    task: TaskName
    kind: Kind
    plain: bool
    layers: dict[str, Entry]
    packing: Packing
    files: dict[str, Digest]
    versions: dict[str, str]
    extra: Extra
    code_version: str
    schema: int


def verify(path: Path) -> Manifest:
    """Return the manifest of an artifact after checking that all its files are unchanged.

    Raises InputError for a folder without an artifact and for one of a newer version. It also raises, naming the file,
    if files are damaged, unlisted or outside the folder.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected an artifact, as `compress run --keep` writes it")
    if not (path / MANIFEST).is_file():
        raise InputError(f"{path}: is not an artifact, it has no {MANIFEST}; load a plain model with transformers")
    manifest = read(path)
    problems = [*file_problems(path, manifest.files), *_required_problems(path, manifest)]
    problems = problems or unlisted(path, manifest)
    if problems:
        raise InputError(problems)
    return manifest


def read(path: Path) -> Manifest:
    """Return the manifest in an artifact's folder, with its seal and field types checked, but not its files."""
    file = path / MANIFEST
    try:
        plain = json.loads(content(file, "manifest", MOST_BYTES))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read ({error}); make the artifact again") from None
    if not isinstance(plain, dict) or type(plain.get("schema")) is not int:
        raise InputError(f"{file}: not the manifest of an artifact")
    if plain["schema"] > SCHEMA:
        raise InputError(f"{file}: schema {plain['schema']}, this version reads up to {SCHEMA}; update compress")
    stated = plain.pop("sha256", None)
    if stated != seal(plain) or set(plain) != {f.name for f in fields(Manifest)}:
        raise InputError(f"{file}: damaged, its content does not match its sha256; make the artifact again")
    try:
        _types().validate_python(plain)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{file}: {where}: {first['msg']}, got {first['input']!r:.80}; make the artifact again"
        ) from None
    return Manifest(**plain)


def sealed(plain: dict[str, Any]) -> str:
    """Return the manifest as JSON including its own checksum."""
    return json.dumps({**plain, "sha256": seal(plain)}, indent=1, allow_nan=False)


def seal(plain: dict[str, Any]) -> str:
    """Return the checksum of a manifest's fields."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sha256(file: Path) -> str:
    """Return the sha256 of a file in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def unlisted(path: Path, manifest: Manifest) -> list[str]:
    """Return a sentence for every file of the folder that the manifest does not list."""
    names = (name for name in beside_manifest(path) if name not in manifest.files)
    return [
        f"{path / name}: not in the artifact's {MANIFEST}; remove it, or keep it in another folder" for name in names
    ]


def beside_manifest(path: Path) -> list[str]:
    """Return names of a folder's files, links included, without its manifest and what nothing loads (`BESIDE`)."""
    paths = (p.relative_to(path) for p in sorted(path.rglob("*")) if not p.is_dir() or p.is_symlink())
    return [name.as_posix() for name in paths if name.parts[0] not in BESIDE and name.as_posix() != MANIFEST]


@cache
def _types() -> TypeAdapter[Any]:
    return TypeAdapter(Fields)


def file_problems(path: Path, files: Mapping[str, str]) -> list[str]:
    """Return a sentence for every listed file that is missing, damaged, outside the folder, or of no artifact."""
    return _name_problems(path, files) or [problem for name in files if (problem := _damage(path, name, files[name]))]


def _name_problems(path: Path, files: Mapping[str, str]) -> list[str]:
    problems = []
    for name in files:
        place = PurePosixPath(name)
        if place.is_absolute() or ".." in place.parts or "\\" in name:
            problems.append(f"{path / MANIFEST}: names a file outside the folder ({name})")
        elif name in (".", "", MANIFEST) or name != place.as_posix() or not name.isprintable():
            problems.append(f"{path / MANIFEST}: names {name!r}, which is not a file of an artifact")
        elif (place.suffix in PICKLES and name != RAW) or place.name.startswith("adapter_"):
            problems.append(f"{path / name}: artifacts hold safetensors and graphs only; make the artifact again")
    return problems


def _damage(path: Path, name: str, digest: str) -> str | None:
    file = path / name
    if not file.is_file():
        return f"{file}: missing from the artifact; make it again"
    if not _inside(file, path):
        return f"{file}: a link to a file outside the artifact; copy that file here, or make it again"
    damaged = sha256(file) != digest
    return f"{file}: damaged, its sha256 is not the manifest's; make the artifact again" if damaged else None


def _required_problems(path: Path, manifest: Manifest) -> list[str]:
    """Return problems with files that a model of this kind requires, and with its runtime."""
    place = path / MANIFEST
    required = FILES.get((manifest.kind, manifest.plain))
    if required is None:
        return [f"{place}: a plain artifact of kind {manifest.kind} does not exist; make the artifact again"]
    problems = [
        f"{place}: lists no {' or '.join(names)}; make the artifact again"
        for names in ((CONFIG,), *required)
        if not manifest.files.keys() & set(names)
    ]
    if manifest.kind != "openvino" and RAW in manifest.files:
        problems.append(f"{path / RAW}: artifacts hold safetensors and graphs only; make the artifact again")
    runtime, able = manifest.extra.get("runtime"), GRAPHS.get(manifest.kind, ("eager", "compile"))
    if runtime is not None and runtime not in able:
        problems.append(f"{place}: runtime {runtime} does not execute a model of kind {manifest.kind}; expected "
                        f"{' or '.join(able)}")  # fmt: skip
    return problems


def _inside(file: Path, folder: Path) -> bool:
    """Return whether a file resolves into the folder, or into the hub cache's blobs for a snapshot."""
    place, home = resolved(file), resolved(folder)
    blobs = home.parents[1] / "blobs" if home.parent.name == "snapshots" else None
    return place.is_relative_to(home) or (blobs is not None and place.parent == blobs)
