"""Shipped recipes: `from recipes import bert_int8` loads `bert_int8.yaml` as a `compress.Recipe`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.spec.recipe import Recipe

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def path(name: str) -> Path | None:
    """The file of a shipped recipe, or None."""
    file = FOLDER / f"{name}.yaml"
    return file if file.is_file() else None


def __getattr__(name: str) -> "Recipe":
    file = None if name.startswith("_") else path(name)
    if file is None:
        raise AttributeError(f"no shipped recipe {name!r}; there are {', '.join(names())}")
    from compress.spec.recipe import Recipe

    return Recipe.load(file)


def __dir__() -> list[str]:
    return names()
