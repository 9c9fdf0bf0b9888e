"""Text as LaTeX prints it literally: special characters and ligatures are escaped, signed figures are set in math."""

import re

from compress.base.files import SPELLED
from compress.report.text import DASH, plain

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': r"\symbol{34}",  # in some languages babel gives the bare character a meaning
    "[": "{[}",  # at the beginning of a row it would open an optional argument
    "]": "{]}",
    "*": "{*}",
    "★": r"$\star$",
    "∞": r"$\infty$",
    DASH: "---",
}
"""Character -> LaTeX."""
LITERAL = rf"(?P<second>(?<=-)-|(?<=')'|(?<=,),)|(?P<special>[{re.escape(''.join(SPECIAL))}])"
"""The second character of a ligature, or a special one."""
SIGNED = r"(?P<signed>(?<![^\s(])[+-](?:\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]\d+)?|∞)(?![\w-]|\.\d))"
"""A signed number after a space or a parenthesis: a difference, not a part of a name."""
FIGURES = rf"{SIGNED}|(?P<modelled>(?<![^\s(])~(?=\d))|(?P<percent>(?<=\d) %)|{LITERAL}"
UNUSUAL = re.compile(r"[^\x00-\u017f]")
"""Characters that pdflatex refuses unless the document declares them."""


def literal(value: object) -> str:
    """Return one line that LaTeX prints as it is."""
    return re.sub(LITERAL, _latex, _line(value))


def figures(value: object) -> str:
    """Return one line whose signed numbers are math, and whose percent signs stay with their numbers."""
    return re.sub(FIGURES, _latex, _line(value))


def _line(value: object) -> str:
    """Return one line of valid Unicode: half of a surrogate pair becomes its escape."""
    return plain(value).encode(errors=SPELLED).decode()


def _latex(found: re.Match[str]) -> str:
    """Return the LaTeX of one match of `FIGURES`."""
    text = found.group()
    match found.lastgroup:
        case "signed":
            return _math(text)
        case "modelled":
            return r"$\sim$"
        case "percent":
            return r"\,\%"
        case "second":
            return "{}" + text
        case _:
            return SPECIAL[text]


def _math(number: str) -> str:
    """Return a signed number in math, where a bare comma would be punctuation."""
    mantissa, _, exponent = number.partition("e")
    mantissa = mantissa.replace(",", "{,}").replace("∞", r"\infty")
    return f"${mantissa}$" if not exponent else rf"${mantissa}\times10^{{{int(exponent)}}}$"
