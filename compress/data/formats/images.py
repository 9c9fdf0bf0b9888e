"""Decode pictures as 8-bit RGB by their mode. Modes without a known range are an error that names the file.

Only the formats in `FORMATS` are opened, whatever a file is called: Pillow hands some others to programs of their own.

As in transformers and torchvision: EXIF orientation is applied, transparency is dropped (the colour below it stays),
and only the first frame of an animation or multi-page file is used. 16-bit grey keeps its high byte, as Pillow does for
16-bit colours.
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
from compress.data.formats import png

if TYPE_CHECKING:
    from PIL.Image import Image

DIRECT = ("1", "L", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
THROUGH_ALPHA = ("P", "PA", "LA", "La", "RGBA", "RGBa")
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF")
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
"""Tags of a TIFF: bits per sample, and whether zero is white. Pillow inverts such grey of 8 bits, but not of 16."""
ORIENTATION, SIDEWAYS = 274, (5, 6, 7, 8)
"""Tag of EXIF, and its values for pictures that are turned by 90 degrees."""
GREY_16 = ("I;16", "I;16L", "I;16B", "I;16N")
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
JPEG_END = 0xD9
JPEG_ALONE = (0x01, *range(0xD0, 0xD9))
"""Markers without a segment (length and content)."""
MOST_BYTES = 2**30
"""Largest file of a picture."""
DAMAGES = (OSError, SyntaxError, ValueError, IndexError, EOFError, struct.error)
"""Pillow's exceptions for damaged files."""


def decode(value: Any, place: str) -> "Image":
    """Return the picture as RGB. `value` has bytes or a path; `place` is its position in the data, for errors."""
    with opened(value, place) as image:
        try:
            image.load()
            return _rgb(_upright(image), place, is_negative=_tag(image, PHOTOMETRIC) == WHITE_IS_ZERO)
        except DAMAGES as error:
            raise InputError(f"{place} cannot be decoded ({_reason(error)}); replace or remove it") from None


def check_headers(values: Iterable[Any], column: str) -> None:
    """Raise InputError for the first damaged or truncated picture, as far as visible without decoding."""
    for row, value in enumerate(values):
        place = placed(value, column, row)
        with opened(value, place) as image:
            _check_mode(image, place)
            try:
                if image.format == "PNG":
                    image.verify()  # checks all checksums
            except DAMAGES as error:
                raise InputError(f"{place} is damaged ({_reason(error)}); replace or remove it") from None
            if image.format == "PNG" and not png.is_whole(stored_bytes(value)):
                raise InputError(f"{place} is truncated (a png with too few rows); replace or remove it")
            if image.format in ("JPEG", "MPO") and not _jpeg_ends(stored_bytes(value)):
                raise InputError(f"{place} is truncated (a jpeg without an end marker); replace or remove it")


def _jpeg_ends(data: bytes) -> bool:
    """Return whether a jpeg has its end marker, outside of embedded thumbnails. Data after the marker is ignored.

    Phones append videos to pictures. Damage between start and end is not detected: libjpeg only warns of it.
    """
    position = 2
    while (match := JPEG_MARKER.search(data, position)) is not None:
        marker, position = data[match.end() - 1], match.end()
        if marker == JPEG_END:
            return True
        if marker not in JPEG_ALONE:
            position += int.from_bytes(data[position : position + 2], "big")
    return False


def check_pixels(values: Iterable[Any], column: str) -> None:
    """Raise InputError for the first picture that cannot be decoded; jpegs are decoded at reduced size."""
    for row, value in enumerate(values):
        place = placed(value, column, row)
        with opened(value, place) as image:
            image.draft("RGB", (1, 1))
            try:
                image.load()
            except DAMAGES as error:
                raise InputError(f"{place} cannot be decoded ({_reason(error)}); replace or remove it") from None


def placed(value: Any, column: str, row: int | None = None) -> str:
    """Return the position of a picture for an error: its row and file, if known."""
    name = value.get("path") if isinstance(value, Mapping) else None
    parts = [*([] if row is None else [f"row {row}"]), *([f"({name})"] if name else [])]
    return f"image column {column!r}: {' '.join(parts) or 'one picture'}"


def opened(value: Any, place: str) -> "Image":
    """Return the picture with its header read. Raises InputError if it is none of `FORMATS`."""
    from PIL import Image, UnidentifiedImageError

    if not isinstance(value, Mapping) or not {"bytes", "path"} <= set(value) or not any(value.values()):
        what = "null" if value is None or isinstance(value, Mapping) else f"a {type(value).__name__}"
        raise InputError(f"{place} is {what}; expected an image in every row")
    try:
        return Image.open(io.BytesIO(stored_bytes(value)), formats=FORMATS)
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    except UnidentifiedImageError:
        raise InputError(f"{place} is not a readable picture: its content is none of {', '.join(FORMATS)}") from None
    except (*DAMAGES, Image.DecompressionBombError) as error:
        raise InputError(f"{place} is not a readable picture ({_reason(error)})") from None


def stored_bytes(value: Mapping[str, Any]) -> bytes:
    """Return the bytes of a picture's file. Raises InputError if it cannot be read."""
    return bytes(value["bytes"]) if value["bytes"] else reading.content(Path(value["path"]), "picture", MOST_BYTES)


def upright_size(value: Any, place: str) -> tuple[int, int]:
    """Return height and width in pixels as `decode` gives them, from the header alone."""
    with opened(value, place) as image:
        turned = image.getexif().get(ORIENTATION, 1) in SIDEWAYS
        width, height = image.size[::-1] if turned else image.size
    return height, width


def _upright(image: "Image") -> "Image":
    from PIL import ImageOps

    turned: Image = ImageOps.exif_transpose(image)
    return turned


def _check_mode(image: "Image", place: str) -> None:
    if image.mode not in (*DIRECT, *THROUGH_ALPHA, *GREY_16):
        raise InputError(
            f"{place} has pixels of mode {image.mode} with an unknown range; expected grey of 8 or 16 bits, or "
            "colour of 8: convert it"
        )
    if image.mode in GREY_16 and _tag(image, BITS) not in (None, (16,)):
        raise InputError(f"{place} has grey of {_tag(image, BITS)[0]} bits; expected 8 or 16: convert it")


def _tag(image: "Image", number: int) -> Any:
    """Return a tag of a TIFF, or None for another format or without the tag."""
    return getattr(image, "tag_v2", {}).get(number)


def _rgb(image: "Image", place: str, is_negative: bool) -> "Image":
    """Return the picture in RGB. Pillow's own conversion would clip 16-bit grey at 255."""
    from PIL import Image

    _check_mode(image, place)
    if image.mode in GREY_16:
        levels = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(255 - levels if is_negative else levels).convert("RGB")
    return (image.convert("RGBA") if image.mode in THROUGH_ALPHA else image).convert("RGB")


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
