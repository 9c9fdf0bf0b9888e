"""Class ids of the pixels of annotations, as a model's configuration and its image processor number them."""

from typing import Any

import numpy as np

from compress.data.formats.annotations import Ids, decode
from compress.data.tasks.task import IGNORED

UNLABELLED = 255
"""Id of pixels without a class, unless the model's configuration names another."""


def unlabelled(config: Any) -> int:
    """Return the id of pixels without a class."""
    return int(getattr(config, "semantic_loss_ignore_index", UNLABELLED))


def read(value: Any, processor: Any, config: Any, column: str, place: str) -> Ids:
    """Return the model's class ids of all pixels [height, width]; `IGNORED` for those without a class.

    A processor with `do_reduce_labels` numbers classes from 1 in the data, where 0 has no class, as ADE20k does.
    """
    ids = decode(value, place)
    ignored = ids == unlabelled(config)
    if getattr(processor, "do_reduce_labels", False):
        ignored |= ids == 0
        ids = ids - 1
    return np.where(ignored, IGNORED, ids)


def beyond(ids: Ids, processor: Any, config: Any, column: str) -> str:
    """Return why ids are no classes of the model; empty if all are."""
    first = int(getattr(processor, "do_reduce_labels", False))
    wrong = np.unique(ids[(ids != IGNORED) & ((ids < 0) | (ids >= config.num_labels))]) + first
    if not len(wrong):
        return ""
    named = ", ".join(map(str, wrong[:4].tolist())) + (" ..." if len(wrong) > 4 else "")
    return (
        f"label column {column!r} has the ids {named}; expected those of the model's {config.num_labels} classes, "
        f"{first} to {config.num_labels - 1 + first}, or {unlabelled(config)} for pixels without a class"
    )


def note(processor: Any, config: Any) -> str:
    """Return what becomes of ids, for readers of results."""
    none = unlabelled(config)
    if getattr(processor, "do_reduce_labels", False):
        return f"ids of annotations count from 1 (do_reduce_labels); pixels with 0 or {none} are not judged"
    return f"pixels with the id {none} are not judged"


def resized(ids: Ids, size: tuple[int, int]) -> Ids:
    """Return the ids of the nearest pixels, [height, width] of this size."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, ids.shape, strict=True)
    )
    nearest: Ids = ids[rows[:, None], columns[None, :]]
    return nearest
