"""Results named by their recipe: what commands accept in place of a file's path."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import recipes as shipped
from compress.base.config import NAME, InputError, did_you_mean
from compress.base.reading import exists, is_folder
from compress.records.files import named

RESULTS = Path("results")
MOST_NAMES = 12
"""Most names that an error lists."""
OWN = re.compile(r"(?P<recipe>.+?)-[a-z]+-[0-9a-f]{8}(?P<limit>-limit[0-9]+)?\.json")
"""Name of a result's file: recipe, machine id, limit."""


def found(word: Path, folder: Path = RESULTS) -> Path:
    """Return the path of a result that is named by its path, or by its recipe if `folder` has one result of it.

    A result of all examples is preferred to limited ones. A path that leads nowhere is returned as it is, and so is a
    folder, unless it holds no result and its name is a recipe's that has one. Raises InputError if several results, or
    none, have the name.
    """
    if len(word.parts) > 1 or word.suffix == ".json" or not folder.is_dir():
        return word
    is_place = os.path.lexists(word)
    if is_place and (not is_folder(word) or named([word])):
        return word
    recipes: dict[str, list[Path]] = {}
    whole: list[Path] = []
    for path in named([folder]):
        if match := OWN.fullmatch(path.name):
            recipes.setdefault(match["recipe"], []).append(path)
            whole += [] if match["limit"] else [path]
    files = recipes.get(str(word), [])
    if is_place and not files:
        return word
    for candidates in (files, [path for path in files if path in whole]):
        if len(candidates) == 1:
            return candidates[0]
    if files:
        raise InputError(f"{word}: {len(files)} results have this name; expected the file of one: {_listed(files)}")
    raise InputError(f"{word}: no such file, and no result of this recipe in {folder}{_way_out(str(word), recipes)}")


def _way_out(name: str, recipes: Iterable[str]) -> str:
    """Return the command for a recipe that has no result yet, else the closest name with a result, or all names."""
    if NAME.fullmatch(name) and shipped.path(name) is not None:
        return f"; first run it: python -m compress run {name}"
    if exists(file := Path(f"{name}.yaml")):
        return f"; first run it: python -m compress run {file}"
    known = sorted(recipes)
    listed = f"; expected {'one of ' * (len(known) > 1)}{', '.join(known[:MOST_NAMES])}" if known else ""
    return did_you_mean(name, known) or f"{listed}{' ...' * (len(known) > MOST_NAMES)}"


def _listed(files: Iterable[Path]) -> str:
    return ", ".join(map(str, files))
