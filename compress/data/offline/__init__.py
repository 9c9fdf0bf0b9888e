"""Offline workloads, built from parts of every Python installation: the first command works without a network.

    stdlib-bert    a BERT that finds the keyword hidden in a piece of source
    digits-vit     a ViT on scikit-learn's handwritten digits
    stdlib-llama   a Llama language model on the standard library's source
    stdlib-ner     a BERT that finds names in functions, and where each is bound
    stdlib-search  a BERT sentence encoder that finds the second half of a function by its first

Each is trained once from a seed and cached as a model folder and a data folder:

    <cache>/stdlib-bert-<fingerprint>/{model/, data/train.parquet, data/test.parquet}

The fingerprint covers the Python version, the data, the settings and the source of the workload's modules. A folder
appears by one atomic rename. A lock makes a second process wait instead of training again.
"""

import importlib
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from compress.base.config import InputError, digest
from compress.base.files import cache_folder
from compress.base.reading import expanded as expanded
from compress.base.source_code import code_digest
from compress.data.cached import made_once
from compress.records import pace
from compress.records.pace import Past


@dataclass(frozen=True)
class Offline:
    """An offline workload: the module that builds it, and the modules that its fingerprint covers."""

    module: str
    """Has SETTINGS, data_digest() and build(folder, settings); imports torch only inside build."""
    sources: tuple[str, ...]
    """Without .py, relative to data/offline."""
    tables: tuple[str, ...] = ("train", "test")


COMMON = ("parts", "train")
OFFLINE: dict[str, Offline] = {
    "stdlib-bert": Offline("bert", ("bert", "text", *COMMON)),
    "digits-vit": Offline("vit", ("vit", *COMMON)),
    "stdlib-llama": Offline("llama", ("llama", "text", *COMMON)),
    "stdlib-ner": Offline("ner", ("ner", "bindings", "scopes", "bert", "text", *COMMON)),
    "stdlib-search": Offline(
        "search",
        ("search", "bindings", "scopes", "bert", "text", *COMMON, "../sentences/encoder", "../sentences/pooling"),
        ("train", "test", "corpus", "qrels"),
    ),
}


def names() -> list[str]:
    """Return the names of the offline workloads."""
    return sorted(OFFLINE)


def ensure(name: str, settings: Any = None) -> Path:
    """Return the folder of an offline workload, built now if missing. `settings` replaces the module's own."""
    if name not in OFFLINE:
        raise InputError(f"offline:{name}: unknown offline workload; there are {', '.join(names())}")
    module = module_of(name)
    settings = settings or module.SETTINGS
    target = cache_folder() / f"{name}-{fingerprint(name, settings)}"

    def build(folder: Path) -> None:
        start = time.monotonic()
        (folder / "data").mkdir()
        module.build(folder, settings)
        pace.note(Past("workload", name, 1, time.monotonic() - start))

    return made_once(target, f"offline:{name}", partial(is_complete, tables=OFFLINE[name].tables), build)


def is_made(name: str) -> bool:
    """Return whether an offline workload is in the cache."""
    return is_complete(cache_folder() / f"{name}-{fingerprint(name)}", OFFLINE[name].tables)


def fingerprint(name: str, settings: Any = None) -> str:
    """Return 16 hex digits of the Python version, the data, the settings and the source of the workload's modules."""
    module = module_of(name)
    sources = code_digest(tuple(f"data/offline/{source}.py" for source in OFFLINE[name].sources))
    return digest([platform.python_version(), module.data_digest(), repr(settings or module.SETTINGS), sources])


def is_complete(folder: Path, tables: Sequence[str] = ("train", "test")) -> bool:
    """Return whether the folder holds a model and its tables."""
    needed = ("model/config.json", "model/model.safetensors", *(f"data/{table}.parquet" for table in tables))
    return all((folder / file).is_file() for file in needed)


def module_of(name: str) -> Any:
    """Return the module that builds an offline workload."""
    return importlib.import_module(f"compress.data.offline.{OFFLINE[name].module}")
