"""Names that look equal, but differ in Unicode normalization: macOS decomposes letters with accents."""

import unicodedata
from collections.abc import Iterable


def look_alike(name: str, others: Iterable[str]) -> str:
    """Return a remark if one of the other names is the same text in another Unicode normalization; else empty."""
    for other in others:
        if other != name and unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", name):
            return (
                f" ({name!r} and {other!r} look equal, but differ in Unicode normalization: {name!a} and "
                f"{other!a}; write both alike)"
            )
    return ""
