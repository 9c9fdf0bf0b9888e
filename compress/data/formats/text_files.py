"""Unpack and decode the text of data files, without replacing or dropping any byte."""

import codecs
import gzip
import zlib
from pathlib import Path

from compress.base.config import InputError
from compress.data.split_files import is_packed

MARKS = (  # utf-32 first: its little-endian mark begins with that of utf-16
    (codecs.BOM_UTF8, "utf-8-sig", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
"""Byte order marks, the codec that reads each, and the encoding itself."""

MOST_COLUMNS = 1000
"""`datasets` takes about half a millisecond for each column, and more than that for each of thousands."""


def check_columns(path: Path, count: int) -> None:
    """Raise InputError for a file of too many columns."""
    if count > MOST_COLUMNS:
        raise InputError(
            f"{path.name}: {count} columns; expected {MOST_COLUMNS} at most: keep those that the workload names"
        )


class Malformed(ValueError):
    """A file whose content does not match its format, with the line of the error."""

    def __init__(self, reason: str, line: int | None = None):
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason, self.line = reason, line


def read(path: Path, encoding: str | None = None) -> tuple[str, str]:
    """Return the text of a file and its encoding. Raises InputError for undecodable bytes."""
    try:
        data = path.read_bytes()
        if is_packed(path):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path.name}: cannot be read ({_reason(error)})") from None
    try:
        return _decoded(data, encoding)
    except Malformed as error:
        raise InputError(f"{path.name}: {error}") from None


def _decoded(data: bytes, encoding: str | None) -> tuple[str, str]:
    mark, detected = next((codecs_ for start, *codecs_ in MARKS if data.startswith(start)), (None, None))
    used = encoding or mark or "utf-8"
    if mark and codecs.lookup(used).name not in (mark, detected):
        raise Malformed(
            f"begins with the byte order mark of {detected}, but dataset.csv.encoding is {used}; set it to {detected}, "
            "or leave it out",
            1,
        )
    try:
        text = data.decode(used)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Malformed(
            f"byte 0x{data[error.start]:02x} is not valid {used}; expected {used}: save the file as {used}, or "
            "for csv and tsv set dataset.csv.encoding, such as latin-1 or cp1252",
            line,
        ) from None
    text = text.removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise Malformed("a NUL byte; expected text: for csv and tsv in utf-16, set dataset.csv.encoding", line)
    return text, used


def split_lines(text: str) -> list[str]:
    """Return the lines, split at one kind of line end only: \\r\\n or \\n, or \\r without any \\n."""
    if "\n" not in text:
        return text.removesuffix("\r").split("\r")
    lines = text.removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines] if "\r\n" in text else lines


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
