"""Image classification: one image column, one class per example. Pixels are computed once, by the model's processor."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from compress.config import InputError
from compress.workloads import OperatingPoint, Workload
from compress.workloads.labels import label_ids, require_column
from compress.workloads.text_classification import class_problems, outcomes

if TYPE_CHECKING:
    import datasets

__all__ = ["auto_model", "check", "collate", "cost", "fixed", "load_processor", "outcomes", "prepare"]

auto_model = "AutoModelForImageClassification"


def load_processor(location: str, **options: Any) -> Any:
    """The image processor stored with the model, on PIL: the same pixels whether or not torchvision is installed."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(location, backend="pil", **options)


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: Workload) -> list[str]:
    """What is wrong with this model on these examples, one sentence each."""
    problems = class_problems(model)
    shape = list(np.shape(examples[0]["pixel_values"]))
    channels, size = getattr(model.config, "num_channels", None), getattr(model.config, "image_size", None)
    if channels is not None and shape[0] != channels:
        problems.append(f"takes {channels} channels, but its image processor gives {shape[0]}")
    if isinstance(size, int) and shape[1:] != [size, size]:
        problems.append(f"takes images of {size} x {size}, but its image processor gives {shape[1]} x {shape[2]}")
    return problems


def prepare(raw: "datasets.Dataset", processor: Any, workload: Workload, config: Any) -> "datasets.Dataset":
    """Columns pixel_values (float32 [channels, height, width]) and labels."""
    import datasets

    column = workload.dataset.image
    require_column(raw, column, "image")
    labels = label_ids(raw, workload.dataset.label, config)
    pixels = [_pixels(image, processor, column, row) for row, image in enumerate(raw[column])]
    features = datasets.Features(
        {"pixel_values": datasets.Array3D(pixels[0].shape, "float32"), "labels": datasets.Value("int64")}
    )
    return datasets.Dataset.from_dict({"pixel_values": pixels, "labels": labels}, features=features).with_format(
        "numpy"
    )


def _pixels(image: Any, processor: Any, column: str, row: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One image as the model's processor makes it: [channels, height, width]."""
    from PIL import Image

    if not isinstance(image, Image.Image):
        what = "null" if image is None else f"a {type(image).__name__}"
        raise InputError(f"image column {column!r}: row {row} is {what}; expected an image in every row")
    values = processor(images=image.convert("RGB"), return_tensors="np")["pixel_values"][0]
    return np.asarray(values, dtype=np.float32)


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, torch.Tensor]:
    """One batch: pixel_values [batch, channels, height, width] and labels [batch]."""
    pixels = np.stack([np.asarray(example["pixel_values"], dtype=np.float32) for example in examples])
    return {
        "pixel_values": torch.from_numpy(pixels),
        "labels": torch.tensor([int(example["labels"]) for example in examples]),
    }


def fixed(
    examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
) -> list[dict[str, torch.Tensor]]:
    """`count` batches of batch_size shuffled real images, without labels; starts over where there are fewer."""
    order = np.resize(np.random.default_rng(seed).permutation(len(examples)), count * point.batch_size).tolist()
    batches = [order[start : start + point.batch_size] for start in range(0, len(order), point.batch_size)]
    return [{"pixel_values": collate([examples[i] for i in batch], processor)["pixel_values"]} for batch in batches]


def cost(example: Mapping[str, Any]) -> int:
    """1: all images have the model's size."""
    return 1
