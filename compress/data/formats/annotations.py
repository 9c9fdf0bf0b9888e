"""Annotations of segmentation: pictures whose grey levels or palette indices are the class ids of their pixels.

Colours are no ids, and a jpeg changes them: both are errors. Palette images keep their indices; no colour is looked up.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from compress.base.config import InputError
from compress.data.formats.images import DAMAGES, GREY_16, opened, upright_size

MODES = ("L", "P", "I", *GREY_16)
CHANGED = ("JPEG", "MPO", "WEBP")
"""Formats that lose exact values, or may."""
Ids = np.ndarray[Any, np.dtype[np.int64]]


def unusable(pictures: Iterable[Any], annotations: Iterable[Any], column: str) -> Iterator[tuple[int, str]]:
    """Yield row and reason of every annotation that holds no ids, or is not of its picture's size, by the headers.

    Raises InputError for the first that is no picture.
    """
    it = f"label column {column!r}"
    for row, (picture, annotation) in enumerate(zip(pictures, annotations, strict=True)):
        with opened(annotation, f"{it}: row {row}") as image:
            form, mode, own = image.format, image.mode, (image.height, image.width)
        expected = upright_size(picture, f"row {row}")
        if form in CHANGED:
            yield (
                row,
                f"{it} has a {str(form).lower()}, which changes ids; expected a png of the class id of each pixel",
            )
        elif mode not in MODES:
            yield row, f"{it} has pixels of mode {mode}; expected a class id for each pixel: grey, or a palette"
        elif own != expected:
            (height, width), (high, wide) = own, expected
            yield (
                row,
                f"{it} has {height} x {width} pixels (height x width), but the picture {high} x {wide}; expected the "
                "same size: resize the annotation without interpolation",
            )


def decode(value: Any, place: str) -> Ids:
    """Return the ids of all pixels [height, width]. Raises InputError for a damaged file."""
    with opened(value, place) as image:
        try:
            image.load()
        except DAMAGES as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise InputError(f"{place} cannot be decoded ({reason}); replace or remove it") from None
        return np.asarray(image).astype(np.int64)
