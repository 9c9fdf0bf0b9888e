"""Standard streams that accept any text in any encoding, even if closed."""

import codecs
import io
import os
import sys
from pathlib import Path

SIGNS = {
    "★": "*", "—": "-", "–": "-", "−": "-", "→": ">", "←": "<", "≤": "<=", "≥": ">=", "×": "x", "±": "+-", "∞": "inf",
    "°": " degrees", "µ": "u", "·": ".", "…": "...", "’": "'",
}  # fmt: skip
"""Signs that the program prints, and their spellings for encodings that lack them. Those in tables keep their width."""


def prepare() -> None:
    """Make standard output and error spell characters that their encoding lacks; closed streams discard everything."""
    codecs.register_error("compress", _spelled)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  for good
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="compress")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Return the spelling of characters that cannot be encoded, and the position to continue at."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(SIGNS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters), error.end
