"""Average precision of boxes, as COCO defines it, from one number for each box and the objects of each picture.

    picture, class   boxes by score, matched with objects by pycocotools    a state at each threshold of IoU
    class            boxes of all pictures by score -> precision at 101 recalls, at each of 10 thresholds -> mean

A box is its class, its rank among all scores of the class in the split, and its state at ten thresholds. Ranks order
the boxes of any resample as scores do. A double holds the number exactly: 4096 x 2^25 x 3^10 < 2^53.
"""

import math
from collections.abc import Sequence

import numpy as np

THRESHOLDS = 10
"""Thresholds of IoU: 0.50, 0.55 ... 0.95."""
STATES = 3**THRESHOLDS
FALSE, HIT, IGNORED = 0, 1, 2
"""States of a box at a threshold. An ignored one found a crowd, and counts as neither."""
RANKS = 2**25
MOST_CLASSES = 4096
NO_BOX = -1.0
RECALLS = np.linspace(0.0, 1.0, 101)


def number(kind: int, rank: int, states: Sequence[int]) -> float:
    """Return the number of a box: its class, its rank by score from 0, and its state at each threshold."""
    state = sum(each * 3**place for place, each in enumerate(states))
    return float((kind * RANKS + rank) * STATES + state)


def coco_map(boxes: np.ndarray, objects: np.ndarray) -> float:
    """Return the mean of average precision over thresholds and over classes that have an object; nan without any.

    boxes [n, columns]: numbers of the boxes of each picture, or `NO_BOX`. objects [n, classes]: objects of each
    picture, without crowds. Equal scores keep the order of pictures and columns.
    """
    total = objects.sum(axis=0)
    present = np.flatnonzero(total > 0)
    if not len(present):
        return math.nan
    keys, states = np.divmod(boxes[boxes >= 0].astype(np.int64), STATES)  # the pictures' boxes in a row
    order = np.argsort(keys, kind="stable")
    kinds = keys[order] // RANKS
    at_each = states[order][:, None] // 3 ** np.arange(THRESHOLDS) % 3  # [boxes, thresholds]
    starts, ends = (np.searchsorted(kinds, present, side) for side in ("left", "right"))
    return float(
        np.mean(
            [
                _average_precision(at_each[start:end], total[kind])
                for kind, start, end in zip(present, starts, ends, strict=True)
            ]
        )
    )


def hits(boxes: np.ndarray) -> np.ndarray:
    """Return the objects that the boxes [n, columns] of each picture found, summed over thresholds. [n]"""
    states = np.where(boxes >= 0, boxes, 0).astype(np.int64)[:, :, None] // 3 ** np.arange(THRESHOLDS) % 3
    found: np.ndarray = (states == HIT).sum(axis=(1, 2))
    return found


def _average_precision(states: np.ndarray, total: float) -> float:
    """Return the mean over thresholds and recalls of a class's precision; states [boxes, thresholds] by score."""
    hits, wrong = (np.cumsum(states == each, axis=0) for each in (HIT, FALSE))
    recall, precision = hits / total, hits / np.maximum(hits + wrong, 1)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]  # at this recall or a higher one
    found = 0.0
    for place in range(states.shape[1]):
        reached = np.searchsorted(recall[:, place], RECALLS, side="left")
        found += best[reached[reached < len(best)], place].sum()
    return found / (len(RECALLS) * states.shape[1])
