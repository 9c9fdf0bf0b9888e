"""Checks of a saved model's folder, by its file names, its config.json and the headers of its weights.

files      regular files of bounded size
folder     the kind of folder, and a better choice for a wrong one
settings   types and bounds of config.json
weights    names, shapes, dtypes and byte ranges in safetensors headers
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
    """Return why a folder's files cannot be read or its config.json describes no model, one sentence each."""
    if errors := files.problems(path):
        return errors
    config, errors = settings.read(path)
    return errors if config is None else [*errors, *settings.problems(config)]


def problems(path: Path) -> list[str]:
    """Return why a folder's model cannot be loaded, one sentence each."""
    if errors := folder.problems(path):
        return errors
    config, errors = settings.read(path)
    if config is None:
        return errors
    tensors, weight_errors = weights.stored(path)
    return [*errors, *settings.problems(config, tensors), *weight_errors]
