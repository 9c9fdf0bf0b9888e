"""Language models on disk that are made smaller as a whole and layer by layer, to be compared."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from compress.data import locate
from compress.data.source import Source
from compress.data.workload import Workload
from compress.energy.meters import Absent
from compress.harness import transform
from compress.spec.recipe import Recipe
from tests.helpers import FILLER, GOOD, assets, tokenizer

CPU = torch.device("cpu")


def text(words: int, seed: int) -> str:
    """Return made-up text of the words that the made tokenizer knows."""
    draw = torch.Generator().manual_seed(seed)
    known = (*FILLER, *GOOD)
    return " ".join(known[int(i)] for i in torch.randint(len(known), (words,), generator=draw))


def source(folder: Path, model: Any, length: int = 16) -> Source:
    """Save a model with the made tokenizer and text below a folder, and return the workload."""
    model.save_pretrained(folder / "model")
    tokenizer().save_pretrained(folder / "model")
    return located(folder, str(folder / "model"), {"train": text(400, 1), "test": text(60, 2)}, length)


def stories(folder: Path, length: int = 64) -> Source:
    """Return the small real Llama on stories."""
    whole = assets("data", "tinystories", "niklas6_tinystories.txt").read_text(encoding="utf-8")
    splits = {"train": whole[:20_000], "test": whole[20_000:24_000]}
    return located(folder, str(assets("models", "stories260K")), splits, length)


def located(folder: Path, model: str, splits: Mapping[str, str], length: int) -> Source:
    """Write the texts of the splits, and return the workload of them and a model."""
    data = folder / "data"
    data.mkdir(parents=True)
    for name, content in splits.items():
        (data / f"{name}.txt").write_text(content, encoding="utf-8")
    fields = {"path": str(data), "train": "train.txt", "test": "test.txt", "text": "text"}
    plain = {"name": "little", "task": "causal-lm", "model": model, "dataset": fields, "max_length": length}
    return locate.resolve(Workload.model_validate(plain))


def recipe(steps: Sequence[Mapping[str, Any]], memory: str, **fields: Any) -> Recipe:
    """Return a recipe of these steps, made as a whole or layer by layer."""
    return Recipe.model_validate({"name": "little", "steps": steps, "memory": memory, "runtime": "eager", **fields})


def made(folder: Path, source: Source, steps: Sequence[Mapping[str, Any]], memory: str, **fields: Any) -> Path:
    """Make an artifact by a recipe with these further fields, and return its folder."""
    place = folder / memory
    meter = Absent("not metered")
    transform.build(
        recipe(steps, memory, **fields), source, CPU, place, folder / f"work-{memory}", meter, "fingerprint"
    )
    return place


def tensors(artifact: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of an artifact."""
    (file,) = artifact.glob("*.safetensors")
    return load_file(file)


def manifest(artifact: Path) -> dict[str, Any]:
    """Return the manifest of an artifact."""
    found: dict[str, Any] = json.loads((artifact / "manifest.json").read_text())
    return found


def different(one: Path, other: Path) -> list[str]:
    """Return names of the tensors that differ between two artifacts in type, shape or any value."""
    left, right = tensors(one), tensors(other)
    both = left.keys() & right.keys()
    unequal = [n for n in both if left[n].dtype != right[n].dtype or not torch.equal(left[n], right[n])]
    return sorted([*unequal, *(left.keys() ^ right.keys())])
