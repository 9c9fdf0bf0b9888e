"""What tasks of whole pictures share: pixels of one size, and the parts of a picture that a model sees."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.data.point import OperatingPoint

if TYPE_CHECKING:
    import datasets
    import torch

Collate = Callable[[Sequence[Mapping[str, Any]], Any], "dict[str, torch.Tensor]"]
WRITE_SIZE = 'write one size to its preprocessor_config.json, such as "size": {"height": 512, "width": 512}'


def size_of(processor: Any) -> tuple[int, int] | None:
    """Return height and width to which an image processor resizes every picture; None if they differ by picture."""
    size = getattr(processor, "size", None) or {}
    read = size.get if isinstance(size, Mapping) else lambda name: getattr(size, name, None)
    height, width = read("height"), read("width")
    resizes = getattr(processor, "do_resize", True)
    return (int(height), int(width)) if resizes and height and width else None


def part_problems(processor: Any) -> list[str]:
    """Return why a model does not see whole pictures of one size, one sentence each."""
    if getattr(processor, "do_center_crop", None):
        return ["its image processor crops pictures (do_center_crop), and all of a picture is judged; set it to false"]
    if size_of(processor) is None:
        return [f"its image processor gives pictures of different sizes; {WRITE_SIZE}"]
    return []


def fixed(
    collate: Collate, examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
) -> "list[dict[str, torch.Tensor]]":
    """Return `count` batches of batch_size shuffled real pictures without labels, repeated if there are fewer."""
    order = np.resize(np.random.default_rng(seed).permutation(len(examples)), count * point.batch_size).tolist()
    batches = [order[start : start + point.batch_size] for start in range(0, len(order), point.batch_size)]
    return [
        {name: value for name, value in collate([examples[i] for i in batch], processor).items() if name != "labels"}
        for batch in batches
    ]
