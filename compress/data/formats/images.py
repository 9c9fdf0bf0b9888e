"""Pictures as RGB of 8 bits, by what their mode means; what has no such meaning is refused with the file's name.

As in transformers and torchvision: the orientation of EXIF is applied, transparency is dropped (the colour below it
stays), and of an animation or a file of several pages the first frame counts. Grey of 16 bits keeps its high byte,
which is what Pillow does with colours of 16 bits.
"""

import io
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.base import reading
from compress.base.config import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

DIRECT = ("1", "L", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
THROUGH_ALPHA = ("P", "PA", "LA", "La", "RGBA", "RGBa")
GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
JPEG_END = 0xD9
JPEG_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a segment: its length and content."""
MOST_BYTES = 2**30
"""Of the file of a picture."""
DAMAGES = (OSError, SyntaxError, ValueError, IndexError, EOFError, struct.error)
"""What Pillow raises for files that are damaged."""


def decode(value: Any, place: str) -> "Image":
    """Return the picture as RGB. `value` has bytes or a path; `place` says where it is in the data, for errors."""
    with _opened(value, place) as image:
        try:
            image.load()
            return _rgb(_upright(image), place)
        except DAMAGES as error:
            raise InputError(f"{place} cannot be decoded ({_reason(error)}); replace or remove it") from None


def check_headers(values: Iterable[Any], column: str) -> None:
    """Raise InputError for the first value that is no whole picture, as far as that shows without decoding it."""
    for row, value in enumerate(values):
        place = placed(value, column, row)
        with _opened(value, place) as image:
            _check_mode(image, place)
            try:
                if image.format == "PNG":
                    image.verify()  # the checksums of all parts
            except DAMAGES as error:
                raise InputError(f"{place} is damaged ({_reason(error)}); replace or remove it") from None
            if image.format in ("JPEG", "MPO") and not _jpeg_ends(_content(value)):
                raise InputError(f"{place} is cut short (a jpeg without its end); replace or remove it")


def _jpeg_ends(data: bytes) -> bool:
    """Return whether a jpeg's end is there, outside of the thumbnails in its segments; what comes after it is ignored.

    Phones append a film to their pictures. Damage between start and end does not show: libjpeg only warns of it.
    """
    position = 2
    while (found := JPEG_MARKER.search(data, position)) is not None:
        marker, position = data[found.end() - 1], found.end()
        if marker == JPEG_END:
            return True
        if marker not in JPEG_ALONE:
            position += int.from_bytes(data[position : position + 2], "big")
    return False


def check_pixels(values: Iterable[Any], column: str) -> None:
    """Raise InputError for the first picture whose pixels cannot be decoded; jpegs are decoded small."""
    for row, value in enumerate(values):
        place = placed(value, column, row)
        with _opened(value, place) as image:
            image.draft("RGB", (1, 1))
            try:
                image.load()
            except DAMAGES as error:
                raise InputError(f"{place} cannot be decoded ({_reason(error)}); replace or remove it") from None


def placed(value: Any, column: str, row: int | None = None) -> str:
    """Return where a picture is, for an error: its row and its file, as far as they are known."""
    name = value.get("path") if isinstance(value, Mapping) else None
    known = [*([] if row is None else [f"row {row}"]), *([f"({name})"] if name else [])]
    return f"image column {column!r}: {' '.join(known) or 'one picture'}"


def _opened(value: Any, place: str) -> "Image":
    from PIL import Image

    if not isinstance(value, Mapping) or not {"bytes", "path"} <= set(value) or not any(value.values()):
        what = "null" if value is None or isinstance(value, Mapping) else f"a {type(value).__name__}"
        raise InputError(f"{place} is {what}; expected an image in every row")
    try:
        return Image.open(io.BytesIO(_content(value)))
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    except (*DAMAGES, Image.DecompressionBombError) as error:
        raise InputError(f"{place} is no picture that can be read ({_reason(error)})") from None


def _content(value: Mapping[str, Any]) -> bytes:
    return bytes(value["bytes"]) if value["bytes"] else reading.content(Path(value["path"]), "picture", MOST_BYTES)


def _upright(image: "Image") -> "Image":
    from PIL import ImageOps

    turned: Image = ImageOps.exif_transpose(image)
    return turned


def _check_mode(image: "Image", place: str) -> None:
    if image.mode not in (*DIRECT, *THROUGH_ALPHA, *GREY_16):
        raise InputError(
            f"{place} has pixels of mode {image.mode}, whose range is not known; expected grey of 8 or 16 bits, or "
            "colour of 8: convert it"
        )


def _rgb(image: "Image", place: str) -> "Image":
    """Return the picture in RGB. Pillow by itself would cut grey of 16 bits off at 255."""
    from PIL import Image

    _check_mode(image, place)
    if image.mode in GREY_16:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return (image.convert("RGBA") if image.mode in THROUGH_ALPHA else image).convert("RGB")


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
