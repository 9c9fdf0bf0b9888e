"""Completeness of png files: Pillow fills missing rows with black if the checksums are right."""

import zlib
from collections.abc import Iterator

SIGNATURE_BYTES = 8
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel by colour type: grey, RGB, palette, grey and alpha, RGBA."""
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""First column, first row, and their steps, of each pass of an interlaced picture."""
STEP_BYTES = 2**20


def is_whole(data: bytes) -> bool:
    """Return whether the compressed pixels fill the size in the header. The chunks must be valid."""
    header = next((content for kind, content in _chunks(data) if kind == b"IHDR"), b"")
    if len(header) != 13 or header[9] not in SAMPLES:
        return False
    pixels = b"".join(content for kind, content in _chunks(data) if kind == b"IDAT")
    try:
        return _unpacked_bytes(pixels) >= _expected_bytes(header)
    except zlib.error:
        return False


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and content of each chunk: [length: 4] [kind: 4] [content: length] [checksum: 4]."""
    position = SIGNATURE_BYTES
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        yield data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        position += 12 + length


def _expected_bytes(header: bytes) -> int:
    """Return the size of all rows: each has a byte for its filter, and its pixels filled up to a whole byte."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    pixel_bits = header[8] * SAMPLES[header[9]]
    is_interlaced = header[12] == 1
    sizes = [
        (len(range(x, width, x_step)), len(range(y, height, y_step)))
        for x, y, x_step, y_step in (ADAM7 if is_interlaced else ((0, 0, 1, 1),))
    ]
    return sum(rows * (1 + (columns * pixel_bits + 7) // 8) for columns, rows in sizes if columns)


def _unpacked_bytes(pixels: bytes) -> int:
    """Return the size of zlib data after decompression, which is not kept. Raises zlib.error for invalid data."""
    unpacker = zlib.decompressobj()
    count = 0
    while pixels and not unpacker.eof:
        count += len(unpacker.decompress(pixels, STEP_BYTES))
        pixels = unpacker.unconsumed_tail
    return count + len(unpacker.flush())
