"""Standard streams that take every text in any encoding, and that may be closed, full or a pipe nobody reads."""

import codecs
import io
import os
import sys
from contextlib import suppress
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


def flushed(code: int) -> int:
    """Return the exit code after all output has been written: 1 instead of 0 where it could not be."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except BrokenPipeError:  # `| head` has read enough
            code = code or 1
            _discard(number)
        except OSError as error:
            code = code or 1
            _discard(number)
            with suppress(OSError):  # standard error may lie on the same full disk: there is nowhere left to say it
                print(f"error: the output cannot be written ({error.strerror})", file=sys.stderr)
    return code


def _discard(number: int) -> None:
    """Sends what is left in a stream's buffer nowhere: Python would try again at its end, and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):
        os.dup2(nowhere, number)
    os.close(nowhere)
