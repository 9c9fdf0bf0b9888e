"""Object detection: boxes with a class and a score, judged by COCO's mAP.

    picture --processor--> fixed size --model--> logits [queries, outputs] + boxes [queries, 4], in parts of the picture

A score is that of a query's best class by softmax, where a last output stands for "no object" (DETR, YOLOS);
otherwise that of a query and a class by sigmoid, as many pairs as queries (RT-DETR). Both are what transformers'
processors return without a threshold: dropping boxes of low scores would cut recall.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.analysis.metrics.boxes import FALSE, HIT, MOST_CLASSES, NO_BOX, THRESHOLDS, number
from compress.data.formats import images
from compress.data.point import OperatingPoint
from compress.data.tasks import boxes, objects, sized
from compress.data.tasks.box_losses import has_no_object, losses, soft_loss
from compress.data.tasks.boxes import Found, Objects
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
from compress.data.tasks.task import Batch, Task
from compress.data.tasks.view import WorkloadView

if TYPE_CHECKING:
    import datasets
    import torch

OBJECTS = Column("label", "label", ("objects", "annotations", "label", "labels"), described="the boxes and categories")
MASKED = ("detr", "conditional_detr", "table-transformer")
"""Types of models that take a mask of pixels, so that smaller pictures can be padded to one size."""
MADE_UP = (3, 48, 64, 3)
"""Shape of noise pictures: count, height, width, channels."""


def check(model: Any, processor: Any, examples: "datasets.Dataset", workload: WorkloadView) -> list[str]:
    """Return mismatches of model and examples, one sentence each."""
    boxes.check_packages()
    problems = [] if padded_to(processor, model.config) else sized.part_problems(processor)
    if model.config.num_labels > MOST_CLASSES:
        problems.append(f"has {model.config.num_labels} classes; expected at most {MOST_CLASSES}")
    return problems or picture_problems(model, examples, workload.dataset.image)


def padded_to(processor: Any, config: Any) -> int | None:
    """Return height and width to which pictures are padded, under a mask; None if all are resized to one size."""
    size = getattr(processor, "size", None)
    longest = size.get("longest_edge") if isinstance(size, Mapping) else getattr(size, "longest_edge", None)
    masked = getattr(config, "model_type", None) in MASKED
    return int(longest) if masked and longest and sized.size_of(processor) is None else None


def prepare(raw: "datasets.Dataset", processor: Any, workload: WorkloadView, config: Any) -> "datasets.Dataset":
    """Return examples with pixel_values (float32 [channels, height, width]), (pixel_mask) and labels.

    labels [objects, classes + 4] have 1 at an object's class, then its box in parts of the picture, cut at its border.
    Columns size, classes, boxes and crowd hold the objects in pixels. Raises BadRows for what are no objects.
    """
    import datasets

    column, label = workload.dataset.image, workload.dataset.label
    require_column(raw, column, "image")
    require_column(raw, label, "label")
    raw = checked(raw, column)
    sizes = [images.upright_size(value, f"row {row}") for row, value in enumerate(undecoded(raw, column))]
    found, note = objects.read(raw, workload.dataset, config, sizes)
    held = {
        "size": [list(size) for size in sizes],
        "classes": [list(each.classes) for each in found],
        "boxes": [[list(map(float, box)) for box in each.boxes] for each in found],
        "crowd": [list(each.crowd) for each in found],
    }
    numbers, one = datasets.Value("float64"), datasets.List(datasets.Value("int64"))
    kinds = {"size": one, "classes": one, "boxes": datasets.List(datasets.List(numbers)), "crowd": one}
    table = datasets.Dataset.from_dict(held, features=datasets.Features(kinds))
    joined = datasets.concatenate_datasets([raw.select_columns([column]), table], axis=1)
    pad = padded_to(processor, config)

    def decoded(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if not {column, *held} <= set(rows):
            return rows
        pictures = [images.decode(value, images.placed(value, column)) for value in rows[column]]
        golds = zip(*(rows[name] for name in ("size", "classes", "boxes", "crowd")), strict=True)
        labels = [_labels(*gold, classes=config.num_labels) for gold in golds]
        rest = {name: rows[name] for name in rows if name != column}
        if pad is None:
            return {**rest, "pixel_values": [pixels_of(each, processor) for each in pictures], "labels": labels}
        made = [
            processor(images=each, pad_size={"height": pad, "width": pad}, return_tensors="np") for each in pictures
        ]
        inputs = {name: [each[name][0] for each in made] for name in ("pixel_values", "pixel_mask")}
        return {**rest, **inputs, "labels": labels}

    smaller = f"pictures are padded to {pad} x {pad} pixels, their largest size" if pad else ""
    joined.info.description = "; ".join(filter(None, (note, smaller)))
    return joined.with_transform(decoded)


def _labels(
    size: Sequence[int], kinds: Sequence[int], places: Sequence[Sequence[float]], crowd: Sequence[int], *, classes: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the objects of a picture, without crowds, as rows of `labels`."""
    chosen = [place for place, each in enumerate(crowd) if not each]
    rows = np.zeros((len(chosen), classes + 4), dtype=np.float32)
    height, width = size
    for row, place in enumerate(chosen):
        x, y, w, h = places[place]
        left, right = (min(max(each, 0), width) for each in (x, x + w))
        top, bottom = (min(max(each, 0), height) for each in (y, y + h))
        rows[row, kinds[place]] = 1
        rows[row, classes:] = (
            (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height,
        )  # fmt: skip
    return rows


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, "torch.Tensor"]:
    """Return one batch: pixel_values [batch, channels, height, width], (pixel_mask) and labels.

    labels [batch, most objects, classes + 4] have rows of zeros beyond the objects of a picture.
    """
    import torch

    labels = [np.asarray(example["labels"], dtype=np.float32) for example in examples]
    padded = np.zeros((len(labels), max(map(len, labels)), labels[0].shape[1]), dtype=np.float32)
    for row, own in enumerate(labels):
        padded[row, : len(own)] = own
    pixels = np.stack([np.asarray(example["pixel_values"], dtype=np.float32) for example in examples])
    batch = {"pixel_values": torch.from_numpy(pixels)}
    if "pixel_mask" in examples[0]:
        masks = np.stack([np.asarray(example["pixel_mask"], dtype=np.int64) for example in examples])
        batch["pixel_mask"] = torch.from_numpy(masks)
    return batch | {"labels": torch.from_numpy(padded)}


def outcomes(logits: "torch.Tensor", batch: Batch) -> dict[str, list[Any]]:
    """Return the boxes of each picture: an array [boxes, 6] of score, class, centre x and y, width and height.

    A picture with a logit that is not finite has none.
    """
    import torch

    classes = batch["labels"].shape[-1] - 4
    found: list[Any] = []
    for own in logits.float():
        rows = boxes_of(own, classes) if torch.isfinite(own).all() else own.new_zeros(0, 6)
        found.append(rows.double().cpu().numpy())
    return {"found": found}


def boxes_of(own: "torch.Tensor", classes: int) -> "torch.Tensor":
    """Return [queries, 6], score, class and box, of the outputs [queries, outputs + 4] of a picture."""
    import torch

    logits, places = own[:, :-4], own[:, -4:]
    if has_no_object(logits, classes):
        scores, kinds = logits.softmax(-1)[:, :-1].max(-1)
        return torch.cat([scores[:, None], kinds[:, None].to(scores.dtype), places], dim=1)
    scores, chosen = logits.sigmoid().flatten().topk(len(logits))
    return torch.cat([scores[:, None], (chosen % classes)[:, None].to(scores.dtype), places[chosen // classes]], dim=1)


def answers(outcomes: Mapping[str, Sequence[Any]], examples: "datasets.Dataset") -> dict[str, list[float]]:
    """Return objects of each class and matched boxes of each picture, as `boxes.outcomes` stores them."""
    stored = examples.with_format(None).select_columns(["size", "classes", "boxes", "crowd"])
    golds = [Objects(row["classes"], row["boxes"], row["crowd"]) for row in stored]
    found = [in_pixels(rows, *size) for rows, size in zip(outcomes["found"], stored["size"], strict=True)]
    return boxes.outcomes(golds, found, np.shape(examples[0]["labels"])[1] - 4)


def in_pixels(rows: np.ndarray, height: int, width: int) -> Found:
    """Return boxes [boxes, 6] in pixels of a picture: corners at x, y in place of centres."""
    scores, kinds, x, y, w, h = rows.T
    places = np.stack([(x - w / 2) * width, (y - h / 2) * height, w * width, h * height], axis=1)
    return Found(scores.tolist(), kinds.astype(int).tolist(), places.tolist())


def made_up() -> "datasets.Dataset":
    """Return noise pictures with an object each, in the columns of a live data set."""
    import datasets
    from PIL import Image

    pictures = np.random.default_rng(0).integers(0, 256, MADE_UP, dtype=np.uint8)
    given = {"bbox": [[4.0, 4.0, 24.0, 16.0]], "category": [0]}
    return datasets.Dataset.from_dict({"image": [*map(Image.fromarray, pictures)], "label": [given] * len(pictures)})


SAMPLE_OUTCOMES = {
    "objects_0": [1.0, 0.0, 2.0],
    "objects_1": [0.0, 1.0, 0.0],
    "box_0": [number(0, 0, [HIT] * THRESHOLDS), NO_BOX, number(0, 1, [HIT] * THRESHOLDS)],
    "box_1": [NO_BOX, number(1, 0, [FALSE] * THRESHOLDS), NO_BOX],
}
TASK = Task(
    name="object-detection",
    auto_model="AutoModelForObjectDetection",
    auto_processor="AutoImageProcessor",
    architectures=("ForObjectDetection",),
    pipeline_tag="object-detection",
    columns=(IMAGE, OBJECTS),
    metric="map",
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
    answers=answers,
    losses=losses,
    soft_loss=soft_loss,
    lengths=lengths,
    made_up=made_up,
    together=4,
    trains_by_losses=True,
    per_token=True,
)
