"""Read the objects of pictures: boxes in pixels and classes of the model; what is no object is refused by its row.

    {"bbox": [[x, y, width, height], ...], "category": [...], "iscrowd": [...]}    or a list of mappings, one an object

A box may end beyond its picture's border, as some of COCO do. If many do, they are probably corners, not sizes.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from compress.base.config import InputError
from compress.data.bad_rows import BadRows, refuse, shown
from compress.data.dataset import Dataset
from compress.data.tasks import labels
from compress.data.tasks.boxes import Objects
from compress.data.tasks.class_names import class_names
from compress.data.tasks.labels import Unmapped

if TYPE_CHECKING:
    import datasets

BOX, CATEGORY, CROWD = "bbox", "category", "iscrowd"
NO_CLASS = "N/A"
"""Name of numbers that COCO gives to no class, in models trained on it."""
BORDER = 1.0
"""Pixels beyond a border that rounding explains."""
MOST_BEYOND = 0.05
"""Largest share of boxes that end beyond the border."""
EXPECTED = "expected x, y, width and height in pixels"


def read(
    raw: "datasets.Dataset", spec: Dataset, config: Any, sizes: Sequence[tuple[int, int]]
) -> tuple[list[Objects], str]:
    """Return the objects of every picture, and a note for readers of results. `sizes` are heights and widths.

    Raises BadRows for rows with a box or a category that cannot be right.
    """
    column = spec.label
    given = [_columns(value) for value in raw[column]]
    refuse((row, why) for row, each in enumerate(given) if (why := _problem(each, column)))
    rows = [each for each in given if each is not None]
    refuse(
        (row, f"label column {column!r}: the box {shown(box)} lies outside of its picture of {w} x {h}; {EXPECTED}")
        for row, (each, (h, w)) in enumerate(zip(rows, sizes, strict=True))
        for box in each[BOX]
        if box[0] >= w or box[1] >= h or box[0] + box[2] <= 0 or box[1] + box[3] <= 0
    )
    notes = [_beyond(rows, sizes, column)]
    flat = [kind for each in rows for kind in each[CATEGORY]]
    if not flat:
        raise InputError(f"label column {column!r}: no picture of the split has an object; expected some")
    names = _names(raw.features[column])
    try:
        found = labels.mapped(flat, names, column, config, spec.labels)
    except Unmapped as error:
        raise BadRows(
            (row, str(error)) for row, each in enumerate(rows) if error.label in _texts(each[CATEGORY], names)
        ) from None
    unnamed = names is None and isinstance(flat[0], int) and spec.labels is None
    notes.append(_read_as_ids(found.ids, class_names(config), column) if unnamed else found.note)
    ids = iter(found.ids)
    objects = [Objects([next(ids) for _ in each[CATEGORY]], each[BOX], each[CROWD]) for each in rows]
    empty = sum(not each.classes for each in objects)
    notes.append(f"{empty} of {len(objects)} pictures have no object: every box in them is false" if empty else "")
    return objects, "; ".join(filter(None, notes))


def _read_as_ids(ids: Sequence[int], names: Sequence[str], column: str) -> str:
    """Return a note on numbers without names. Raises InputError if one is of no class: COCO's numbers leave gaps."""
    if gaps := sorted({number for number in ids if names[number] == NO_CLASS}):
        raise InputError(
            f"label column {column!r}: its categories are numbers without names, and {gaps[0]} is {NO_CLASS} in the "
            "model's config.json (id2label); expected its ids: write the names into the data, or set dataset.labels to "
            "ids if the numbers are the model's"
        )
    number, _ = Counter(ids).most_common(1)[0]
    return (
        f"categories are numbers without names, read as ids of the model: most objects, {number}, are {names[number]}"
    )


def _columns(value: Any) -> dict[str, list[Any]] | None:
    """Return boxes, categories and crowds of a picture; None for a value of another form. null is no object."""
    if value is None:
        value = []
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        value = {name: [each.get(name) for each in value] for name in (BOX, CATEGORY, CROWD)}
    if not isinstance(value, Mapping) or not all(isinstance(value.get(name), list) for name in (BOX, CATEGORY)):
        return None
    boxes, kinds = value[BOX], value[CATEGORY]
    crowd = value.get(CROWD)
    crowd = [int(bool(each)) for each in crowd] if isinstance(crowd, list) else [0] * len(boxes)
    return {BOX: boxes, CATEGORY: kinds, CROWD: crowd}


def _problem(objects: dict[str, list[Any]] | None, column: str) -> str | None:
    """Return why a picture's objects are none, or None."""
    place = f"label column {column!r}"
    if objects is None:
        return f"{place} has no lists {BOX} and {CATEGORY}; expected a box and a category for each object"
    boxes, kinds = objects[BOX], objects[CATEGORY]
    if not len(boxes) == len(kinds) == len(objects[CROWD]):
        return f"{place} has {len(boxes)} boxes, but {len(kinds)} categories; expected one for each box"
    for box in boxes:
        if not _is_box(box):
            return f"{place}: the box {shown(box)} is not four finite numbers, the last two above 0; {EXPECTED}"
    return next((f"{place} has an object without a category" for kind in kinds if kind is None), None)


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4:
        return False
    numbers = all(isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each) for each in box)
    return numbers and box[2] > 0 and box[3] > 0


def _beyond(rows: Sequence[dict[str, list[Any]]], sizes: Sequence[tuple[int, int]], column: str) -> str:
    """Return a note on boxes that end beyond their picture. Raises InputError if the unit or the order is another."""
    boxes = list(_placed(rows, sizes))
    if boxes and all(max(box) <= 1 for _, box, _ in boxes):
        raise InputError(
            f"label column {column!r}: all numbers of boxes are up to 1, as parts of a picture; {EXPECTED}"
        )
    outside = [
        (row, box, size)
        for row, box, size in boxes
        if min(box[:2]) < -BORDER or box[0] + box[2] > size[1] + BORDER or box[1] + box[3] > size[0] + BORDER
    ]
    if len(outside) > MOST_BEYOND * len(boxes):
        row, box, (height, width) = outside[0]
        raise InputError(
            f"row {row}: label column {column!r}: the box {shown(box)} ends beyond its picture of {width} x {height}, "
            f"as do {len(outside)} of {len(boxes)}; {EXPECTED}, not two corners"
        )
    note = f"{len(outside)} of {len(boxes)} boxes of objects end beyond their picture, and are judged as they are"
    return note if outside else ""


def _placed(
    rows: Sequence[dict[str, list[Any]]], sizes: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, list[float], tuple[int, int]]]:
    """Yield row, box and size of the picture."""
    for row, (each, size) in enumerate(zip(rows, sizes, strict=True)):
        for box in each[BOX]:
            yield row, box, size


def _names(feature: Any) -> list[str] | None:
    """Return the data's own names of categories; None if it has none."""
    inner = getattr(feature, "feature", feature)  # a list of mappings, or a mapping of lists
    kind = inner.get(CATEGORY) if isinstance(inner, Mapping) else None
    kind = getattr(kind, "feature", kind)
    return getattr(kind, "names", None)


def _texts(kinds: Sequence[Any], names: Sequence[str] | None) -> set[str]:
    """Return categories as texts: the data's names of ids, if it has them."""
    return {labels.text_of(kind if names is None else names[kind]) for kind in kinds}
