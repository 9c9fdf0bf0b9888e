"""Limits of a metric's loss as people write them: points such as 1pt, or percent such as 2%."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from compress.base.errors import InputError
from compress.base.numerals import plain
from compress.base.reading import shortened

Unit = Literal["points", "percent"]
Limit = tuple[float, Unit]
"""(0.01, points) is one point."""
SUFFIXES: Mapping[str, Unit] = {"pt": "points", "%": "percent"}


MOST = 1_000_000
"""Largest number of points or percent."""


def hundredths(text: str, suffix: str) -> float | None:
    """Return the fraction in `3%` or `+3%` for the suffix `%`: 0.03.

    None for anything else: another suffix, a sign, an exponent, digits of other scripts, or above a million.
    """
    stripped = text.strip()
    value = plain(stripped.removesuffix(suffix).rstrip()) if stripped.endswith(suffix) else None
    return value / 100 if value is not None and value <= MOST else None


def parse_limit(text: str, option: str) -> Limit:
    """Parse a limit: `1pt` is (0.01, points), `2%` is (0.02, percent). Raises InputError for anything else."""
    for suffix, unit in SUFFIXES.items():
        value = hundredths(text, suffix)
        if value is not None:
            return value, unit
    raise InputError(
        f"{option} {shortened(text)}: expected points such as 1pt (hundredths of accuracy, f1 and other metrics with a "
        "scale), or percent such as 2% for perplexity (relative to the reference's value), in plain decimal digits"
    )


def parse_margin(text: str, option: str) -> Limit:
    """Parse a margin, a limit of at most 100 points or 100 %. Raises InputError for anything else."""
    value, unit = parse_limit(text, option)
    if value > 1:
        raise InputError(f"{option} {text}: expected at most 100 {unit}")
    return value, unit


def _checked(value: Any) -> Any:
    """Return the value if it is the text of a margin. Raises ValueError otherwise, also for a number."""
    try:
        parse_margin(str(value), "margin")
    except InputError as error:
        raise ValueError(str(error).removeprefix(f"margin {shortened(str(value))}: ")) from None
    return value


Margin = Annotated[str, BeforeValidator(_checked)]
"""Text of a margin, such as 0.5pt or 0.5%."""
