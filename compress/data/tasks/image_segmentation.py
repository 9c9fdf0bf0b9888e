"""Image segmentation: the class of every pixel, judged at the size of the annotation.

    picture --processor--> fixed size --model--> logits [classes, h, w] --bilinear--> [classes, height, width] --> ids

A picture's outcomes are pixels of each class: those that prediction and annotation share, those that either has, and
those that the annotation has. Mean IoU is a mean over classes of ratios of their sums, not a mean over pictures.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.base.config import InputError
from compress.data.bad_rows import refuse
from compress.data.formats import annotations, images
from compress.data.point import OperatingPoint
from compress.data.tasks import classes, pixel_ids, sized
from compress.data.tasks.columns import IMAGE, Column
from compress.data.tasks.image_classification import (
    checked,
    lengths,
    load_processor,
    picture_problems,
    pixels_of,
    undecoded,
)
from compress.data.tasks.labels import require_column
from compress.data.tasks.task import IGNORED, Batch, Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

ANNOTATION = Column(
    "label",
    "label",
    ("annotation", "label", "labels", "mask", "segmentation_mask", "semantic_segmentation", "seg_map"),
    described="the picture of class ids",
)
OUTSIDE = -101
"""Label beyond the border of a picture that is smaller than others of its batch."""
MOST_VALUES = 2**26
"""Logits that are upsampled at a time: 256 MB."""
MADE_UP = (3, 48, 64, 3)
"""Shape of noise pictures: count, height, width, channels."""


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    problems = [*classes.class_problems(model), *sized.part_problems(processor)]
    if problems:
        return problems
    problems = picture_problems(model, examples, workload.dataset.image)
    try:
        refuse(_unknown(examples.with_format(None), processor, model.config, workload.dataset.label))
    except InputError as error:
        return [*problems, *error.problems]
    return problems


def _unknown(examples: "datasets.Dataset", processor: Any, config: Any, column: str) -> Iterator[tuple[int, str]]:
    """Yield row and reason of annotations with ids that are no class of the model."""
    judged = 0
    for row, example in enumerate(examples.select_columns([column])):
        ids = pixel_ids.read(example[column], processor, config, column, f"row {row}: label column {column!r}")
        if reason := pixel_ids.beyond(ids, processor, config, column):
            yield row, reason
        judged += int((ids >= 0).sum())
    if not judged:
        raise InputError(f"label column {column!r}: no pixel of any annotation has a class; expected some")


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return examples with pixel_values (float32 [channels, height, width]) and labels (int64 [height, width]).

    Labels for judging have the annotation's size, those for training the size of pixel_values. Both are computed on
    access. Raises BadRows for annotations that do not fit.
    """
    column, label = workload.dataset.image, workload.dataset.label
    require_column(raw, column, "image")
    require_column(raw, label, "label")
    raw = checked(_stored(raw, label), column)
    whole = raw.select_columns([column, label])
    refuse(annotations.unusable(undecoded(whole, column), undecoded(whole, label), label))
    size = sized.size_of(processor) if workload.for_training else None

    def decoded(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if label not in rows:
            return rows
        pictures = [images.decode(value, images.placed(value, column)) for value in rows[column]]
        labels = [pixel_ids.read(value, processor, config, label, f"label column {label!r}") for value in rows[label]]
        for ids in labels:
            if reason := pixel_ids.beyond(ids, processor, config, label):
                raise InputError(reason)
        return {
            "pixel_values": [pixels_of(picture, processor) for picture in pictures],
            "labels": labels if size is None else [pixel_ids.resized(ids, size) for ids in labels],
        }

    whole.info.description = pixel_ids.note(processor, config)
    return whole.with_transform(decoded)


def _stored(raw: "datasets.Dataset", column: str) -> "datasets.Dataset":
    """Return the examples with undecoded annotations. Raises InputError if the column holds no pictures."""
    import datasets

    feature = raw.features[column]
    if not isinstance(feature, datasets.Image):
        raise InputError(
            f"label column {column!r} holds no pictures; expected a png for each picture, with the class id of "
            "each pixel"
        )
    return raw.cast_column(column, datasets.Image(decode=False))


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one batch: pixel_values [batch, channels, height, width] and labels [batch, tallest, widest].

    Labels are `IGNORED` for pixels without a class, and `OUTSIDE` beyond the border of a smaller picture.
    """
    import torch

    labels = [np.asarray(example["labels"]) for example in examples]
    shape = tuple(max(each.shape[axis] for each in labels) for axis in (0, 1))
    padded = np.full((len(labels), *shape), OUTSIDE, dtype=np.int64)
    for row, own in enumerate(labels):
        padded[row, : own.shape[0], : own.shape[1]] = own
    pixels = np.stack([np.asarray(example["pixel_values"], dtype=np.float32) for example in examples])
    return {"pixel_values": torch.from_numpy(pixels), "labels": torch.from_numpy(padded)}


def _without_border(labels: "torch.Tensor") -> "torch.Tensor":
    """Return the labels of a picture [tallest, widest] without what is beyond its border."""
    inside = labels != OUTSIDE
    return labels[: int(inside[:, 0].sum()), : int(inside[0].sum())]


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[Any]]:
    """Return pixels of every class for each picture: `intersection_`, `union_` and `area_`, that of the annotation.

    Only pixels with a class are counted. A picture with a logit that is not finite has no predicted class.
    """
    import torch

    count = logits.shape[1]
    found: dict[str, list[Any]] = {f"{name}_{each}": [] for name in PIXELS for each in range(count)}
    for own, padded in zip(logits, batch["labels"].to(logits.device), strict=True):
        gold = _without_border(padded)
        judged = gold != IGNORED
        pairs = gold[judged] * (count + 1) + count  # as if nothing were predicted
        if torch.isfinite(own).all():
            pairs = gold[judged] * (count + 1) + predicted(own, tuple(gold.shape))[judged]
        table = torch.bincount(pairs, minlength=count * (count + 1)).reshape(count, count + 1).double()
        shared, area, named = table[:, :count].diagonal(), table.sum(1), table[:, :count].sum(0)
        for name, values in zip(PIXELS, (shared, area + named - shared, area), strict=True):
            for each, value in enumerate(values.tolist()):
                found[f"{name}_{each}"].append(value)
    return found


def predicted(logits: "torch.Tensor", size: tuple[int, ...]) -> "torch.Tensor":
    """Return the class of every pixel [height, width] by upsampled logits [classes, h, w].

    Logits are upsampled bilinearly, as transformers does, some classes at a time.
    """
    import torch

    step = max(1, MOST_VALUES // (size[0] * size[1]))
    best = torch.full(size, -torch.inf, device=logits.device)
    ids = torch.zeros(size, dtype=torch.int64, device=logits.device)
    for first in range(0, len(logits), step):
        highest, own = upsampled(logits[None, first : first + step], size)[0].max(dim=0)
        better = highest > best
        best, ids = torch.where(better, highest, best), torch.where(better, own + first, ids)
    return ids


def upsampled(logits: "torch.Tensor", size: tuple[int, ...]) -> "torch.Tensor":
    """Return logits [batch, classes, h, w] at another height and width, in float32."""
    from torch.nn import functional

    return functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)


def losses(logits: "torch.Tensor", labels: "torch.Tensor") -> tuple["torch.Tensor", "torch.Tensor"]:
    """Return [batch] cross entropies (nats, summed) of pixels with a class, and [batch] counts of these; float64."""
    import torch

    sums, counts = [], []
    for own, padded in zip(logits, labels.to(logits.device), strict=True):
        gold = _without_border(padded)
        each, judged = classes.cross_entropy(upsampled(own[None], tuple(gold.shape)), gold[None])
        sums.append(each.sum())
        counts.append(judged.sum())
    return torch.stack(sums), torch.stack(counts)


def soft_loss(student: "torch.Tensor", teacher: "torch.Tensor", temperature: float) -> "torch.Tensor":
    """Return T^2 KL(teacher || student) of logits [batch, classes, h, w], the mean over the teacher's pixels."""
    from torch.nn import functional

    if student.shape[2:] != teacher.shape[2:]:
        student = upsampled(student, tuple(teacher.shape[2:]))
    ours, theirs = ((each.float() / temperature).log_softmax(dim=1) for each in (student, teacher))
    pixels = teacher.numel() / teacher.shape[1]
    return temperature**2 * functional.kl_div(ours, theirs, reduction="sum", log_target=True) / pixels


def made_up() -> "datasets.Dataset":
    """Return noise pictures with the columns of a live data set; all of their pixels are of class 0."""
    import datasets
    from PIL import Image

    pictures = np.random.default_rng(0).integers(0, 256, MADE_UP, dtype=np.uint8)
    none = Image.fromarray(np.zeros(MADE_UP[1:3], dtype=np.uint8))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Image()})
    columns = {"image": [*map(Image.fromarray, pictures)], "label": [none] * len(pictures)}
    return datasets.Dataset.from_dict(columns, features=features)


PIXELS = ("intersection", "union", "area")
SAMPLE_OUTCOMES = {
    "intersection_0": [3.0, 0.0, 2.0],
    "intersection_1": [0.0, 1.0, 2.0],
    "union_0": [4.0, 1.0, 2.0],
    "union_1": [1.0, 2.0, 2.0],
    "area_0": [3.0, 1.0, 2.0],
    "area_1": [1.0, 1.0, 2.0],
}
TASK = Task(
    name="image-segmentation",
    auto_model="AutoModelForSemanticSegmentation",
    auto_processor="AutoImageProcessor",
    architectures=("ForSemanticSegmentation",),
    pipeline_tag="image-segmentation",
    columns=(IMAGE, ANNOTATION),
    metric="mean_iou",
    sample_outcomes=SAMPLE_OUTCOMES,
    headline=OperatingPoint(batch_size=1),
    first_recipe="conv_int8",
    call='model(**processor(images, return_tensors="pt").to(model.dtype))',
    load_processor=load_processor,
    check=check,
    prepare=prepare,
    collate=collate,
    fixed=partial(sized.fixed, collate),
    outcomes=outcomes,
    losses=losses,
    soft_loss=soft_loss,
    lengths=lengths,
    made_up=made_up,
    together=4,
    trains_by_losses=True,
    per_token=True,
)
