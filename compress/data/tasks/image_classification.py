"""Image classification: one image column, one class per example. The model's processor computes pixels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.base.config import InputError
from compress.data.formats import images
from compress.data.point import OperatingPoint
from compress.data.tasks import classes
from compress.data.tasks import labels as class_labels
from compress.data.tasks.columns import IMAGE, LABEL
from compress.data.tasks.labels import require_column
from compress.data.tasks.task import Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

MADE_UP = (3, 96, 96, 3)
"""Shape of noise pictures: count, height, width, channels."""


def load_processor(location: str, **options: Any) -> Any:
    """Return the model's image processor with PIL: pixels do not depend on whether torchvision is installed."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(location, backend="pil", **options)


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    return [*classes.class_problems(model), *picture_problems(model, examples, workload.dataset.image)]


def picture_problems(model: Any, examples: "datasets.Dataset", column: str) -> list[str]:
    """Return pictures that cannot be decoded, and sizes that the model does not take, one sentence each."""
    try:
        images.check_pixels(undecoded(examples.with_format(None), column), column)
    except InputError as error:
        return [*error.problems]
    problems = []
    shape = list(np.shape(examples[0]["pixel_values"]))
    channels, size = getattr(model.config, "num_channels", None), getattr(model.config, "image_size", None)
    if channels is not None and shape[0] != channels:
        problems.append(f"takes {channels} channels, but its image processor gives {shape[0]}")
    if isinstance(size, int) and shape[1:] != [size, size] and (problems or not _takes(model, shape)):
        problems.append(f"takes images of {size} x {size}, but its image processor gives {shape[1]} x {shape[2]}")
    return problems


def _takes(model: Any, shape: Sequence[int]) -> bool:
    """Return whether a model runs on pictures of this shape: the `image_size` of convolutions binds to nothing."""
    import torch

    weight = next(model.parameters())
    try:
        with torch.no_grad():
            model(pixel_values=torch.zeros(1, *shape, dtype=weight.dtype, device=weight.device))
    except (ValueError, RuntimeError, AssertionError):
        return False
    return True


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return examples with pixel_values (float32 [channels, height, width]) and labels."""
    return prepare_named(raw, processor, workload, config, class_labels.NAME_THEM)


def prepare_named(
    raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any, name_them: str
) -> "datasets.Dataset":
    """Return the same; `name_them` states in errors how the classes get the data's names.

    Pixels are computed on access: those of a whole split would fill the memory.
    """
    import datasets

    column = workload.dataset.image
    require_column(raw, column, "image")
    labels = class_labels.read(raw, workload.dataset.label, config, workload.dataset.labels, name_them)
    raw = checked(raw, column)
    pictures = raw.select_columns([column]).add_column("labels", labels.ids, feature=datasets.Value("int64"))

    pictures.info.description = labels.note

    def pixels(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        others = {name: values for name, values in rows.items() if name != column}
        decoded = (images.decode(value, images.placed(value, column)) for value in rows[column])
        return {"pixel_values": [pixels_of(image, processor) for image in decoded], **others}

    return pictures.with_transform(pixels)


def checked(raw: "datasets.Dataset", column: str) -> "datasets.Dataset":
    """Return the examples with undecoded pictures. Raises InputError for a damaged one, as far as headers show it."""
    import datasets

    if isinstance(raw.features[column], datasets.Image):
        raw = raw.cast_column(column, datasets.Image(decode=False))
    images.check_headers(undecoded(raw, column), column)
    return raw


def undecoded(examples: "datasets.Dataset", column: str) -> Iterator[Any]:
    """Return an iterator over the undecoded pictures: those of a whole split would fill the memory."""
    return (example[column] for example in examples.select_columns([column]))


def pixels_of(image: Any, processor: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the pixels of one RGB image by the model's processor: [channels, height, width]."""
    values = processor(images=image, return_tensors="np")["pixel_values"][0]
    return np.asarray(values, dtype=np.float32)


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one batch: pixel_values [batch, channels, height, width] and labels [batch]."""
    import torch

    pixels = np.stack([np.asarray(example["pixel_values"], dtype=np.float32) for example in examples])
    return {
        "pixel_values": torch.from_numpy(pixels),
        "labels": torch.tensor([int(example["labels"]) for example in examples]),
    }


def fixed(
    examples: "datasets.Dataset", processor: Any, point: OperatingPoint, count: int, seed: int
) -> list[dict[str, "torch.Tensor"]]:
    """Return `count` batches of batch_size shuffled real images without labels, repeated if there are fewer."""
    order = np.resize(np.random.default_rng(seed).permutation(len(examples)), count * point.batch_size).tolist()
    batches = [order[start : start + point.batch_size] for start in range(0, len(order), point.batch_size)]
    return [{"pixel_values": collate([examples[i] for i in batch], processor)["pixel_values"]} for batch in batches]


def lengths(examples: "datasets.Dataset") -> list[int]:
    """Return 1 for every example: all images have the model's size."""
    return [1] * len(examples)


def made_up() -> "datasets.Dataset":
    """Return noise pictures with the columns of a live data set."""
    import datasets
    from PIL import Image

    pictures = np.random.default_rng(0).integers(0, 256, MADE_UP, dtype=np.uint8)
    return datasets.Dataset.from_dict({"image": [*map(Image.fromarray, pictures)], "label": [0] * len(pictures)})


TASK = Task(
    name="image-classification",
    auto_model="AutoModelForImageClassification",
    auto_processor="AutoImageProcessor",
    architectures=("ForImageClassification",),
    pipeline_tag="image-classification",
    columns=(IMAGE, LABEL),
    metric="accuracy",
    sample_outcomes=classes.SAMPLE_OUTCOMES,
    headline=OperatingPoint(batch_size=8),
    first_recipe="vit_int8",
    call='model(**processor(images, return_tensors="pt").to(model.dtype))',
    load_processor=load_processor,
    check=check,
    prepare=prepare,
    collate=collate,
    fixed=fixed,
    outcomes=classes.outcomes,
    losses=classes.cross_entropy,
    lengths=lengths,
    made_up=made_up,
)
