"""Artifacts that somebody else wrote, or tampered with: sealed anew, and refused with one sentence all the same."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from compress.base.config import InputError
from compress.methods import apply_step
from compress.model import artifact, manifest
from compress.model.manifest import sealed, sha256
from compress.spec.steps import LowRank, Prune, Quantize
from tests import made_models
from tests.made_models import bundle

Change = Callable[[Path, dict[str, Any]], object]
NF4 = Quantize(bits=4, format="nf4", group_size=32)
STEPS: dict[str, tuple[Any, ...]] = {
    "plain": (),
    "lowrank": (LowRank(rank=8),),
    "nf4": (NF4,),
    "grouped": (Quantize(bits=3, group_size=32),),
    "heads": (Prune(structure="heads", fraction=0.5),),
}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of every form, of one small BERT."""
    home = tmp_path_factory.mktemp("saved")
    for name, steps in STEPS.items():
        one = bundle(made_models.bert())
        for step in steps:
            one = apply_step(one, step)
        artifact.save(one, home / name, {"runtime": "eager"})
    return home


def tampered_copy(artifacts: Path, form: str, folder: Path, change: Change) -> Path:
    """A copy of an artifact with a change in files and manifest, its checksums made anew as an attacker would."""
    shutil.copytree(artifacts / form, folder)
    plain = json.loads((folder / "manifest.json").read_text())
    plain.pop("sha256")
    change(folder, plain)
    for name in plain["files"]:
        if isinstance(plain["files"], dict) and (folder / name).is_file():
            plain["files"][name] = sha256(folder / name)
    (folder / "manifest.json").write_text(sealed(plain))
    return folder


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """A change of the tensors in the file of weights."""

    def apply(folder: Path, _: dict[str, Any]) -> None:
        (file,) = folder.glob("*.safetensors")
        found = load_file(file)
        change(found)
        save_file({name: tensor.contiguous() for name, tensor in found.items()}, file, metadata={"format": "pt"})

    return apply


def config(**fields: Any) -> Change:
    def apply(folder: Path, _: dict[str, Any]) -> None:
        plain = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**plain, **fields}))

    return apply


def field(path: str, value: Any) -> Change:
    """A field of the manifest, by its dotted path with `/` between names."""

    def apply(_: Path, plain: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for name in parents:
            plain = plain[name]
        plain[last] = value

    return apply


def add_file(name: str, listed: bool) -> Change:
    def apply(folder: Path, plain: dict[str, Any]) -> None:
        (folder / name).write_bytes(b"{}")
        if listed:
            plain["files"][name] = ""

    return apply


def link_file(name: str) -> Change:
    """A file of the artifact replaced by a link to the same bytes outside of it."""

    def apply(folder: Path, _: dict[str, Any]) -> None:
        outside = folder.parent / "outside"
        (folder / name).rename(outside)
        (folder / name).symlink_to(outside)

    return apply


QUERY = "bert.encoder.layer.0.attention.self.query"
BAD: dict[str, tuple[str, Change, str]] = {
    "plain lacks a tensor": ("plain", tensors(lambda t: t.pop("classifier.weight")), r"lacks classifier\.weight"),
    "plain holds one too many": ("plain", tensors(lambda t: t.update(x=torch.ones(1))), "holds x, which the model"),
    "plain of another shape": (
        "plain", tensors(lambda t: t.update({"classifier.weight": torch.ones(3, 32)})), "cannot be loaded",
    ),
    "lowrank lacks a tensor": (
        "lowrank", tensors(lambda t: t.pop("bert.encoder.layer.1.output.dense.first.weight")), r"lacks .*dense\.first",
    ),
    "lowrank lacks a bias": ("lowrank", tensors(lambda t: t.pop(f"{QUERY}.second.bias")), r"lacks .*second\.bias"),
    "lowrank of another rank": (
        "lowrank", tensors(lambda t: t.update({f"{QUERY}.first.weight": torch.ones(9, 32)})), r"\[9, 32\] instead of",
    ),
    "norm of one number": (
        "lowrank", tensors(lambda t: t.update({"bert.embeddings.LayerNorm.weight": torch.ones(1)})), r"\[1\] instead",
    ),
    "heads lack a tensor": ("heads", tensors(lambda t: t.pop(f"{QUERY}.bias")), r"lacks .*query\.bias"),
    "heads of another shape": (
        "heads", tensors(lambda t: t.update({f"{QUERY}.bias": torch.ones(1)})), r"query\.bias \[1\] instead of \[16\]",
    ),
    "nf4 lacks a layer": (
        "nf4", tensors(lambda t: [t.pop(k) for k in list(t) if k.startswith(QUERY)]), r"lacks .*self\.query",
    ),
    "nf4 lacks a scale": ("nf4", tensors(lambda t: t.pop(f"{QUERY}.scale")), r"lacks .*query\.scale"),
    "nf4 with fewer scales": ("nf4", tensors(lambda t: t.update({f"{QUERY}.scale": torch.ones(3)})), r"query.*scale"),
    "nf4 with fewer weights": (
        "nf4", tensors(lambda t: t.update({f"{QUERY}.weight": torch.ones(8, 1, dtype=torch.uint8)})), r"query.*weight",
    ),
    "grouped with another scale": (
        "grouped", tensors(lambda t: t.update({f"{QUERY}.scale": torch.ones(5, 1)})), r"query.*scale",
    ),
    "grouped with a short bias": (
        "grouped", tensors(lambda t: t.update({f"{QUERY}.bias": torch.ones(1)})), r"query.*bias",
    ),
    "grouped of other bits": ("grouped", field(f"packing/layers/{QUERY}/bits", 8), r"query.*\[32, 12\] instead of"),
    "packing of no layer": ("nf4", field("packing/layers/x.y", {}), r"changes x\.y, which the model does not have"),
    "layer of no model": ("lowrank", field("layers/x.y", {"kind": "lowrank", "rank": 8}), r"changes x\.y"),
    "tied to nothing": ("lowrank", field("packing/tied/classifier.bias", "x"), r"lacks classifier\.bias"),
    "attribute of no layer": ("heads", field(f"layers/{QUERY}/attributes", {"forward": 1}), r"query\.forward"),
    "unlisted file": ("plain", add_file("tokenizer_extra.json", listed=False), "not in the artifact's manifest"),
    "unlisted adapter": ("plain", add_file("adapter_config.json", listed=False), "not in the artifact's manifest"),
    "listed adapter": ("plain", add_file("adapter_config.json", listed=True), "safetensors and graphs only"),
    "listed pickle": ("plain", add_file("pytorch_model.bin", listed=True), "safetensors and graphs only"),
    "no weights listed": ("plain", lambda _, p: p["files"].pop("model.safetensors"), r"lists no model\.safetensors"),
    "no config listed": ("plain", lambda _, p: p["files"].pop("config.json"), r"lists no config\.json"),
    "a link out of the folder": ("plain", link_file("model.safetensors"), "a link to a file outside"),
    "unknown runtime": ("plain", field("extra/runtime", "evil"), r"extra\.runtime: Input should be"),
    "runtime of another kind": ("plain", field("extra/runtime", "openvino"), "openvino does not execute"),
    "kind of another plain": ("plain", field("kind", "onnx"), "does not exist"),
    "unknown task": ("plain", field("task", "x"), "task: Value error, unknown task"),
    "plain is text": ("plain", field("plain", "yes"), "plain: Input should be"),
    "layers is a list": ("plain", field("layers", []), "layers: Input should be"),
    "rank is text": ("lowrank", field(f"layers/{QUERY}/rank", "8"), r"rank: Input should be"),
    "packing is text": ("nf4", field("packing/layers", "x"), r"packing\.layers: Input should be"),
    "files is a list": ("plain", field("files", ["config.json"]), "files: Input should be"),
    "digest is a number": ("plain", field("files/x", 3), r"files\.x: Input should be"),
    "padding is text": ("plain", field("extra/padded_to", "x"), r"extra\.padded_to: Input should be"),
    "versions is null": ("plain", field("versions", None), "versions: Input should be"),
    "config of text": ("lowrank", config(hidden_size="x"), "cannot be loaded"),
    "config of another model": ("plain", config(model_type="nothing"), "cannot be loaded"),
    "config with code": (
        "lowrank", config(model_type="mine", auto_map={"AutoConfig": "evil.Evil"}), "cannot be loaded",
    ),
    "config is a list": ("lowrank", lambda folder, _: (folder / "config.json").write_text("[]"), "cannot be loaded"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_tampered_artifact_is_refused_before_it_is_used(case: str, artifacts: Path, tmp_path: Path) -> None:
    form, change, message = BAD[case]
    folder = tampered_copy(artifacts, form, tmp_path / "a", change)
    with pytest.raises(InputError, match=message) as refused:
        artifact.load(folder)
    assert all(str(tmp_path) in problem and "\n" not in problem for problem in refused.value.problems)


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../x", "a/../../x", "a\\b", "a\x00b", "a\nb", "", ".", "manifest.json"]
)
def test_names_that_are_no_files_of_the_folder_are_refused(name: str, artifacts: Path, tmp_path: Path) -> None:
    def change(_: Path, plain: dict[str, Any]) -> None:
        plain["files"][name] = "0" * 64

    with pytest.raises(InputError, match=r"manifest\.json: names"):
        artifact.load(tampered_copy(artifacts, "plain", tmp_path / "a", change))


def test_untouched_artifacts_still_load_with_a_card_and_from_the_cache_of_the_hub(
    artifacts: Path, tmp_path: Path
) -> None:
    for form in STEPS:
        (artifacts / form / "README.md").write_text("# card")
        artifact.load(artifacts / form)
        (artifacts / form / "README.md").unlink()
    snapshot, blobs = tmp_path / "models--u--n" / "snapshots" / "abc", tmp_path / "models--u--n" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in (artifacts / "nf4").iterdir():
        shutil.copy(file, blobs / sha256(file))
        (snapshot / file.name).symlink_to(os.path.relpath(blobs / sha256(file), snapshot))
    artifact.load(snapshot)


def test_shards_are_files_of_the_manifest(artifacts: Path, tmp_path: Path) -> None:
    def change(folder: Path, plain: dict[str, Any]) -> None:
        (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
        plain["files"].pop("model.safetensors")
        names = load_file(folder.parent / "model.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(names, "../model.safetensors")}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        plain["files"]["model.safetensors.index.json"] = ""

    with pytest.raises(InputError, match=r"index\.json: names \.\./model\.safetensors, not in the manifest"):
        artifact.load(tampered_copy(artifacts, "plain", tmp_path / "a", change))


def test_a_manifest_that_is_a_fifo_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_text("{}" + " " * 100)
    monkeypatch.setattr(manifest, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="102 bytes; a manifest has at most 100"):
        manifest.read(tmp_path)
    (tmp_path / "manifest.json").unlink()
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(InputError, match="is a fifo; expected a manifest file"):
        manifest.read(tmp_path)
