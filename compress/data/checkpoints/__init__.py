"""What a folder of a saved model holds, by its names, its config.json and the headers of its weights.

files      regular files of bounded size
folder     which kind of folder it is, and which one to take instead
settings   types and bounds of config.json
weights    names, shapes and dtypes in safetensors headers, and how they cover their files
fit        the weights' names and shapes against the empty model
"""

from pathlib import Path

from compress.data.checkpoints import files, folder, settings, weights
from compress.data.checkpoints.weights import Stored, renames, stored

__all__ = ["Stored", "base_of", "config_of", "config_problems", "is_adapter", "notes", "problems", "renames", "stored"]

config_of = settings.read
notes = folder.notes
base_of = folder.base_of
is_adapter = folder.is_adapter


def config_problems(path: Path) -> list[str]:
    """Return why a folder's config.json describes no model, or its files cannot be read, one sentence each."""
    if found := files.problems(path):
        return found
    config, found = settings.read(path)
    return found if config is None else [*found, *settings.problems(config)]


def problems(path: Path) -> list[str]:
    """Return why a folder holds no model that can be loaded, one sentence each."""
    if found := folder.problems(path):
        return found
    config, found = settings.read(path)
    if config is None:
        return found
    held, of_weights = weights.stored(path)
    return [*found, *settings.problems(config, held), *of_weights]
