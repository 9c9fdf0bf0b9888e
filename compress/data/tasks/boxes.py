"""Boxes of pictures matched with objects by pycocotools, and what is stored of them to compute mAP again.

Dropped are boxes that change no figure of any resample: those of a class without an object in the split, and those
with a lower score than every hit of their class.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import util
from typing import Any

import numpy as np

from compress.analysis.metrics.boxes import FALSE, HIT, IGNORED, NO_BOX, number
from compress.base.config import InputError

PACKAGES = ("pycocotools", "scipy")
MOST_BOXES = 100
"""Boxes of a picture and class that count, those with the highest scores: COCO's maxDets."""
TOGETHER = 64
"""Pictures that pycocotools matches at a time: it holds a mapping for each box."""


@dataclass(frozen=True)
class Objects:
    """The objects of a picture."""

    classes: Sequence[int]
    boxes: Sequence[Sequence[float]]
    """x, y, width, height in pixels."""
    crowd: Sequence[int]
    """1 for a box around several objects, which hides misses and false boxes inside."""


@dataclass(frozen=True)
class Found:
    """The boxes that a model gives for a picture."""

    scores: Sequence[float]
    classes: Sequence[int]
    boxes: Sequence[Sequence[float]]
    """x, y, width, height in pixels."""


@dataclass(frozen=True)
class Box:
    """A box with its state at each threshold."""

    picture: int
    kind: int
    score: float
    states: tuple[int, ...]


def check_packages() -> None:
    """Raise InputError if a package that detection needs is not installed."""
    if lacking := [name for name in PACKAGES if util.find_spec(name) is None]:
        raise InputError(
            f"metrics and losses of boxes need {' and '.join(lacking)}; install: pip install 'compress[detection]'"
        )


def outcomes(golds: Sequence[Objects], found: Sequence[Found], classes: int) -> dict[str, list[float]]:
    """Return `objects_` of every class, without crowds, and the numbers `box_` of the boxes of each picture.

    `analysis.metrics.boxes` computes mAP from these. Every picture has as many columns as the one with most boxes.
    """
    counts = np.zeros((len(golds), classes))
    for picture, gold in enumerate(golds):
        for kind, crowd in zip(gold.classes, gold.crowd, strict=True):
            counts[picture, kind] += not crowd
    kept = _kept(list(matched(golds, found)), counts.sum(axis=0) > 0)
    ranks = {kind: _ranks([box.score for box in kept if box.kind == kind]) for kind in {box.kind for box in kept}}
    rows: list[list[float]] = [[] for _ in golds]
    for box in kept:
        rows[box.picture].append(number(box.kind, ranks[box.kind][box.score], box.states))
    columns = max(1, *map(len, rows), 1)
    padded = [row + [NO_BOX] * (columns - len(row)) for row in rows]
    named = {f"objects_{kind}": counts[:, kind].tolist() for kind in range(classes)}
    return named | {f"box_{place}": [row[place] for row in padded] for place in range(columns)}


def _ranks(scores: Sequence[float]) -> dict[float, int]:
    """Return score -> its rank among the distinct ones, from 0 for the highest."""
    return {score: rank for rank, score in enumerate(sorted(set(scores), reverse=True))}


def _kept(boxes: Sequence[Box], present: np.ndarray) -> list[Box]:
    """Return the boxes that can change a figure of a resample."""
    lowest: dict[int, float] = {}
    for box in boxes:
        if HIT in box.states:
            lowest[box.kind] = min(box.score, lowest.get(box.kind, box.score))
    return [box for box in boxes if present[box.kind] and box.score >= lowest.get(box.kind, np.inf)]


def matched(golds: Sequence[Objects], found: Sequence[Found]) -> Iterator[Box]:
    """Yield the boxes of every picture and class by score, the best `MOST_BOXES`, with their states."""
    from pycocotools.cocoeval import COCOeval

    for start in range(0, len(golds), TOGETHER):
        several = slice(start, start + TOGETHER)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(_indexed(_gold(golds[several])), _indexed(_boxes(found[several])), "bbox")
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.params.maxDets = [MOST_BOXES]
            evaluation.params.imgIds = list(range(len(golds[several])))
            evaluation.params.catIds = sorted(
                {kind for gold in golds[several] for kind in gold.classes}
                | {kind for own in found[several] for kind in own.classes}
            )
            evaluation.evaluate()
        for pair in filter(None, evaluation.evalImgs):
            states = np.where(pair["dtIgnore"], IGNORED, np.where(pair["dtMatches"] > 0, HIT, FALSE))
            for score, column in zip(pair["dtScores"], states.T, strict=True):
                yield Box(start + int(pair["image_id"]), int(pair["category_id"]), score, tuple(column.tolist()))


def _gold(golds: Sequence[Objects]) -> Iterator[dict[str, Any]]:
    """Yield the objects as annotations of COCO."""
    for picture, gold in enumerate(golds):
        for kind, box, crowd in zip(gold.classes, gold.boxes, gold.crowd, strict=True):
            yield {"image_id": picture, "category_id": kind, "bbox": box, "area": box[2] * box[3], "iscrowd": crowd}


def _boxes(found: Sequence[Found]) -> Iterator[dict[str, Any]]:
    """Yield boxes as results of COCO."""
    for picture, each in enumerate(found):
        for score, kind, box in zip(each.scores, each.classes, each.boxes, strict=True):
            area = box[2] * box[3]
            yield {
                "image_id": picture, "category_id": kind, "bbox": box, "area": area, "iscrowd": 0, "score": score,
            }  # fmt: skip


def _indexed(annotations: Iterator[dict[str, Any]]) -> Any:
    """Return annotations as pycocotools takes them. Ids start at 1: it reads a match with id 0 as none."""
    from pycocotools.coco import COCO

    held = COCO()
    held.dataset = {
        "categories": [],
        "annotations": [{**each, "id": place} for place, each in enumerate(annotations, start=1)],
    }
    held.createIndex()
    return held
