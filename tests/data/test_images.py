"""Pictures become RGB by what their mode means; those that cannot are refused by name before anything is measured."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from compress.base.config import InputError
from compress.data.formats import images

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)


def stored_image(image: Any, **how: Any) -> dict[str, Any]:
    out = io.BytesIO()
    image.save(out, **{"format": "PNG", **how})
    return {"bytes": out.getvalue(), "path": None}


def grey_of(value: dict[str, Any]) -> Any:
    """The grey levels of a decoded picture, whose three channels must be equal."""
    rgb = np.asarray(images.decode(value, "it"))
    assert rgb.shape == (16, 16, 3)
    assert (rgb == rgb[:, :, :1]).all()
    return rgb[:, :, 0]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("factor", [256, 257])
def test_grey_of_16_bits_is_its_high_byte(form: str, factor: int) -> None:
    image = Image.fromarray(GREY.astype(np.uint16) * factor)
    assert image.mode == "I;16"
    assert (grey_of(stored_image(image, format=form)) == GREY).all()


@pytest.mark.parametrize(("bits", "level"), [(8, 234), (16, 60000)])
def test_a_tiff_whose_zero_is_white_is_inverted(bits: int, level: int) -> None:
    """255 - 234 = 21, and (65535 - 60000) // 256 = 21."""
    data = stored_image(Image.fromarray(np.full((16, 16), level, f"uint{bits}")), format="TIFF")["bytes"]
    entry = data.index((262).to_bytes(2, "little"))  # tag, type, count, value
    value = {"bytes": data[: entry + 8] + b"\0\0" + data[entry + 10 :], "path": None}
    assert (grey_of(value) == 21).all()


def test_a_tiff_of_12_bits_is_refused() -> None:
    data = stored_image(Image.fromarray(GREY.astype(np.uint16)), format="TIFF")["bytes"]
    entry = data.index((258).to_bytes(2, "little"))
    value = {"bytes": data[: entry + 8] + b"\x0c\0" + data[entry + 10 :], "path": None}
    with pytest.raises(InputError, match="row 0 has grey of 12 bits; expected 8 or 16"):
        images.check_headers([value], "image")


def rows_of_png(rows: int, interlaced: bool = False) -> dict[str, Any]:
    """A valid grey picture of 16 x 16 pixels with as many rows of pixels as given, each after a filter byte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, int(interlaced))
    pixels = zlib.compress((b"\0" + b"\x80" * 16) * rows)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return {"bytes": data, "path": None}


def test_a_png_with_valid_checksums_but_too_few_rows_is_refused() -> None:
    images.check_headers([rows_of_png(16)], "image")
    for value in (rows_of_png(15), rows_of_png(8), rows_of_png(0), rows_of_png(16, interlaced=True)):
        # seven passes of 16 x 16: 2 * 3 + 2 * 3 + 2 * 5 + 4 * 5 + 4 * 9 + 8 * 9 + 8 * 17 = 286 bytes, 16 rows have 272
        with pytest.raises(InputError, match=r"row 0 is truncated \(a png with too few rows\)"):
            images.check_headers([value], "image")
    images.check_headers([rows_of_png(17, interlaced=True)], "image")


def test_only_the_documented_formats_are_opened(tmp_path: Path) -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\nshowpage\n"
    (tmp_path / "1.png").write_bytes(postscript)
    for content in (postscript, stored_image(NOISE, format="PPM")["bytes"]):
        (tmp_path / "1.png").write_bytes(content)
        with pytest.raises(InputError, match=r"row 0 \(.*1.png\) is not a readable picture: its content is none"):
            images.check_headers([{"bytes": None, "path": str(tmp_path / "1.png")}], "image")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_of_8_bits_is_what_pillow_makes_of_it(mode: str) -> None:
    value = stored_image(Image.fromarray(GREY).convert(mode), format="TIFF" if mode == "CMYK" else "PNG")
    expected = Image.fromarray(GREY).convert(mode).convert("RGB")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (np.asarray(images.decode(value, "it")) == np.asarray(expected)).all()


def test_transparency_is_dropped_and_leaves_the_colour_below_it() -> None:
    clear = Image.new("RGBA", (16, 16), (200, 100, 50, 0))
    palette = Image.fromarray(GREY).convert("P")
    palette.info["transparency"] = bytes(range(256))
    assert images.decode(stored_image(clear), "it").getpixel((3, 3)) == (200, 100, 50)
    assert (grey_of(stored_image(palette, transparency=bytes(range(256)))) == GREY).all()


def test_orientation_is_applied_and_the_first_frame_taken() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was turned: rotate by 270 degrees
    assert (grey_of(stored_image(Image.fromarray(GREY), exif=turned)) == np.rot90(GREY, 3)).all()
    frames = [Image.new("L", (16, 16), level) for level in (10, 200)]
    assert (grey_of(stored_image(frames[0], format="GIF", save_all=True, append_images=frames[1:])) == 10).all()


@pytest.mark.parametrize(("mode", "kind"), [("I", np.int32), ("F", np.float32)])
def test_pixels_of_unknown_range_are_refused(mode: str, kind: Any) -> None:
    value = stored_image(Image.fromarray(GREY.astype(kind)), format="TIFF")
    with pytest.raises(InputError, match=f"row 0 has pixels of mode {mode} with an unknown range"):
        images.check_headers([value], "image")


def cut(value: dict[str, Any], share: float = 0.6) -> bytes:
    return bytes(value["bytes"][: int(share * len(value["bytes"]))])


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_a_picture_cut_short_is_refused_by_name_before_anything_is_measured(tmp_path: Path, form: str) -> None:
    whole, damaged = tmp_path / "whole.png", tmp_path / "damaged.png"
    NOISE.save(whole, format=form)
    damaged.write_bytes(cut(stored_image(NOISE, format=form)))
    values = [{"bytes": None, "path": str(path)} for path in (whole, damaged)]
    images.check_headers(values[:1], "image")
    images.check_pixels(values[:1], "image")
    with pytest.raises(InputError, match=r"image column 'image': row 1 \(.*damaged.png\)"):
        images.check_headers(values, "image")
        images.check_pixels(values, "image")
    with pytest.raises(InputError, match=r"damaged.png"):
        images.decode(values[1], images.placed(values[1], "image"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no picture", "is not a readable picture"),
        (b"", "is null"),
        (b"\x89PNG\r\n\x1a\n", "is not a readable picture"),
        (b"GIF89a", ""),
    ],
)
def test_files_that_are_not_pictures_are_refused(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=f"row 0 {said}"):
        images.check_headers([{"bytes": content, "path": None}], "image")


def test_a_whole_jpeg_may_have_anything_after_its_end() -> None:
    whole = stored_image(NOISE, format="JPEG")["bytes"]
    small = stored_image(NOISE.resize((16, 16)), format="JPEG")["bytes"]
    thumbnail = whole[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + whole[2:]
    film = b"ftypmp42" + b"\0" * 9000
    for data in (whole, whole + film, thumbnail, thumbnail + film, whole[:2] + b"\xff" * 5 + whole[2:]):
        images.check_headers([{"bytes": data, "path": None}], "image")
    for data in (thumbnail[:-2000], thumbnail[:-2], whole[:-400] + film):
        with pytest.raises(InputError, match="is truncated"):
            images.check_headers([{"bytes": data, "path": None}], "image")


def test_a_fifo_that_a_table_names_is_refused_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"image column 'image': row 0 .*a.png: is a fifo; expected a picture file"):
        images.check_headers([{"bytes": None, "path": str(tmp_path / "a.png")}], "image")
