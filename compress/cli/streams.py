"""Standard streams that take every text in any encoding, and that may be closed, full or a pipe nobody reads."""

import codecs
import io
import os
import sys
from pathlib import Path

SIGNS = {
    "★": "*", "—": "-", "–": "-", "−": "-", "→": ">", "←": "<", "≤": "<=", "≥": ">=", "×": "x", "±": "+-", "∞": "inf",
    "°": " degrees", "µ": "u", "·": ".", "…": "...", "’": "'",
}  # fmt: skip
"""Signs of ours and how they are spelled where the encoding lacks them; those in tables keep their width."""


def prepare() -> None:
    """Has standard output and error spell what their encoding lacks; closed ones take everything and show nothing."""
    codecs.register_error("compress", _spelled)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  for good
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="compress")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Return the spelling of letters that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(SIGNS.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters), error.end
