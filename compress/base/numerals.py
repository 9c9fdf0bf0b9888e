"""Numbers in text from people and files, in ASCII digits: `float` also takes 1_0, digits of other scripts and `inf`."""

import re

LONGEST = 40
"""Characters of a number: a double has 17 significant digits."""
_DECIMAL = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_NUMBER = re.compile(rf"[+-]?{_DECIMAL}(?:[eE][+-]?[0-9]+)?")
_PLAIN = re.compile(rf"\+?{_DECIMAL}")


def number(text: str) -> float | None:
    """Return the number in a text such as `-1.5` or `1.767e+09`; None for anything else. It may be infinite."""
    return _value(_NUMBER, text)


def plain(text: str) -> float | None:
    """Return the number of at least 0 in plain decimal notation, such as `0.5`; None for anything else."""
    return _value(_PLAIN, text)


def _value(pattern: re.Pattern[str], text: str) -> float | None:
    return float(text) if len(text) <= LONGEST and pattern.fullmatch(text) else None
